"""Levels that cells and modules declare: groups by the indices of axes, wherever these occur.

"hidden" is all that belongs to a unit, "gate hidden <-" what comes in at a row, "<- hidden" what reads a unit.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.structure.families import Family, Numbering, Piece, dense_shape
from sparsernn.structure.wiring import Wiring


class Owner(NamedTuple):
    """A layer, or a module that is not recurrent, with its weights."""

    label: str
    levels: Mapping[str, str]
    weights: Sequence[str]


def units_at(wiring: Wiring, names: Sequence[str], level: str) -> Numbering:
    """The groups that the owners of the named weights declare at a level.

    Raises: UserError if none of them has it.
    """
    owners = _owners(wiring, names)
    if not any(level in owner.levels for owner in owners):
        declared = sorted(levels_of(wiring, names) | {"weight", "16x1"})
        raise UserError(
            f'no selected layer has the granularity "{level}"',
            f"one of {', '.join(declared)} (or another block size)",
            "pass one of these",
        )
    pieces: list[Piece] = []
    families: list[Family] = []
    claimed = torch.full((len(wiring.units.parent),), -1)
    for owner in owners:
        axes, start = owner.levels.get(level), families[-1].stop if families else 0
        if axes is None:
            continue
        if axes.endswith("<-"):
            stop, rows = _rows(wiring, axes.removesuffix("<-").split(), owner.weights, start)
            pieces += rows
            families += [Family(owner.label, start, stop)] if stop > start else []
            continue
        for axis in axes.removeprefix("<-").split():
            stop = _claim(claimed, _axis_units(wiring, axis, owner.weights), start)
            families += [Family(owner.label, start, stop)] if stop > start else []
            start = stop
    for line in wiring.lines:
        claimed[line.units] = torch.where(claimed[line.owners] < 0, claimed[line.units], claimed[line.owners])
    count = families[-1].stop if families else 0
    read_only = any(owner.levels.get(level, "").startswith("<-") for owner in owners)
    columns = _columns(wiring, claimed, read_only)
    _require_groups([*pieces, *columns], level)
    return Numbering([*pieces, *columns], families, _previous(wiring, claimed, count), claimed)


def levels_of(wiring: Wiring, names: Sequence[str]) -> set[str]:
    """Those that the owners of the named weights declare."""
    return {level for owner in _owners(wiring, names) for level in owner.levels}


def _require_groups(pieces: Sequence[Piece], level: str) -> None:
    """Raises: UserError where no weight belongs to a group, as where nothing reads the units."""
    if not pieces:
        raise UserError(
            f'no weight of this model has groups at the granularity "{level}"',
            "weights that read the selected units, or another granularity",
            'pass another one, such as "neuron"',
        )


def _owners(wiring: Wiring, names: Sequence[str]) -> list[Owner]:
    """Every layer that owns a selected tensor, then every other module."""
    layers = [Owner(layer.label or "cell", layer.cell.levels, list(layer.weights.values())) for layer in wiring.layers]
    modules = [
        Owner(path, description.levels, [name for name, weight in wiring.weights.items() if weight.module == path])
        for path, description in wiring.descriptions.items()
    ]
    return [owner for owner in (*layers, *modules) if owner.levels and set(owner.weights) & set(names)]


def _rows(wiring: Wiring, axes: list[str], names: Sequence[str], start: int) -> tuple[int, list[Piece]]:
    """One group per index of the destination axes: everything that comes in there, biases excluded.

    Returns: the number behind the last group, and the pieces.
    """
    layouts = {name: wiring.weights[name].layout for name in names}
    layouts = {name: layout for name, layout in layouts.items() if layout.incoming and list(layout.destination) == axes}
    if not layouts:
        return start, []
    full = max(dense_shape(wiring, name)[: len(axes)] for name in layouts)
    gates = max((layout.gates for layout in layouts.values()), key=len)
    numbers = torch.arange(start, start + math.prod(full)).view(full)
    pieces = []
    for name, layout in layouts.items():
        rows = numbers[[gates.index(gate) for gate in layout.gates]] if layout.gates != gates else numbers
        pieces.append(Piece(name, rows.view(*rows.shape, *[1] * (len(layout.stored) - len(axes)))))
    return start + numbers.numel(), pieces


def _axis_units(wiring: Wiring, axis: str, names: Sequence[str]) -> Tensor:
    """Units along an axis of the named weights, or of the owners of the lines that these write."""
    axes = [wiring.weights[name].axes for name in names]
    written = {int(unit) for units_by_axis in axes for units in units_by_axis.values() for unit in units}
    units = [units_by_axis[axis] for units_by_axis in axes if axis in units_by_axis]
    units += [line.owners for line in wiring.lines if line.axis == axis and written.issuperset(line.units.tolist())]
    return torch.cat(units) if units else torch.zeros(0, dtype=torch.long)


def _claim(claimed: Tensor, units: Tensor, start: int) -> int:
    """Give each unit that is not claimed yet a group of its own, in place; the number behind the last group."""
    fresh = units.new_tensor(list(dict.fromkeys(units[(claimed[units] < 0) & (units > 0)].tolist())))
    claimed[fresh] = torch.arange(start, start + len(fresh))
    return start + len(fresh)


def _previous(wiring: Wiring, claimed: Tensor, count: int) -> Tensor | None:
    """The group before each one, where units in line are groups of their own. [count]"""
    previous = torch.full((count,), -1)
    for line in wiring.lines:
        groups, before = claimed[line.units], claimed[line.previous]
        behind = (groups >= 0) & (before >= 0) & (groups != before)
        previous[groups[behind]] = before[behind]
    return previous if bool((previous >= 0).any()) else None


def _columns(wiring: Wiring, claimed: Tensor, read_only: bool) -> list[Piece]:
    """Every slice of every weight that belongs to a claimed unit; or only those that read it, in any use of it."""
    pieces = []
    sources = {(use.name, place) for use in wiring.uses for place in use.layout.source_places}
    for name, weight in wiring.weights.items():
        dimensions = weight.units_by_dimension
        for place, units in enumerate(dimensions):
            if units is None or (read_only and (name, place) not in sources):
                continue
            if bool((claimed[units] >= 0).any()):
                shape = [1] * len(dimensions)
                shape[place] = len(units)
                pieces.append(Piece(name, claimed[units].view(shape)))
    return pieces
