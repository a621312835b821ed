"""Torch's form of the arithmetic that steps are written against; see `cells.parts.arithmetic.Math`."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

sigmoid, tanh, relu, selu, log_sigmoid = torch.sigmoid, torch.tanh, torch.relu, F.selu, F.logsigmoid


def split(vector: Tensor, parts: int) -> Sequence[Tensor]:
    return vector.chunk(parts, -1)


def join(vectors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(vectors), -1)


def take(vector: Tensor, places: tuple[int, ...], fill: float) -> Tensor:
    index, absent = _once(_index)(places, vector.device)
    taken = vector[..., index]
    return taken if absent is None else taken.masked_fill(absent, fill)


def choose(flags: tuple[bool, ...], yes: float, no: Tensor) -> Tensor:
    return no.masked_fill(_once(_flags)(flags, no.device), yes)


def constant(value: float, like: Tensor) -> Tensor:
    return like.new_full((), value)


def watch(vector: Tensor, activated: Tensor) -> Tensor:
    return activated


def clamp(vector: Tensor, low: float, high: float) -> Tensor:
    return vector.clamp(low, None if high == math.inf else high)


def larger(first: Tensor, second: Tensor) -> Tensor:
    return torch.where((second >= first) | second.isnan(), second, first)


def log_add_exp(first: Tensor, second: Tensor) -> Tensor:
    """With plain derivatives of any order where a term is -inf."""
    no_first, no_second = first == -torch.inf, second == -torch.inf
    single = no_first | no_second
    both = torch.logaddexp(first.masked_fill(single, 0), second.masked_fill(single, 0))
    return torch.where(no_second, first, torch.where(no_first, second, both))


def finite(vector: Tensor) -> Tensor:
    return vector.masked_fill(vector == -torch.inf, 0)


def _once(make: Any) -> Any:
    """A function that makes constants once; those of a graph that is exported belong to that graph alone."""
    return make.__wrapped__ if torch.compiler.is_exporting() else make


@cache
def _index(places: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor | None]:
    absent = torch.tensor([place < 0 for place in places], device=device)
    index = torch.tensor([max(place, 0) for place in places], dtype=torch.long, device=device)
    return index, absent if min(places) < 0 else None


@cache
def _flags(flags: tuple[bool, ...], device: torch.device) -> Tensor:
    return torch.tensor(flags, device=device)
