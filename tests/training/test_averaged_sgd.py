"""NT-ASGD and SNT-ASGD against torch's ASGD, the published rule written out, and their promises in any loop."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsernn import Sparsifier
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from sparsernn.training.averaged_sgd import NTASGD, SNTASGD
from sparsernn.training.objectives import evaluate
from sparsernn.training.run_folder import RunFolder
from tests.methods.networks import absent_are_zero, loss_of, network

SHAPES = ((4, 3), (4,))


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(weights, number):
    generator = torch.Generator().manual_seed(100 + number)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)


def begun(optimizer):
    """The optimizer, averaging from the next step on."""
    for loss in (1.0, *[2.0] * 6):
        optimizer.validated(loss)
    assert optimizer.averages
    return optimizer


def shown(optimizer, weights):
    optimizer.eval()
    found = [weight.detach().clone() for weight in weights]
    optimizer.train()
    return found


@given(losses=st.lists(st.integers(0, 9), max_size=30), patience=st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_averaging_begins_by_the_non_monotone_rule(losses, patience):
    optimizer, stored, begins = SNTASGD(parameters(), lr=1.0, patience=patience), [], False
    for loss in losses:
        begins = begins or (len(stored) > patience and loss > min(stored[:-patience]))
        stored.append(loss)
        optimizer.validated(loss)
        assert optimizer.averages == begins


@pytest.mark.parametrize("kind", [NTASGD, SNTASGD])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_before_averaging_it_is_sgd(kind, weight_decay):
    ours, theirs = parameters(), parameters()
    optimizer = kind(ours, lr=0.3, weight_decay=weight_decay)
    reference = torch.optim.SGD(theirs, lr=0.3, weight_decay=weight_decay)
    for number in range(5):
        give_gradients(ours, number), give_gradients(theirs, number)
        optimizer.step(), reference.step()
        assert all(map(torch.equal, shown(optimizer, ours), theirs))
    assert not optimizer.state


@pytest.mark.parametrize("kind", [NTASGD, SNTASGD])
def test_without_absent_weights_the_averages_are_those_of_torch(kind):
    ours, theirs = parameters(), parameters()
    optimizer = begun(kind(ours, lr=0.3, weight_decay=0.01))
    reference = torch.optim.ASGD(theirs, lr=0.3, weight_decay=0.01, t0=0, lambd=0)
    for number in range(8):
        give_gradients(ours, number), give_gradients(theirs, number)
        optimizer.step(), reference.step()
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))
        averages = [reference.state[weight]["ax"] for weight in theirs]
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(shown(optimizer, ours), averages, strict=True))


def published_rule(weights, masks, rate):
    """k and a of every entry, as they are stated: `masks[t]` holds during step t + 1, gradients follow from t."""
    weight = weights.clone()
    count, average = torch.zeros_like(weight), torch.zeros_like(weight)
    for number, mask in enumerate(masks):
        weight = weight * mask
        gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(100 + number))
        weight = weight - rate * gradient * mask
        count = torch.where(mask, count + 1, 0)
        share = torch.where(count <= 2, 1.0, 1 / (count - 1).clamp_min(1))
        average = torch.where(share == 1, weight, average + share * (weight - average)) * mask
        yield weight * mask, average


@pytest.mark.parametrize("masked_gradients", [True, False])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_each_weight_follows_the_published_rule_whatever_the_masks_do(masked_gradients, data):
    steps = data.draw(st.integers(1, 9))
    seeds = data.draw(st.lists(st.integers(0, 3), min_size=steps, max_size=steps))
    masks = [torch.rand(4, 3, generator=torch.Generator().manual_seed(seed)) > 0.4 for seed in seeds]
    start = parameters()[0].detach()
    weight = nn.Parameter(start.clone())
    optimizer = begun(SNTASGD([weight], lr=0.3))
    for number, (expected, average) in enumerate(published_rule(start, masks, 0.3)):
        with torch.no_grad():
            weight.mul_(masks[number])
        give_gradients([weight], number)
        if masked_gradients:
            weight.grad *= masks[number]
        optimizer.step()
        with torch.no_grad():
            weight.mul_(masks[number])
        assert torch.allclose(weight, expected, atol=1e-6)
        assert torch.allclose(shown(optimizer, [weight])[0], average, atol=1e-6)
        assert torch.allclose(weight, expected, atol=1e-6)


def test_a_weight_that_was_absent_once_starts_anew():
    weight = nn.Parameter(torch.ones(1, 2))
    optimizer = begun(SNTASGD([weight], lr=1.0))
    for number in range(9):
        weight.grad = torch.full((1, 2), -1.0)
        if number == 4:
            with torch.no_grad():
                weight[0, 1] = 0
            weight.grad[0, 1] = 0
        optimizer.step()
    assert weight.tolist() == [[10.0, 5.0 - 1.0]]
    assert shown(optimizer, [weight])[0].tolist() == [[sum(range(3, 11)) / 8, sum(range(2, 5)) / 3]]
    assert optimizer.state[weight]["step"].tolist() == [[9, 4]]


METHODS = [Static(0.6), STRNN(0.6, every=2), Magnitude(0.7, every=1, stop=0.8)]


@pytest.mark.parametrize("kind", [NTASGD, SNTASGD])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("closure", [False, True])
def test_absent_weights_are_zero_in_the_averages_too(kind, method, closure):
    model = network()
    optimizer = begun(kind(model.parameters(), lr=0.1))
    sparsifier = Sparsifier(model, method, optimizer, steps=10)
    for number in range(10):

        def evaluated(number=number):
            optimizer.zero_grad()
            loss = loss_of(model, number)
            loss.backward()
            return loss

        if closure:
            optimizer.step(evaluated)
        else:
            evaluated(), optimizer.step()
        before = copy.deepcopy(model.state_dict())
        optimizer.eval()
        assert absent_are_zero(model, sparsifier.masks)
        optimizer.train()
        assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_weight_born_in_an_event_has_the_average_of_its_own_steps():
    model = network()
    optimizer = begun(SNTASGD(model.parameters(), lr=0.1))
    sparsifier = Sparsifier(model, STRNN(0.6, every=3), optimizer, steps=9)
    trace = {name: [] for name in sparsifier.selected}
    for number in range(9):
        optimizer.zero_grad()
        loss_of(model, number).backward()
        optimizer.step()
        for name in trace:
            trace[name].append(model.get_parameter(name).detach().clone())
    for name, weights in trace.items():
        average = shown(optimizer, [model.get_parameter(name)])[0]
        for place in sparsifier.masks.kept[name].nonzero().tolist():
            values = [float(weight[tuple(place)]) for weight in weights]
            lived = next((n for n, value in enumerate(reversed(values)) if value == 0), len(values))
            last = values[len(values) - lived :]
            expected = sum(last[1:]) / len(last[1:]) if lived > 1 else sum(last)
            assert float(average[tuple(place)]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", [NTASGD, SNTASGD])
def test_its_state_goes_through_a_state_dict(kind):
    whole = parameters()
    one = begun(kind(whole, lr=0.3))
    for number in range(3):
        give_gradients(whole, number)
        one.step()
    again = [nn.Parameter(weight.detach().clone()) for weight in whole]
    two = kind(again, lr=0.3)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for number in range(3, 6):
        for optimizer, weights in ((one, whole), (two, again)):
            give_gradients(weights, number)
            optimizer.step()
    assert all(map(torch.equal, shown(one, whole), shown(two, again))) and all(map(torch.equal, whole, again))


def test_wrong_values_and_a_step_from_the_averages_are_refused():
    weights = parameters()
    for wrong in ({"lr": -1.0}, {"lr": math.inf}, {"weight_decay": -0.1}, {"patience": 0}, {"patience": 2.5}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))} is"):
            NTASGD(weights, **wrong)
    optimizer = NTASGD(weights, lr=0.1)
    optimizer.eval(), optimizer.eval()
    give_gradients(weights, 0)
    with pytest.raises(UserError, match="stands at its averages"):
        optimizer.step()
    optimizer.train()
    optimizer.step()


TRAINING = {"learning_rate": 3.0, "epochs": 12, "optimizer_options": {"patience": 1}}


@pytest.mark.parametrize("optimizer", ["nt_asgd", "snt_asgd"])
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("method", [None, STRNN(0.5, every=7)], ids=["dense", "sparse"])
def test_fit_validates_keeps_and_saves_the_averages_and_resumes(
    optimizer, keep, method, classification, tmp_path, run_whole, run_in_pieces
):
    options = TRAINING | {"optimizer": optimizer, "keep": keep, "method": method}
    with RunFolder.create(tmp_path / "run", {}) as folder:
        model, fitted = classification.fit(run=folder, **options)
        newest = next(folder.checkpoints()).state
    groups = newest["optimizer"]["param_groups"]
    assert groups[0]["averages"] and not groups[0]["evaluates"]
    row = fitted.best if keep == "best" else fitted.history[-1]
    assert fitted.final["loss"] == row["valid_loss"]
    assert evaluate(model, classification.valid, "classification", 20)["loss"] == pytest.approx(row["valid_loss"])
    for name, kept in fitted.masks.kept.items():
        assert not model.get_parameter(name)[~kept].any()
        assert not newest["model"][name][~newest["sparsifier"]["tensors"][f"kept.{name}"]].any()
    if keep == "last":
        averages = newest["optimizer"]["state"]
        trained = dict(model.named_parameters())
        for index, name in enumerate(trained):
            assert torch.equal(trained[name], averages[index]["average"])
            assert not torch.equal(trained[name], newest["model"][name])
    assert run_in_pieces(classification, [5, 31, 20], **options) == run_whole(classification, **options)


class Doubled(torch.optim.SGD):
    """Evaluated at twice its weights; keeps what it is told."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.told = []

    def _scale(self, factor):
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(factor)

    def eval(self):
        self._scale(2.0)

    def train(self):
        self._scale(0.5)

    def validated(self, loss):
        self.told.append(loss)


def test_any_optimizer_with_eval_and_train_is_evaluated_there(classification):
    made = []

    def make(parameters, lr):
        made.append(Doubled(parameters, lr))
        return made[-1]

    doubled, fitted = classification.fit(optimizer=make, keep="last", epochs=3)
    plain, reference = classification.fit(optimizer="sgd", keep="last", epochs=3)
    pairs = zip(doubled.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(twice, 2 * once) for twice, once in pairs)
    assert [row["train_loss"] for row in fitted.history] == [row["train_loss"] for row in reference.history]
    assert made[0].told == [row["valid_loss"] for row in fitted.history]
    assert fitted.final["loss"] == fitted.history[-1]["valid_loss"] != reference.history[-1]["valid_loss"]
