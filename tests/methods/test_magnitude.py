"""Magnitude pruning: the ramp, exact counts, nested masks, scopes, gates, rewinding."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsernn import Sparsifier, sparsify
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.parts.schedules import RAMPS, polynomial
from sparsernn.methods.parts.scores import magnitude
from tests.methods.networks import UNITS, batch, network, same_masks, same_weights, start, steps_of, train

STEPS = 40


def absent_in(kept):
    return int((~kept).sum())


@given(st.floats(0, 1, allow_subnormal=False), st.floats(1, 5))
def test_the_cubic_ramp(progress, exponent):
    assert RAMPS["cubic"](progress) == pytest.approx(1 - (1 - progress) ** 3)
    assert RAMPS["linear"](progress) == pytest.approx(progress)
    assert 0 <= polynomial(progress, exponent) <= 1
    assert polynomial(1.0) == 1.0 and polynomial(0.0) == 0.0


@pytest.mark.parametrize("schedule", ["cubic", "linear"])
@pytest.mark.parametrize(("first", "stop", "every"), [(0.0, 0.5, 4), (0.25, 0.75, 0.1), (0.1, 1.0, 7)])
def test_counts_are_exact_at_every_event(schedule, first, stop, every):
    model, optimizer, sparsifier = start(Magnitude(0.83, start=first, stop=stop, every=every, schedule=schedule), STEPS)
    begin, end = max(1, round(first * STEPS)), round(stop * STEPS)
    interval = every if isinstance(every, int) else round(every * STEPS)
    sparsity = 0.0
    for step in steps_of(sparsifier, STEPS):
        if begin <= step <= end and ((step - begin) % interval == 0 or step == end):
            progress = (step - begin) / (end - begin)
            sparsity = 0.83 * (1 - (1 - progress) ** (3 if schedule == "cubic" else 1))
        sizes = [kept.numel() for kept in sparsifier.masks.kept.values()]
        kept = [int(kept.sum()) for kept in sparsifier.masks.kept.values()]
        assert sum(kept) == round((1 - sparsity) * sum(sizes))
        assert all(abs(count - (1 - sparsity) * size) <= 1 for count, size in zip(kept, sizes, strict=True))
    assert sparsifier.settled


def test_masks_are_nested():
    model, optimizer, sparsifier = start(Magnitude(0.9, every=1, stop=0.9), STEPS)
    before = sparsifier.masks.state_dict()
    for _ in steps_of(sparsifier, STEPS):
        assert all(not bool((kept & ~before[name]).any()) for name, kept in sparsifier.masks.kept.items())
        before = sparsifier.masks.state_dict()


def test_what_goes_is_the_smallest():
    model = network()
    dense = {name: weight.detach().abs().clone() for name, weight in model.named_parameters()}
    masks = sparsify(model, Magnitude(0.6))
    for name, kept in masks.kept.items():
        assert dense[name][kept].min() >= dense[name][~kept].max()


def test_a_global_ranking():
    model = network()
    with torch.no_grad():
        model.rnn.weight_hh_l1 *= 0.6
    weights = {name: weight.detach().abs() for name, weight in copy.deepcopy(model).named_parameters()}
    masks = sparsify(model, Magnitude(0.5, scope="global"))
    dense = torch.cat([weights[name].flatten() for name in masks.kept])
    kept = torch.cat([kept.flatten() for kept in masks.kept.values()])
    assert absent_in(kept) == kept.numel() - round(0.5 * kept.numel())
    assert dense[kept].min() >= dense[~kept].max()
    assert masks.per_tensor()["rnn.weight_hh_l1"] > 0.6


@pytest.mark.parametrize("granularity", ["weight", "gate", "neuron", "16x1"])
def test_no_layer_dies_in_a_global_ranking(granularity):
    model = network()
    with torch.no_grad():
        for name, weight in model.rnn.named_parameters():
            weight *= 1e-6 if name.endswith("l1") else 1
    masks = sparsify(model, Magnitude(0.9, granularity, scope="global"), example=(batch()[0],))
    assert all(bool(kept.any()) for name, kept in masks.kept.items() if granularity != "gate")
    assert bool(masks.kept["rnn.weight_hh_l1"].any())


def test_a_uniform_budget_of_each_gate():
    masks = sparsify(network(), Magnitude(0.75, per="gate"))
    for gates in masks.by_gate().values():
        assert set(gates) == {"input", "forget", "candidate", "output"}
        assert all(kept == 0.25 for kept in gates.values())


@pytest.mark.parametrize("begin", [0.0, 0.4])
def test_at_once(begin):
    model, optimizer, sparsifier = start(Magnitude(0.5, start=begin, schedule="one_shot"), 10)
    seen = []
    for _ in steps_of(sparsifier, 10):
        seen.append(sparsifier.masks.sparsity())
    first = max(1, round(begin * 10))
    assert seen == [0.0] * (first - 1) + [0.5] * (10 - first + 1)
    assert len(sparsifier.events) == 1


def test_a_group_is_scored_by_the_root_mean_square_of_its_weights():
    model, optimizer, sparsifier = start(Magnitude(0.5, "neuron"), 100, example=(batch()[0],))
    scores = magnitude(sparsifier, sparsifier.groups("neuron"))
    unit = 3
    rows = torch.arange(4) * UNITS + unit
    own = torch.zeros(4 * UNITS, UNITS, dtype=torch.bool)
    own[rows], own[:, unit] = True, True
    weights = model.rnn
    pieces = [
        weights.weight_ih_l0[rows],
        weights.weight_hh_l0[own],
        weights.bias_ih_l0[rows],
        weights.bias_hh_l0[rows],
        weights.weight_ih_l1[:, unit],
    ]
    together = torch.cat([piece.detach().flatten() for piece in pieces])
    assert scores[unit].item() == pytest.approx(together.square().mean().sqrt().item(), rel=1e-5)


def test_small_edge_blocks_are_scored_fairly():
    model = network(units=9)
    with torch.no_grad():
        for weight in model.rnn.parameters():
            weight.fill_(0.5)
    sparsifier = Sparsifier(model, Magnitude(0.5, "4x2"), torch.optim.SGD(model.parameters()), steps=100)
    assert magnitude(sparsifier, sparsifier.groups("4x2")).unique().tolist() == [0.5]


@pytest.mark.parametrize("rewind", [0.0, 0.1, 0.25])
def test_rewinding_brings_back_the_values_of_that_step(rewind):
    model, optimizer, sparsifier = start(Magnitude(0.6, every=2, stop=0.5, rewind=rewind), STEPS)
    then = copy.deepcopy(model.state_dict())
    for step in steps_of(sparsifier, STEPS // 2):
        if step == round(rewind * STEPS):
            then = copy.deepcopy(model.state_dict())
    assert sparsifier.settled
    for name, weight in model.named_parameters():
        kept = sparsifier.masks.kept.get(name, torch.ones_like(weight, dtype=torch.bool))
        assert torch.equal(weight, then[name].masked_fill(~kept, 0))
    assert not optimizer.state
    assert not sparsifier.state.ticket
    train(sparsifier, STEPS // 2, first=STEPS // 2)
    assert sparsifier.masks.sparsity() == pytest.approx(0.6, abs=1e-3)


def test_rewinding_survives_a_resume():
    method = Magnitude(0.6, every=2, stop=0.5, rewind=0.1)
    model, optimizer, sparsifier = start(method, STEPS)
    train(sparsifier, 10)
    fresh = network(seed=9)
    fresh.load_state_dict(model.state_dict())
    other = torch.optim.SGD(fresh.parameters(), lr=0.05, momentum=0.9)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    second = Sparsifier(fresh, method, other, steps=STEPS)
    second.load_state_dict(sparsifier.state_dict())
    train(sparsifier, 15, first=10)
    train(second, 15, first=10)
    assert same_weights(model, fresh) and same_masks(sparsifier.masks.kept, second.masks.kept)


def test_on_a_trained_model_neurons_go_at_once():
    model = network(units=16)
    masks = sparsify(model, Magnitude(0.75, "neuron"), example=(batch()[0],))
    assert [int(masks.kept[f"rnn.bias_ih_l{layer}"].sum()) for layer in (0, 1)] == [16, 16]
    assert int(masks.kept["head.weight"].sum()) == 4 * 3
