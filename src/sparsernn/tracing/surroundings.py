"""Surroundings of a forward: what it may change besides its result, put back afterwards."""

import abc
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from sparsernn.tracing.copying import parts_of
from sparsernn.tracing.tensors import plain

MODE = "training"


class Surroundings:
    """A model's modes, parameters, buffers and attributes of its modules, and all generators, as they are now.

    Attributes of plain objects that hang on a module, and members of lists and dictionaries, belong to it.
    """

    def __init__(self, model: nn.Module):
        self._parts: list[Part] = []
        self._generators = _remember_global_generators()
        for part in parts_of(model):
            if (restore := _remember_generator(part)) is not None:
                self._generators.append(restore)
            elif (remembered := _part(part)) is not None:
                self._parts.append(remembered)

    def changed(self) -> bool:
        """Whether a forward left anything behind: buffers and attributes count, generators do not."""
        return any(part.changed() for part in self._parts)

    def put_back(self) -> None:
        """Undo whatever was done since."""
        for restore in self._generators:
            restore()
        for part in self._parts:
            part.put_back()


@contextmanager
def undisturbed(model: nn.Module, surroundings: Surroundings | None = None) -> Iterator[Surroundings]:
    """Everything that is run in here, without gradients, leaves the model and all generators as they were.

    Arguments:
        surroundings: of the model, if they are known from before; generators begin where they stood then.
    """
    surroundings = surroundings or Surroundings(model)
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield surroundings
    finally:
        surroundings.put_back()


class Part(abc.ABC):
    """One part of a model by itself; what it refers to is a part of its own."""

    @abc.abstractmethod
    def changed(self) -> bool:
        """Whether it is another than it was, modes excepted."""

    @abc.abstractmethod
    def put_back(self) -> None:
        """Make it what it was; nothing is written where nothing changed, so that graphs over tensors stay valid."""


class Values(Part):
    """The numbers of a tensor."""

    def __init__(self, tensor: Tensor):
        self.tensor, self.before = tensor, tensor.detach().clone()

    def changed(self) -> bool:
        now, before = (plain(tensor.detach()) for tensor in (self.tensor, self.before))
        return now.shape != before.shape or not torch.equal(now.nan_to_num(), before.nan_to_num())

    def put_back(self) -> None:
        if not self.changed():
            return
        tensor = self.tensor
        if _has_places(tensor) and not tensor.is_inference() and tensor.shape == self.before.shape:
            tensor.data.copy_(self.before)  # views of it go on seeing it
        else:
            tensor.data = self.before.clone()


class Members(Part):
    """A dictionary, or the attributes of an object."""

    def __init__(self, members: dict[Any, Any]):
        self.members, self.before = members, dict(members)

    def changed(self) -> bool:
        left, right = (
            {name: value for name, value in one.items() if name != MODE} for one in (self.members, self.before)
        )
        return not (_same(list(left), list(right)) and _same(list(left.values()), list(right.values())))

    def put_back(self) -> None:
        if self.changed():
            self.members.clear()
        self.members.update(self.before)


class Sequence(Part):
    """A list, a deque or a set."""

    def __init__(self, values: list[Any] | deque[Any] | set[Any]):
        self.values, self.before = values, list(values)

    def changed(self) -> bool:
        return not _same(list(self.values), self.before)

    def put_back(self) -> None:
        if self.changed():
            self.values.clear()
            self.values.update(self.before) if isinstance(self.values, set) else self.values.extend(self.before)


def _has_places(tensor: Tensor) -> bool:
    """Whether every entry of a tensor has a place of its own."""
    if tensor.layout != torch.strided or tensor.is_nested:
        return False
    return all(step or size < 2 for step, size in zip(tensor.stride(), tensor.shape, strict=True))


def _part(part: object) -> Part | None:
    if isinstance(part, Tensor):
        return None if part.is_meta or isinstance(part, UninitializedParameter | UninitializedBuffer) else Values(part)
    if isinstance(part, dict):
        return Members(part)
    if isinstance(part, list | deque | set):
        return Sequence(part)
    return Members(vars(part)) if hasattr(part, "__dict__") else None


def _same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(one is other for one, other in zip(left, right, strict=True))


def _remember_generator(part: object) -> Callable[[], object] | None:
    """How to put a generator back that somebody keeps."""
    if isinstance(part, torch.Generator):
        return partial(part.set_state, part.get_state())
    if isinstance(part, random.Random):
        return partial(part.setstate, part.getstate())
    if isinstance(part, np.random.RandomState):
        return partial(part.set_state, part.get_state())
    if isinstance(part, np.random.Generator):
        return partial(setattr, part.bit_generator, "state", part.bit_generator.state)
    return None


def _remember_global_generators() -> list[Callable[[], object]]:
    """The generators of Python, numpy and torch."""
    restores: list[Callable[[], object]] = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
        partial(torch.set_rng_state, torch.get_rng_state()),
    ]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        restores.append(partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return restores
