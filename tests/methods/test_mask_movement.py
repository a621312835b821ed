"""What events tell of how a mask moved, and what is remembered of weights before training."""

import json

import torch

from sparsernn.methods.engines.rewiring import MOST_NOTES
from sparsernn.methods.snfs import SNFS
from sparsernn.methods.st_rnn import STRNN
from tests.methods.networks import loss_of, start, train

NAMES = {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.weight_ih_l1", "rnn.weight_hh_l1"}


def test_events_tell_how_the_mask_moved():
    model, optimizer, sparsifier = start(STRNN(0.5, every=2, rate=0.5), steps=9)
    first = sparsifier.masks.state_dict()
    train(sparsifier, 9)
    assert json.loads(json.dumps(sparsifier.events)) == sparsifier.events
    assert set(sparsifier.events[0]) == {"step", "event", "sparsity", "density", "gate_density", "overlap"}
    assert sparsifier.events[0]["overlap"] == 1.0
    last = sparsifier.events[-1]
    assert set(last) == set(sparsifier.events[0]) | {"born", "died"}
    kept = sparsifier.masks.kept
    assert last["density"] == {name: int(mask.sum()) / mask.numel() for name, mask in kept.items()}
    assert set(last["gate_density"]) == NAMES
    for name, gates in last["gate_density"].items():
        assert list(gates) == ["input", "forget", "candidate", "output"]
        assert list(gates.values()) == [part.float().mean().item() for part in kept[name].chunk(4)]
    still = sum(int((mask & kept[name]).sum()) for name, mask in first.items())
    assert last["overlap"] == still / sum(int(mask.sum()) for mask in first.values()) < 0.9
    assert last["sparsity"] == sparsifier.masks.sparsity()


def test_notes_are_not_without_end_and_lose_no_birth():
    steps = 2 * MOST_NOTES + 500
    model, optimizer, sparsifier = start(STRNN(0.5, every=1, rate=0.2, decay="constant"), steps=steps)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    moved = 0
    for _ in range(30):
        before = sparsifier.masks.state_dict()
        optimizer.step()
        moved += sum(int((kept & ~before[name]).sum()) for name, kept in sparsifier.masks.kept.items())
    assert [event["step"] for event in sparsifier.events] == [0, *range(4, 31, 3)]
    unnoted = sparsifier.state.unnoted
    assert sum(event["born"] for event in sparsifier.events[1:]) + unnoted[1] == moved


def test_weights_loaded_before_the_sparsifier_are_remembered_until_training_begins():
    model, optimizer, sparsifier = start(SNFS(0.5, every=2), steps=4)
    assert set(sparsifier._first_weights.before) == NAMES
    model.eval()
    loss_of(model)
    assert sparsifier._first_weights.before
    model.train()
    loss_of(model)
    assert not sparsifier._first_weights.before and not model._forward_pre_hooks
