"""Families of groups that share a budget, with the pieces of tensors that each group owns: entries and tiles."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.structure.axes import Layout
from sparsernn.structure.wiring import Wiring


@dataclass(frozen=True)
class Piece:
    """The part of one tensor that groups own.

    Attributes:
        name: parameter name.
        index: group numbers, broadcastable to the named view, -1 = no group; None = every weight is a group.
        start, stop: the groups are numbered from start to stop - 1 where index is None.
    """

    name: str
    index: Tensor | None
    start: int = 0
    stop: int = 0


@dataclass(frozen=True)
class Family:
    """Groups that share a budget: a tensor, a gate of it, a layer. Numbers start to stop - 1.

    Attributes:
        fans: (fan-in, fan-out) of the dense tensor, for Erdős–Rényi budgets; (0, 0) where it means nothing.
        shape: of the dense tensor or gate; tensor: its name. Empty where a family is no part of one tensor.
    """

    label: str
    start: int
    stop: int
    fans: tuple[int, int] = (0, 0)
    shape: tuple[int, ...] = ()
    tensor: str = ""

    @property
    def size(self) -> int:
        """How many groups it has."""
        return self.stop - self.start


class Numbering(NamedTuple):
    """All groups of a model at one level.

    Attributes:
        previous: the group before each one in its line, -1 = none; None where no groups stand in line. [count]
        units: the group of each unit of the model, -1 = none; None where groups are not of units.
    """

    pieces: list[Piece]
    families: list[Family]
    previous: Tensor | None = None
    units: Tensor | None = None


def entries(wiring: Wiring, names: Iterable[str], per: str) -> Numbering:
    """Every weight is a group. per: what shares a budget, see `Groups.of`."""
    _check_per(per)
    pieces: list[Piece] = []
    families: list[Family] = []
    for name in names:
        start = families[-1].stop if families else 0
        families += _families_of(wiring, name, per, start, dense_shape(wiring, name))
        pieces.append(Piece(name, None, start, families[-1].stop))
    return Numbering(pieces, _fused(wiring, families) if per == "kernel" else families)


def tiles(wiring: Wiring, names: Iterable[str], rows: int, columns: int, per: str) -> Numbering:
    """Blocks of `rows` consecutive destination units of one gate by `columns` sources; smaller at the edges."""
    _check_per(per)
    if not rows or not columns:
        raise UserError(f"a block of {rows}x{columns}", "at least 1x1", 'pass a granularity such as "16x1"')
    pieces: list[Piece] = []
    families: list[Family] = []
    for name in names:
        start = families[-1].stop if families else 0
        shape, steps = dense_shape(wiring, name), _steps(wiring.weights[name].layout, rows, columns)
        grid = [-(-size // step) for size, step in zip(shape, steps, strict=True)]
        numbers = torch.arange(math.prod(grid)).view(grid)
        for place, (size, step) in enumerate(zip(shape, steps, strict=True)):
            numbers = numbers.repeat_interleave(step, place).narrow(place, 0, size)
        pieces.append(Piece(name, numbers + start))
        families += _families_of(wiring, name, per, start, grid)
    return Numbering(pieces, _fused(wiring, families) if per == "kernel" else families)


def dense_shape(wiring: Wiring, name: str) -> list[int]:
    """The shape of a weight's named view."""
    weight = wiring.weights[name]
    return [len(weight.layout.gates) if units is None else len(units) for units in weight.units_by_dimension]


def _check_per(per: str) -> None:
    if per not in ("tensor", "gate", "kernel"):
        raise UserError(f"per is {per!r}", '"tensor", "gate" or "kernel"', "choose what shares a budget")


def _steps(layout: Layout, rows: int, columns: int) -> list[int]:
    """How many places a block spans along each dimension of a named view."""
    source_first = layout.stored[:1] == layout.source[:1] and layout.destination != layout.stored
    steps = [1 if axis == "gate" else rows for axis in layout.stored]
    if layout.source:
        steps[0 if source_first else -1] = columns
    return steps


def _families_of(wiring: Wiring, name: str, per: str, start: int, group_shape: Sequence[int]) -> list[Family]:
    """One family a tensor, or one a gate of it. group_shape: of the group numbers, gate first if there is one."""
    weight, shape, total = wiring.weights[name], dense_shape(wiring, name), math.prod(group_shape)
    if per != "gate" or "gate" not in weight.layout.stored:
        stored = shape if "gate" not in weight.layout.stored else [shape[0] * shape[1], *shape[2:]]
        return [Family(name, start, start + total, _fans(weight.layout, shape), tuple(stored), name)]
    gates, each = weight.layout.gates, total // len(weight.layout.gates)
    fans = _fans(weight.layout, [1, *shape[1:]])
    return [
        Family(f"{name}[{gate}]", start + place * each, start + (place + 1) * each, fans, tuple(shape[1:]), name)
        for place, gate in enumerate(gates)
    ]


def _fans(layout: Layout, shape: Sequence[int]) -> tuple[int, int]:
    """Fan-in and fan-out of a named view: the product of its source sizes and of its destination sizes."""
    if layout.stored[:1] == layout.destination[:1]:
        destinations = len(layout.destination)
        return math.prod(shape[destinations:]), math.prod(shape[:destinations])
    sources = len(layout.source)
    return math.prod(shape[:sources]), math.prod(shape[sources:])


def _fused(wiring: Wiring, families: list[Family]) -> list[Family]:
    """One family for all matrices of a recurrent layer; others stay by themselves."""
    layers = {name: layer.label for layer in wiring.layers for name in layer.weights.values()}
    fused: list[Family] = []
    for family in families:
        label = layers.get(family.tensor, family.tensor)
        if fused and fused[-1].label == label:
            into, out = fused[-1].fans
            fused[-1] = Family(label, fused[-1].start, family.stop, (into + family.fans[0], out))
        else:
            fused.append(replace(family, label=label))
    return fused
