"""What the Sparsifier promises to any training loop."""

import copy
import json
import pickle

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sparsernn import Masks, Sparsifier, sparsify
from sparsernn.errors import UserError
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.rigl import RigL
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from tests.methods.networks import (
    absent_are_zero,
    batch,
    loss_of,
    network,
    same_masks,
    same_weights,
    start,
    steps_of,
    train,
)

METHODS = [
    Static(0.5),
    STRNN(0.5, every=2),
    RigL(0.5, every=2),
    Magnitude(0.5, every=2),
    Magnitude(0.5, "neuron", every=2, rewind=0.2),
    RandomPruning(0.5, "gate"),
    GroupLasso(0.01, "neuron", sparsity=0.5),
    GroupLasso(0.01, "gate", proximal=True),
]


def named(method):
    return f"{type(method).__name__}-{method.granularity}"


def test_step_is_the_optimizers_step():
    model, optimizer, sparsifier = start(Magnitude(0.5, every=1), steps=4)
    other = start(Magnitude(0.5, every=1), steps=4)
    for number in range(4):
        for which, step in ((sparsifier, sparsifier.step), (other[2], other[1].step)):
            which.optimizer.zero_grad()
            loss_of(which.model, number).backward()
            step()
    assert sparsifier.step_count == other[2].step_count == 4
    assert same_weights(model, other[0])


def test_accumulated_batches_count_once():
    model, optimizer, sparsifier = start(Magnitude(0.5, every=1, stop=1.0), steps=3)
    for number in range(9):
        (loss_of(model, number) / 3).backward()
        if number % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
            assert absent_are_zero(model, sparsifier.masks)
    assert sparsifier.step_count == 3
    assert sparsifier.masks.sparsity() == pytest.approx(0.5, abs=1e-3)


def test_rewiring_sees_all_accumulated_batches():
    model, optimizer, sparsifier = start(RigL(0.5, every=1, stop=1.0, rate=0.2), steps=2)
    train(sparsifier, 1)
    optimizer.zero_grad()
    for number in range(3):
        loss_of(model, number).backward()
    total = {name: model.get_parameter(name).grad.clone() for name in sparsifier.masks.kept}
    optimizer.step()
    assert all(
        torch.equal(model.get_parameter(name).grad[kept], total[name][kept])
        for name, kept in sparsifier.masks.kept.items()
    )


def test_a_step_that_a_loss_scaler_skips_does_not_count():
    model, optimizer, sparsifier = start(STRNN(0.5, every=2), steps=10)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
    for number in range(6):
        optimizer.zero_grad()
        loss = loss_of(model, number)
        scaler.scale(loss * torch.inf if number == 3 else loss).backward()
        before, masks = copy.deepcopy(model.state_dict()), sparsifier.masks.state_dict()
        scaler.step(optimizer)
        scaler.update()
        assert sparsifier.step_count == number + 1 - (number >= 3)
        if number == 3:
            assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
            assert same_masks(sparsifier.masks.kept, masks)
        assert absent_are_zero(model, sparsifier.masks)


def test_a_step_that_the_optimizer_itself_skips_on_overflow_does_not_count():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    sparsifier = Sparsifier(model, RigL(0.5, every=1, stop=1.0), optimizer, steps=4)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    masks = sparsifier.masks.state_dict()
    scaler.scale(loss_of(model) * torch.inf).backward()
    scaler.step(optimizer)
    scaler.update()
    assert sparsifier.step_count == 0
    assert same_masks(sparsifier.masks.kept, masks)
    optimizer.zero_grad()
    scaler.scale(loss_of(model)).backward()
    scaler.step(optimizer)
    assert sparsifier.step_count == 1
    assert absent_are_zero(model, sparsifier.masks)


def test_parameters_without_a_gradient_are_left_alone():
    model, optimizer, sparsifier = start(RigL(0.5, every=1, stop=1.0), steps=3)
    optimizer.step()
    assert sparsifier.step_count == 1
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("made", ["before", "after"])
def test_averaged_copies_keep_their_zeros_with_the_masks(made):
    model, optimizer, sparsifier = start(STRNN(0.5, every=2), steps=10)
    if made == "after":
        model(batch()[0])
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in steps_of(sparsifier, 6):
        averaged.update_parameters(model)
        sparsifier.masks.apply_(averaged)
        assert absent_are_zero(averaged.module, sparsifier.masks)
    averaged(batch()[0])
    assert not has_hooks(averaged)
    assert not same_weights(averaged.module, model)


@pytest.mark.parametrize("made", ["before", "after"])
def test_a_copy_of_the_model_has_nothing_to_do_with_the_sparsifier(made):
    model, optimizer, sparsifier = start(RandomPruning(0.5, "neuron"), steps=4)
    if made == "after":
        model(batch()[0])
    twin = copy.deepcopy(model)
    reachable = [
        hook.owner
        for module in twin.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    assert not any(reachable)
    twin(batch()[0])
    assert not has_hooks(twin)
    assert sparsifier.wiring.recorded == (made == "after")
    train(sparsifier, 2)
    assert sparsifier.wiring.recorded
    assert "head.weight" in sparsifier.masks.kept


def has_hooks(model):
    return any(hooks for module in model.modules() for name, hooks in vars(module).items() if name.endswith("_hooks"))


def test_a_copy_of_the_optimizer_does_not_drive_the_sparsifier():
    model, optimizer, sparsifier = start(Static(0.5), steps=4)
    twin = copy.deepcopy(optimizer)
    twin.step()
    assert sparsifier.step_count == 0


def test_penalty_is_one_number():
    for method in METHODS:
        model, optimizer, sparsifier = start(method, steps=10)
        penalty = sparsifier.penalty()
        assert penalty.shape == () and penalty.dtype == torch.float32
        assert penalty.requires_grad == (isinstance(method, GroupLasso) and not method.proximal)


def test_without_an_optimizer_a_trained_model_is_made_sparse_now():
    model = network()
    state = set(model.state_dict())
    masks = sparsify(model, Magnitude(0.75))
    assert isinstance(masks, Masks)
    assert masks.sparsity() == pytest.approx(0.75, abs=1e-3)
    assert absent_are_zero(model, masks)
    assert set(model.state_dict()) == state and not has_hooks(model)


def test_without_an_optimizer_step_and_penalty_do_nothing():
    model = network()
    sparsifier = Sparsifier(model, Magnitude(0.5, "neuron"), example=(batch()[0],))
    weights = copy.deepcopy(model.state_dict())
    sparsifier.step()
    assert sparsifier.penalty().item() == 0 and sparsifier.step_count == 0
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_sparsify_with_an_optimizer_is_a_sparsifier():
    model = network()
    sparsifier = sparsify(model, RigL(0.5, every=2), torch.optim.Adam(model.parameters()), steps=10)
    assert isinstance(sparsifier, Sparsifier)
    train(sparsifier, 10)
    assert sparsifier.step_count == 10


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_state_is_tensors_and_json(method):
    model, optimizer, sparsifier = start(method, steps=8)
    train(sparsifier, 6)
    state = sparsifier.state_dict()
    assert set(state) == {"tensors", "values"}
    assert json.loads(json.dumps(state["values"])) == state["values"]
    assert all(torch.equal(tensor, state["tensors"][name]) for name, tensor in load(save(state["tensors"])).items())


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_a_state_is_a_copy(method):
    model, optimizer, sparsifier = start(method, steps=8)
    train(sparsifier, 3)
    state = sparsifier.state_dict()
    kept = copy.deepcopy(state)
    train(sparsifier, 5, first=3)
    assert state["values"] == kept["values"]
    assert all(torch.equal(tensor, kept["tensors"][name]) for name, tensor in state["tensors"].items())


@pytest.mark.parametrize("weights", ["before", "after"])
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_weights_may_be_loaded_before_or_after_the_sparsifier_is_made(method, weights):
    model, optimizer, sparsifier = start(method, steps=8)
    train(sparsifier, 5)
    fresh = network(seed=5)
    other = torch.optim.SGD(fresh.parameters(), lr=0.05, momentum=0.9)
    if weights == "before":
        fresh.load_state_dict(model.state_dict())
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    second = Sparsifier(fresh, method, other, steps=8, seed=3)
    if weights == "after":
        fresh.load_state_dict(model.state_dict())
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    second.load_state_dict(sparsifier.state_dict())
    assert same_weights(model, fresh)
    train(sparsifier, 3, first=5)
    train(second, 3, first=5)
    assert same_weights(model, fresh)
    assert same_masks(sparsifier.finalize().kept, second.finalize().kept)


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_two_runs_are_the_same_to_the_bit(method):
    runs = [start(method, steps=8, seed=11) for _ in range(2)]
    for _, _, sparsifier in runs:
        train(sparsifier, 8)
        sparsifier.finalize()
    assert same_weights(runs[0][0], runs[1][0])
    assert same_masks(runs[0][2].masks.kept, runs[1][2].masks.kept)
    assert runs[0][2].events == runs[1][2].events


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_torchs_generator_is_left_alone(method):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = torch.random.get_rng_state()
    sparsifier = Sparsifier(model, method, optimizer, steps=6)
    train(sparsifier, 6)
    sparsifier.finalize()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_events_are_told_with_their_step():
    model, optimizer, sparsifier = start(RigL(0.5, every=2, stop=1.0), steps=6)
    train(sparsifier, 6)
    assert [event["step"] for event in sparsifier.events] == [0, 3, 5]
    assert all(event["born"] == event["died"] for event in sparsifier.events[1:])
    model, optimizer, sparsifier = start(Magnitude(0.5, every=2, stop=0.5), steps=8)
    train(sparsifier, 8)
    assert [event["step"] for event in sparsifier.events] == [1, 3, 4]
    assert sparsifier.events[-1]["sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_finalize_ends_it():
    model, optimizer, sparsifier = start(Magnitude(0.5, every=1), steps=4)
    train(sparsifier, 4)
    masks = sparsifier.finalize()
    assert masks is sparsifier.masks
    train(sparsifier, 1)
    assert sparsifier.step_count == 4
    assert not absent_are_zero(model, masks)


def test_the_target_counts_only_what_was_selected():
    model, optimizer, sparsifier = start(Magnitude(0.5, every=1), steps=4, where="rnn.weight_hh*")
    train(sparsifier, 4)
    assert set(sparsifier.masks.per_tensor()) == {"rnn.weight_hh_l0", "rnn.weight_hh_l1"}
    assert sparsifier.masks.sparsity() == 0.5


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.weight_ih_l1", "rnn.weight_hh_l1"}),
        ("head.weight", {"head.weight"}),
        ("rnn.weight_ih_*", {"rnn.weight_ih_l0", "rnn.weight_ih_l1"}),
        (["head.*", "rnn.weight_hh_l1"], {"head.weight", "rnn.weight_hh_l1"}),
        (lambda name: name.endswith("l0"), {"rnn.weight_ih_l0", "rnn.weight_hh_l0"}),
        ((nn.LSTM, "weight_hh"), {"rnn.weight_hh_l0", "rnn.weight_hh_l1"}),
        ((nn.Linear, "weight"), {"head.weight"}),
    ],
)
def test_where(where, expected):
    model, optimizer, sparsifier = start(Static(0.5), steps=2, where=where)
    assert set(sparsifier.selected) == expected
    assert {name for name, sparsity in sparsifier.masks.per_tensor().items() if sparsity > 0} == expected
    train(sparsifier, 2)
    assert absent_are_zero(model, sparsifier.masks)


def test_a_wrapped_model_is_known_by_its_own_names():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(AveragedModel(model).module, Static(0.5), None)
    assert set(sparsifier.masks.kept) == set(
        Sparsifier(torch.compile(model, backend="eager"), Static(0.5), optimizer, steps=2).masks.kept
    )


def test_bfloat16_weights():
    model = network().to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    sparsifier = Sparsifier(model, STRNN(0.5, every=2), optimizer, steps=4)
    inputs, labels = batch()
    for _ in range(4):
        optimizer.zero_grad()
        (nn.functional.cross_entropy(model(inputs.bfloat16()).float(), labels) + sparsifier.penalty()).backward()
        optimizer.step()
        assert absent_are_zero(model, sparsifier.masks)
    assert sparsifier.masks.sparsity() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda three: pickle.loads(pickle.dumps(three))])
@pytest.mark.parametrize("method", METHODS, ids=named)
@pytest.mark.parametrize("at", [0, 4])
def test_what_is_copied_together_goes_on_by_itself(method, at, copied):
    model, optimizer, sparsifier = start(method, steps=10)
    train(sparsifier, at)
    before = copy.deepcopy(model.state_dict())
    twin, other, twins = copied((model, optimizer, sparsifier))
    for _ in steps_of(twins, 10 - at, first=at):
        assert absent_are_zero(twin, twins.masks)
    assert twins.step_count == 10 and sparsifier.step_count == at
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    train(sparsifier, 10 - at, first=at)
    assert same_weights(model, twin) and sparsifier.events == twins.events
    assert same_masks(twins.finalize().kept, sparsifier.finalize().kept)
    assert not has_hooks(twin) and not has_hooks(model)
    assert not other._optimizer_step_pre_hooks and not other._optimizer_step_post_hooks


def test_a_state_of_an_earlier_version_is_refused():
    model, optimizer, sparsifier = start(RigL(0.5, every=2), steps=8)
    state = sparsifier.state_dict()
    state["values"]["memory"] = state["values"].pop("method")
    with pytest.raises(UserError, match="earlier version"):
        sparsifier.load_state_dict(state)
