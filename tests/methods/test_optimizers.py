"""Absent weights are exactly zero after every step, with every optimizer of torch that takes dense gradients."""

import inspect

import pytest
import torch
from torch import nn

from sparsernn import Sparsifier
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.rigl import RigL
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from tests.methods.networks import absent_are_zero, loss_of, network

STEPS = 6
EVERYTHING = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.1,
    "amsgrad": True,
    "centered": True,
    "maximize": True,
}


def needs_closure(kind: type[torch.optim.Optimizer]) -> bool:
    return inspect.signature(kind.step).parameters["closure"].default is inspect.Parameter.empty


def takes_dense_gradients(kind: type[torch.optim.Optimizer]) -> bool:
    weight = nn.Parameter(torch.ones(3, 3))
    weight.grad = torch.ones(3, 3)
    try:
        kind([weight]).step(lambda: torch.zeros(()))
    except RuntimeError as error:
        if "dense" in str(error):
            return False
        raise
    return True


KINDS = [
    kind
    for kind in vars(torch.optim).values()
    if inspect.isclass(kind)
    and issubclass(kind, torch.optim.Optimizer)
    and kind is not torch.optim.Optimizer
    and takes_dense_gradients(kind)
]
CASES = [
    (kind, switched_on, closure)
    for kind in KINDS
    for switched_on in (False, True)
    for closure in ((True,) if needs_closure(kind) else (False, True))
]
METHODS = [
    Static(0.6),
    Magnitude(0.7, every=1, stop=0.8),
    RigL(0.6, every=2, stop=1.0),
    SparseEvolutionaryTraining(0.6, every=2, redistribution="momentum"),
    Magnitude(0.5, "neuron", every=1, rewind=0.2),
]


def build(kind: type[torch.optim.Optimizer], model: nn.Module, switched_on: bool) -> torch.optim.Optimizer:
    known = inspect.signature(kind).parameters
    options = {name: value for name, value in EVERYTHING.items() if name in known and switched_on}
    try:
        return kind(model.parameters(), lr=0.02, **options)
    except ValueError:  # matrices alone
        return kind([weight for weight in model.parameters() if weight.dim() == 2], lr=0.02, **options)


def run_steps(model, optimizer, sparsifier, closure, poison=False):
    """Train; after each step absent weights must be zero. `poison`: their gradients are NaN."""
    for number in range(STEPS):

        def evaluate(number=number):
            optimizer.zero_grad()
            loss = loss_of(model, number)
            loss.backward()
            for name, kept in sparsifier.masks.kept.items():
                if poison:
                    model.get_parameter(name).grad[~kept] = torch.nan
            return loss

        if closure:
            optimizer.step(evaluate)
        else:
            evaluate()
            optimizer.step()
        assert absent_are_zero(model, sparsifier.masks)
    assert sparsifier.step_count == STEPS


def test_all_of_torch_are_here():
    assert {"SGD", "Adam", "AdamW", "LBFGS", "Adafactor", "Rprop", "ASGD", "Adagrad"} <= {
        kind.__name__ for kind in KINDS
    }
    assert torch.optim.SparseAdam not in KINDS


@pytest.mark.parametrize(
    "method", METHODS, ids=lambda method: type(method).__name__ + getattr(method, "granularity", "")
)
@pytest.mark.parametrize(("kind", "switched_on", "closure"), CASES)
def test_zeros_stay_zero(kind, switched_on, closure, method):
    model = network()
    optimizer = build(kind, model, switched_on)
    sparsifier = Sparsifier(model, method, optimizer, steps=STEPS)
    run_steps(model, optimizer, sparsifier, closure)
    assert sparsifier.settled
    assert sparsifier.masks.sparsity() >= method.sparsity - 0.05


@pytest.mark.parametrize(("kind", "switched_on", "closure"), CASES)
def test_nan_in_the_gradient_of_an_absent_weight_does_no_harm(kind, switched_on, closure):
    model = network()
    optimizer = build(kind, model, switched_on)
    sparsifier = Sparsifier(model, Static(0.6), optimizer, steps=STEPS)
    run_steps(model, optimizer, sparsifier, closure, poison=True)
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())
    remembered = [
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    ]
    assert all(bool(value.isfinite().all()) for value in remembered)


@pytest.mark.parametrize("kind", KINDS)
def test_rewinding_gives_the_optimizer_the_memory_of_a_new_one(kind):
    model = network()
    optimizer = build(kind, model, False)
    sparsifier = Sparsifier(model, Magnitude(0.5, every=1, stop=0.5, rewind=0.0), optimizer, steps=STEPS)
    for number in range(STEPS // 2):

        def evaluate(number=number):
            optimizer.zero_grad()
            loss = loss_of(model, number)
            loss.backward()
            return loss

        optimizer.step(evaluate)
    assert sparsifier.settled
    expected = build(kind, network(), False).state
    assert len(optimizer.state) == len(expected)
    for ours, theirs in zip(optimizer.state.values(), expected.values(), strict=True):
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.Rprop, {}),
        (torch.optim.Adagrad, {"initial_accumulator_value": 0.3}),
        (torch.optim.Adam, {}),
        (torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_what_is_born_has_the_memory_of_a_new_weight(kind, options):
    model = network()
    optimizer = kind(model.parameters(), lr=0.02, **options)
    sparsifier = Sparsifier(model, RigL(0.5, every=2, stop=1.0), optimizer, steps=STEPS)
    for number in range(3):
        before = sparsifier.masks.state_dict()
        optimizer.zero_grad()
        loss_of(model, number).backward()
        optimizer.step()
    first = {"step_size": 0.02, "sum": 0.3}
    for name, was in before.items():
        born = sparsifier.masks.kept[name] & ~was
        state = optimizer.state[model.get_parameter(name)]
        remembered = {key: value for key, value in state.items() if value.shape == was.shape}
        assert remembered and bool(born.any())
        for key, value in remembered.items():
            assert bool((value[born] == torch.tensor(first.get(key, 0.0))).all()), key


def test_a_quasi_newton_method_starts_again_when_weights_are_born():
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    sparsifier = Sparsifier(model, STRNN(0.5, every=2), optimizer, steps=STEPS)
    run_steps(model, optimizer, sparsifier, closure=True)
    assert optimizer.state[next(model.parameters())]["n_iter"] <= 2


def test_a_closure_is_called_as_often_as_the_optimizer_asks():
    model, calls = network(), []
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    Sparsifier(model, Static(0.5), optimizer, steps=1)

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert len(calls) >= 3
    assert loss_of(model).item() < first.item()
