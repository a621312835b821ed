"""Masks and weights are of one moment, or it is said; so is what a loop does wrong."""

import copy
import gc
import pickle
import warnings

import pytest
import torch
from torch import nn

from sparsernn import Masks, Sparsifier, compact, load_compact, save_compact, sparsify
from sparsernn.errors import UserError
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.l0 import L0
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.rigl import RigL
from sparsernn.methods.sparse_variational_dropout import SparseVariationalDropout
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from tests.methods.networks import absent_are_zero, batch, loss_of, network, same_masks, same_weights, start, train

X = batch()[0]


def alive(model: nn.Module, masks: Masks) -> int:
    """How many weights are not zero where masks have none."""
    return sum(int((model.get_parameter(name)[~kept] != 0).sum()) for name, kept in masks.kept.items())


def plain_step(model: nn.Module) -> None:
    """A step of training by somebody who knows nothing of masks."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    loss_of(model).backward()
    optimizer.step()


def move(model: nn.Module) -> None:
    """Whatever else may write weights: noise, decay towards other values, an average."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.lerp_(torch.ones_like(weight), 0.01)


def pruned(granularity: str = "weight"):
    model, optimizer, sparsifier = start(Magnitude(0.75, granularity, every=1), steps=8)
    early = copy.deepcopy(model.state_dict())
    train(sparsifier, 8)
    return model, sparsifier.finalize(), early, sparsifier


def earlier_weights(model, early):
    model.load_state_dict(early)
    return model


def moved_copy(model, copied):
    twin = copied(model)
    move(twin)
    return twin


OUT_OF_STEP = {
    "an earlier checkpoint": earlier_weights,
    "moved on": lambda model, _: moved_copy(model, lambda one: one),
    "a copy moved on": lambda model, _: moved_copy(model, copy.deepcopy),
    "a pickle moved on": lambda model, _: moved_copy(model, lambda one: pickle.loads(pickle.dumps(one))),
}


@pytest.mark.parametrize("granularity", ["neuron", "weight", "gate"])
@pytest.mark.parametrize("how", OUT_OF_STEP)
def test_final_masks_and_other_weights_are_refused(how, granularity, tmp_path):
    model, masks, early, sparsifier = pruned(granularity)
    compact(model, masks, example=(X,))
    other = OUT_OF_STEP[how](model, early)
    number = alive(other, masks)
    assert number > 0
    masks.save(tmp_path / "masks.npz")
    for which in (masks, Masks.load(tmp_path / "masks.npz")):
        with pytest.raises(UserError, match=f"{number} weights that the masks call absent are not zero"):
            compact(other, which, example=(X,))
    masks.apply_(other)
    small, _ = compact(other, masks, example=(X,))
    assert torch.allclose(small.eval()(X), other.eval()(X), atol=1e-5)


def test_a_compacted_model_that_was_trained_on_is_not_saved_with_its_masks(tmp_path):
    model, masks, _, _ = pruned("weight")
    small, left = compact(model, masks, example=(X,))
    save_compact(tmp_path / "small", small, left)
    plain_step(small)
    with pytest.raises(UserError, match="the masks call absent are not zero"):
        save_compact(tmp_path / "small", small, left)
    save_compact(tmp_path / "small", small)
    assert torch.equal(load_compact(tmp_path / "small", network()).eval()(X), small.eval()(X))


def test_masks_made_by_hand_are_a_plan_and_need_no_zeros():
    model = network()
    kept = torch.ones(32, 8, dtype=torch.bool)
    kept[::2] = False
    small, _ = compact(model, Masks({"rnn.weight_hh_l0": kept}), example=(X,))
    assert bool((small.rnn.weight_hh_l0[::2] == 0).all()) and bool((model.rnn.weight_hh_l0 != 0).all())


def test_finalize_says_that_the_weights_are_of_another_moment():
    model, optimizer, sparsifier = start(Magnitude(0.75, every=1), steps=8)
    early = copy.deepcopy(model.state_dict())
    train(sparsifier, 8)
    model.load_state_dict(early)
    number = alive(model, sparsifier.masks)
    with pytest.warns(UserWarning, match=f"{number} absent weights were not zero in the end"):
        sparsifier.finalize()
    assert alive(model, sparsifier.masks) == 0


def test_finalize_again_is_the_same_until_the_model_is_trained_on():
    model, masks, _, sparsifier = pruned()
    assert sparsifier.finalize() is masks
    plain_step(model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match="not zero"):
        sparsifier.finalize()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_written_from_elsewhere_are_said_and_zero_in_every_later_forward():
    model, optimizer, sparsifier = start(Magnitude(0.75, every=1), steps=12)
    train(sparsifier, 6)
    slow = [torch.ones_like(weight) for weight in model.parameters()]

    def write():
        for weight, value in zip(model.parameters(), slow, strict=True):
            weight.data.lerp_(value, 0.5)

    write()
    number = alive(model, sparsifier.masks)
    with pytest.warns(UserWarning, match=f"{number} absent weights were not zero when step 7 began") as told:
        train(sparsifier, 1, first=6)
    assert len(told) == 1 and "attach" in str(told[0].message)
    write()
    model(X)
    assert alive(model, sparsifier.masks) == 0
    train(sparsifier, 5, first=7)
    sparsifier.finalize()
    assert not model._forward_pre_hooks


def test_steps_that_nobody_saw_are_said():
    model, optimizer, sparsifier = start(Static(0.5), steps=8)
    for _ in range(8):
        plain_step(model)
    with pytest.warns(UserWarning, match="no step of 8 was seen, but 8 backward passes.*attach"):
        sparsifier.finalize()
    model, optimizer, sparsifier = start(Static(0.5), steps=16)
    train(sparsifier, 8)
    for _ in range(8):
        plain_step(model)
    with pytest.warns(UserWarning, match="8 backward passes came after step 8"):
        sparsifier.finalize()


def test_more_steps_than_were_announced_are_said():
    model, optimizer, sparsifier = start(Magnitude(0.5, every=1), steps=5)
    train(sparsifier, 10)
    with pytest.warns(UserWarning, match="10 steps were counted and steps=5: schedules were at their end after 50 %"):
        sparsifier.finalize()


@pytest.mark.parametrize("method", [STRNN(0.5, every=30), RigL(0.5, every=0.3)])
def test_a_rewiring_that_never_came_is_said(method):
    model, optimizer, sparsifier = start(method, steps=100)
    train(sparsifier, 20)
    with pytest.warns(
        UserWarning, match="nothing was ever rewired: the first event would have come in step 31, and 20"
    ):
        sparsifier.finalize()


def test_accumulation_and_early_stopping_are_not_said():
    model, optimizer, sparsifier = start(Static(0.5), steps=50)
    for number in range(21):
        loss_of(model, number).backward()
        if number % 3 == 2:
            optimizer.step()
    loss_of(model).backward()
    sparsifier.finalize()


@pytest.mark.parametrize("method", [GroupLasso(0.05), L0(strength=0.05), SparseVariationalDropout(examples=6)])
def test_a_penalty_that_is_not_asked_for_is_said_once(method):
    model, optimizer, sparsifier = start(method, steps=20)
    with pytest.warns(UserWarning, match=r"penalty of \w+ was never asked for.*sparsifier.penalty") as told:
        for number in range(14):
            optimizer.zero_grad()
            loss_of(model, number).backward()
            optimizer.step()
    assert len(told) == 1
    model, optimizer, sparsifier = start(method, steps=4)
    loss_of(model).backward()
    optimizer.step()
    with pytest.warns(UserWarning, match=r"penalty of \w+ was never asked for"):
        sparsifier.finalize()


@pytest.mark.parametrize("method", [GroupLasso(0.05), GroupLasso(0.05, "gate", proximal=True), L0(strength=0.05)])
def test_the_penalty_can_be_added_at_the_step(method):
    """It moves the weights as a term of the loss does, for nothing clips the gradients here."""
    by_loss, by_step = start(method, steps=10), start(method, steps=10)
    train(by_loss[2], 10)
    by_step[2].adds_penalty = True
    for number in range(10):
        by_step[1].zero_grad()
        loss_of(by_step[0], number).backward()
        by_step[1].step()
    for ours, theirs in zip(by_loss[0].parameters(), by_step[0].parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_second_run_on_the_same_weights_is_refused_until_the_first_lets_go():
    model, optimizer, first = start(Static(0.5), steps=20)
    train(first, 3)
    masks, before = first.masks.state_dict(), copy.deepcopy(model.state_dict())
    for options in ({"optimizer": optimizer, "steps": 20}, {}):
        with pytest.raises(UserError, match=r"another Sparsifier is at work.*detach\(\)"):
            Sparsifier(model, Static(0.5), **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    train(first, 3, first=3)
    assert first.step_count == 6 and same_masks(first.masks.kept, masks)
    assert Sparsifier.of(model) is first
    first.detach()
    assert Sparsifier.of(model) is None
    second = Sparsifier(model, Magnitude(0.9, every=1), optimizer, steps=10, where=first.masks)
    train(second, 10)
    assert first.step_count == 6 and second.step_count == 10
    assert all(not bool((kept & ~masks[name]).any()) for name, kept in second.finalize().kept.items())


def test_a_run_that_never_trained_makes_room_and_gives_back_what_it_zeroed():
    model, optimizer, first = start(Static(0.5), steps=20)
    with pytest.warns(UserWarning, match="has not trained, is detached"):
        second = Sparsifier(model, Static(0.8), optimizer, steps=20, seed=1)
    train(second, 4)
    zeros = sum(int((model.get_parameter(name) == 0).sum()) for name in second.selected)
    total = sum(model.get_parameter(name).numel() for name in second.selected)
    assert zeros / total == pytest.approx(0.8, abs=0.01)
    assert first.step_count == 0 and second.step_count == 4


def test_runs_on_different_weights_stand_side_by_side():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    lower = Sparsifier(model, Magnitude(0.5, every=1), optimizer, steps=6, where="rnn.*_l0")
    upper = Sparsifier(model, RigL(0.8, every=2), optimizer, steps=6, where="rnn.*_l1")
    train(lower, 6)
    assert lower.step_count == upper.step_count == 6
    assert absent_are_zero(model, lower.masks) and absent_are_zero(model, upper.masks)


def test_a_run_that_nobody_has_any_more_leaves_its_model_alone():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    train(Sparsifier(model, Magnitude(0.5, every=1), optimizer, steps=6), 2)
    loss_of(model).backward()
    optimizer.step()
    assert Sparsifier.of(model) is not None and Sparsifier.of(model).step_count == 3  # the optimizer still drives it
    del optimizer
    gc.collect()
    assert Sparsifier.of(model) is None
    assert not any("forward" in vars(module) for module in model.modules())
    Sparsifier(model, Static(0.5), torch.optim.SGD(model.parameters(), lr=0.05), steps=5)


@pytest.mark.parametrize("granularity", ["weight", "neuron", "gate"])
def test_pruning_a_sparse_checkpoint_further_keeps_its_zeros(granularity):
    model = network()
    masks = sparsify(model, Magnitude(0.5, granularity))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    sparsifier = Sparsifier(model, Magnitude(0.9, every=1), optimizer, steps=8, where=masks)
    for _ in range(8):
        train(sparsifier, 1)
        assert alive(model, masks) == 0
    assert sparsifier.finalize().sparsity() == pytest.approx(0.9, abs=0.02)


def test_zeros_that_nobody_calls_absent_are_said():
    model = network()
    sparsify(model, Magnitude(0.7))
    sparsifier = Sparsifier(model, Magnitude(0.9, every=1), torch.optim.SGD(model.parameters(), lr=0.1), steps=8)
    with pytest.warns(UserWarning, match="selected weights are exactly zero when training begins.*where=masks"):
        train(sparsifier, 1)


def test_an_identity_to_start_from_is_no_sparse_checkpoint():
    model = network()
    with torch.no_grad():
        for name in ("weight_hh_l0", "weight_hh_l1"):
            getattr(model.rnn, name).copy_(torch.eye(8).repeat(4, 1))
    sparsifier = Sparsifier(model, Magnitude(0.5, every=1), torch.optim.SGD(model.parameters(), lr=0.1), steps=8)
    train(sparsifier, 8)


def test_a_resumed_run_does_not_take_its_own_zeros_for_a_checkpoint():
    model, optimizer, sparsifier = start(Static(0.7), steps=8)
    train(sparsifier, 4)
    again = copy.deepcopy(model)
    second = Sparsifier(again, Static(0.7), torch.optim.SGD(again.parameters(), lr=0.05), steps=8, seed=9)
    second.load_state_dict(sparsifier.state_dict())
    train(second, 4, first=4)
    second.finalize()


@pytest.mark.parametrize("method", [RigL(0.5, every=2), Static(0.5)])
def test_masks_to_start_from_need_a_method_that_only_removes(method):
    model = network()
    masks = sparsify(model, Magnitude(0.5))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match="that the masks in where= leave out"):
        Sparsifier(model, method, torch.optim.SGD(model.parameters(), lr=0.1), steps=8, where=masks)
    assert Sparsifier.of(model) is None
    assert sorted(model.state_dict()) == sorted(before)


def test_masks_of_an_earlier_run_can_be_given_as_they_are(tmp_path):
    model = network()
    masks = sparsify(model, Magnitude(0.5))
    masks.save(tmp_path / "masks.npz")
    for given_masks in (masks, Masks.load(tmp_path / "masks.npz"), masks.kept):
        fresh = network(seed=3)
        optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1)
        sparsifier = Sparsifier(fresh, Static(masks=given_masks), optimizer, steps=3)
        train(sparsifier, 3)
        assert same_masks(sparsifier.finalize().kept, masks.kept)
        assert sparsifier.masks.selected == masks.selected and alive(fresh, masks) == 0
    with pytest.raises(UserError, match="masks is empty"):
        sparsify(network(), Static(masks=Masks({})))


class Mixed(nn.Module):
    """An LSTM in one type of numbers, whose head is in another."""

    def __init__(self, kind: torch.dtype):
        super().__init__()
        self.rnn = nn.LSTM(4, 8, batch_first=True)
        self.head = nn.Linear(8, 3).to(kind)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1].to(self.head.weight.dtype)).float()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "method",
    [
        Magnitude(0.5, "neuron", every=1),
        GroupLasso(0.05, "neuron", sparsity=0.5),
        GroupLasso(0.05, ("gate", "outgoing"), proximal=True),
        L0(granularity="neuron"),
        RigL(0.5, every=2),
    ],
    ids=lambda method: f"{type(method).__name__}",
)
def test_a_group_may_reach_into_tensors_of_another_type(method, kind):
    torch.manual_seed(0)
    model = Mixed(kind)
    sparsifier = Sparsifier(model, method, torch.optim.SGD(model.parameters(), lr=0.05), steps=8, where="*weight*")
    train(sparsifier, 8)
    masks = sparsifier.finalize()
    assert alive(model, masks) == 0 and model.head.weight.dtype == kind
    if getattr(method, "sparsity", None):
        assert masks.sparsity() > 0.3


class Words(nn.Module):
    """A table of vectors whose gradient has only the rows that were read."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(40, 8, sparse=True)
        self.rnn = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, ids):
        return self.head(self.rnn(self.table(ids))[0][:, -1])


@pytest.mark.parametrize(
    "method", [Static(0.5), Magnitude(0.5, every=1), RigL(0.5, every=2), Magnitude(0.5, "input", every=1)]
)
def test_gradients_of_some_rows(method):
    model = Words()
    where = None if method.granularity == "input" else "table.weight"
    sparsifier = Sparsifier(model, method, torch.optim.SGD(model.parameters(), lr=0.1), steps=8, where=where)
    for number in range(8):
        ids = torch.randint(40, (4, 6), generator=torch.Generator().manual_seed(number))
        sparsifier.optimizer.zero_grad()
        model(ids).square().mean().backward()
        assert model.table.weight.grad.is_sparse
        for name, kept in sparsifier.masks.kept.items():
            gradient = model.get_parameter(name).grad.to_dense()
            assert bool((gradient[~kept] == 0).all()) and bool((gradient[kept] != 0).any())
        sparsifier.optimizer.step()
        assert alive(model, sparsifier.masks) == 0
    sparsifier.finalize()


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 8, batch_first=True), nn.LazyLinear(3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("example", [None, (X,)])
def test_weights_without_a_shape_or_numbers(example):
    model = Lazy()
    with pytest.raises(UserError, match="run one forward first|Run one forward first"):
        Sparsifier(model, Magnitude(0.5), example=example)
    model(X)
    sparsify(model, Magnitude(0.5), example=example)
    with pytest.raises(UserError, match='on the device "meta"'):
        Sparsifier(network().to("meta"), Magnitude(0.5), example=example)


def test_sharded_weights_are_refused():
    class Sharded(nn.Parameter):
        device_mesh = "two processes"

    model = network()
    model.rnn.weight_hh_l1 = Sharded(model.rnn.weight_hh_l1.detach())
    with pytest.raises(UserError, match="rnn.weight_hh_l1 is sharded"):
        Sparsifier(model, Magnitude(0.5))


def test_nothing_is_said_of_an_ordinary_run():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in (Static(0.5), RigL(0.5, every=2), Magnitude(0.5, "neuron", every=1), GroupLasso(0.01)):
            model, optimizer, sparsifier = start(method, steps=8)
            train(sparsifier, 8)
            sparsifier.finalize()
            assert same_weights(model, copy.deepcopy(model))
