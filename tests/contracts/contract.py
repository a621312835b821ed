"""What every method must do on every cell at each of its granularities, as functions that raise where it does not."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from sparsernn import Masks, Sparsifier, compact, folders
from sparsernn.methods.method import Method

INPUTS, UNITS, CLASSES, BATCH, TIME, STEPS = 3, 20, 4, 5, 4, 10
SHORT = {"sparsity": 0.5, "strength": 0.01, "every": 2, "rounds": 2, "examples": 100}
SLOTS = ("Arguments", "Shapes", "Raises", "Source", "Deviations")


class Classifier(nn.Module):
    """A user's own model: two recurrent layers, of which a linear layer reads the last step."""

    def __init__(self, cell: Callable[..., nn.Module]):
        super().__init__()
        self.cell = cell(INPUTS, UNITS, num_layers=2, batch_first=True)
        self.head = nn.Linear(UNITS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.cell(x)
        return self.head(output[:, -1])


class Training(NamedTuple):
    model: nn.Module
    optimizer: torch.optim.Optimizer
    sparsifier: Sparsifier

    def step(self, number: int) -> float:
        """One step on the batch of that number; returns the loss."""
        inputs, labels = batch(number)
        loss = nn.functional.cross_entropy(self.model(inputs), labels) + self.sparsifier.penalty()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Trained(NamedTuple):
    model: nn.Module
    sparsifier: Sparsifier
    masks: Masks


def cells() -> dict[str, Callable[..., nn.Module]]:
    """Every cell of the folder, and torch's own layers."""
    own = {f"torch.{kind.__name__}": kind for kind in (nn.RNN, nn.LSTM, nn.GRU)}
    return folders.entries("cells") | own


def for_a_short_run(method: type[Method], granularity: str) -> Method:
    """A method's object for a few steps, from the names of its options alone."""
    wanted = SHORT | {"granularity": granularity, "levels": tuple(dict.fromkeys(("weight", granularity)))}
    named = {field.name for field in dataclasses.fields(method) if field.init}
    return method(**{name: value for name, value in wanted.items() if name in named})


def batch(number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + number)
    inputs = torch.randn(BATCH, TIME, INPUTS, generator=generator)
    return inputs, torch.randint(CLASSES, (BATCH,), generator=generator)


def build(cell: Callable[..., nn.Module], seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = Classifier(cell)
    return model, torch.optim.Adam(model.parameters(), lr=0.02)


def start(cell: Callable[..., nn.Module], method: Method) -> Training:
    model, optimizer = build(cell)
    return Training(model, optimizer, sparsifier_of(model, method, optimizer, seed=1))


def sparsifier_of(model: nn.Module, method: Method, optimizer: torch.optim.Optimizer, seed: int) -> Sparsifier:
    """With a batch for the methods that look at one before training."""
    inputs, labels = batch(0)
    return Sparsifier(
        model,
        method,
        optimizer,
        steps=STEPS,
        loss=lambda: nn.functional.cross_entropy(model(inputs), labels),
        seed=seed,
    )


def absent_are_zero(training: Training) -> bool:
    masks = training.sparsifier.masks
    return all(bool((training.model.get_parameter(name)[~kept] == 0).all()) for name, kept in masks.kept.items())


def trains(cell: Callable[..., nn.Module], method: Method) -> Trained:
    """The loss stays finite and absent weights are exactly zero, at the start, after every step and at the end."""
    training = start(cell, method)
    assert absent_are_zero(training)
    for number in range(STEPS):
        assert math.isfinite(training.step(number))
        assert absent_are_zero(training), f"after step {number + 1}"
    masks = training.sparsifier.finalize()
    assert absent_are_zero(training)
    assert training.sparsifier.settled
    assert masks.sparsity() > 0 or method.target is None
    return Trained(training.model, training.sparsifier, masks)


def meets_its_target(trained: Trained, granularity: str) -> None:
    """The fraction of absent groups is the one promised, to within one group a family."""
    target = trained.sparsifier.method.target
    if target is None:
        return
    groups = trained.sparsifier.groups(granularity)
    absent = 1 - float(groups.kept(trained.masks).float().mean())
    assert abs(absent - target) <= len(groups.families) / groups.count


def leaves_plain_parameters(trained: Trained, cell: Callable[..., nn.Module]) -> None:
    """After finalize nothing of ours is left in the model or its optimizer, and no name has changed."""
    fresh, _ = build(cell)
    assert list(trained.model.state_dict()) == list(fresh.state_dict())
    assert [type(module) for module in trained.model.modules()] == [type(module) for module in fresh.modules()]
    assert not any(hooks_on(module) for module in trained.model.modules())
    assert not any(hooks_on(trained.sparsifier.optimizer))


def hooks_on(owner: Any) -> list[Any]:
    return [hook for name, hooks in vars(owner).items() if name.endswith("_hooks") and hooks for hook in hooks.values()]


def compacts_exactly(trained: Trained) -> None:
    """The compacted model computes what the masked one does, and its masks belong to it."""
    inputs, _ = batch(0)
    small, masks = compact(trained.model, trained.masks, example=(inputs,))
    with torch.no_grad():
        expected, found = trained.model(inputs), small(inputs)
    assert (found - expected).abs().max() <= 1e-6
    before = copy.deepcopy(small.state_dict())
    masks.apply_(small)
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


def resumes_bit_for_bit(cell: Callable[..., nn.Module], method: Method, at: int = STEPS // 2) -> None:
    """A run that is saved, thrown away and built again ends with the weights and masks of one that was not."""
    whole, first = start(cell, method), start(cell, method)
    for number in range(STEPS):
        whole.step(number)
    for number in range(at):
        first.step(number)
    saved = through_files(first.sparsifier.state_dict())
    model, optimizer = build(cell, seed=7)
    model.load_state_dict(first.model.state_dict())
    optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    second = Training(model, optimizer, sparsifier_of(model, method, optimizer, seed=99))
    second.sparsifier.load_state_dict(saved)
    for number in range(at, STEPS):
        second.step(number)
    ends = [training.sparsifier.finalize().kept for training in (whole, second)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    after = second.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in whole.model.state_dict().items())
    assert whole.sparsifier.events == second.sparsifier.events


def through_files(state: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A state as it comes back from safetensors and JSON."""
    return {"tensors": load(save(state["tensors"])), "values": json.loads(json.dumps(state["values"]))}


def is_described(entry: type) -> None:
    """The docstring has a summary line and every slot, none of them empty."""
    text = inspect.getdoc(entry) or ""
    summary = text.partition("\n")[0]
    assert summary and summary.endswith((".", ":")), f"the summary line is {summary!r}"
    for slot in SLOTS:
        found = re.search(rf"^{slot}:(.*(?:\n +.*)*)", text, re.MULTILINE)
        assert found and found[1].strip(), f"{slot} is missing or empty"


def names_every_option(entry: type) -> None:
    """Whatever can be passed is explained in the docstring of the class itself."""
    text = (entry.__doc__ or "").partition("Arguments:")[2].partition("Shapes:")[0]
    options = [field.name for field in dataclasses.fields(entry) if field.init]
    assert not [name for name in options if not re.search(rf"^ +(?:\w+, )*{name}(?:, \w+)*: ", text, re.MULTILINE)]


def is_in_a_short_chain(entry: type) -> None:
    """At most two classes of the package are above it, and they are abstract."""
    above = [kind for kind in entry.__mro__[1:] if kind.__module__.startswith("sparsernn.")]
    assert len(above) <= 2 and all(inspect.isabstract(kind) for kind in above)
