"""Which units of a masked model matter: those that reach its result and are not always zero."""

import torch
from torch import Tensor, nn

from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.wiring import NumberedLine, Wiring


def live_units(wiring: Wiring, model: nn.Module) -> Tensor:
    """Which units must stay: a fixed point of "nothing that matters reads it" and "it is always zero". [units]"""
    named = {
        name: wiring.weights[name].layout.view(parameter.detach().cpu() != 0)
        for name, parameter in wiring.parameters(model).items()
    }
    alive = torch.ones(len(wiring.units.parent), dtype=torch.bool)
    while True:
        present = {
            name: nonzero & wiring.weights[name].of_living(alive, range(nonzero.dim()))
            for name, nonzero in named.items()
        }
        needed, moved = _needed(wiring, present)
        after = alive & needed & ~(_silent(wiring, present) & ~moved)
        after[list(wiring.external)] = True
        after[OUTSIDE] = True
        _keep_one(wiring, alive, after)
        complete_lines(wiring, after)
        if torch.equal(after, alive):
            return alive
        alive = after


def idle_units(wiring: Wiring, model: nn.Module, path: str, biases: bool) -> Tensor:
    """Into which units that a module gives none of its own weights lead, and no bias if biases count. [unit]"""
    description, module = wiring.descriptions[path], model.get_submodule(path)
    keys = description.given
    heard = {key: torch.zeros(description.sizes[key], dtype=torch.bool) for key in description.sizes}
    written = set()
    for part in description.parts if biases else [part for part in description.parts if part.layout.incoming]:
        layout, present = part.layout, part.layout.view(module.get_parameter(part.name).detach().cpu() != 0)
        for place, axis in enumerate(layout.stored):
            if axis != "gate" and place not in layout.source_places:
                rows = _any(present, [other for other in range(present.dim()) if other != place])
                sizes = [description.sizes[key] for key in part.axes[axis]]
                for key, row in zip(part.axes[axis], rows.split(sizes), strict=True):
                    heard[key] |= row
                    written.add(key)
    return torch.cat([~heard[key] if key in written else torch.zeros_like(heard[key]) for key in keys])


def complete_lines(wiring: Wiring, alive: Tensor) -> None:
    """Bring back, in place, what has to exist with a living unit in line or with a living owner."""
    before = -1
    while before != (before := int(alive.sum())):
        for line in wiring.lines:
            alive[line.previous[alive[line.units]]] = True
            alive[line.owners[alive[line.units]]] = True
            bound = alive[line.owners] & ((line.place == 0) | line.whole)
            alive[line.units[bound]] = True
        alive[OUTSIDE] = True


def _needed(wiring: Wiring, present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Units from which a chain of weights leads to something external or returned.

    Returns: these, and of them those that are read where something made another number of their zeros.
    """
    needed = torch.zeros(len(wiring.units.parent), dtype=torch.bool)
    needed[[OUTSIDE, *wiring.external, *wiring.returned, *wiring.summed]] = True
    moved = torch.zeros_like(needed)
    shifted = {path: torch.zeros_like(needed) for path in wiring.shifted}
    for path, units in wiring.shifted.items():
        shifted[path][sorted(units)] = True
    readers = [use for use in reversed(wiring.uses) if use.layout.incoming and use.layout.source]
    while True:
        before = int(needed.sum()) + int(moved.sum())
        for use in readers:
            units, sources = use.units_by_dimension, use.layout.source_places
            places = [place for place in range(len(units)) if place not in sources]
            read = present[use.name] & use.of_living(needed, places)
            for place in sources:
                if (numbers := units[place]) is not None:
                    reached = numbers[_any(read, [other for other in range(len(units)) if other != place])]
                    needed[reached] = True
                    if use.module in shifted:
                        moved[reached] |= shifted[use.module][reached]
        for line in wiring.lines:
            needed[line.units[needed[line.owners]]] = True
        if int(needed.sum()) + int(moved.sum()) == before:
            return needed, moved


def _any(present: Tensor, dims: list[int]) -> Tensor:
    for place in sorted(dims, reverse=True):
        present = present.any(place)
    return present


def _silent(wiring: Wiring, present: dict[str, Tensor]) -> Tensor:
    """Units that every writer leaves at zero."""
    silent = torch.zeros(len(wiring.units.parent), dtype=torch.bool)
    loud = torch.zeros_like(silent)
    for written in wiring.written:
        speaks = torch.zeros(len(written.units), dtype=torch.bool)
        for name, gate in written.pieces:
            layout = wiring.weights[name].layout
            rows = present[name][layout.gates.index(gate)] if gate is not None else present[name]
            places = [units for units in wiring.weights[name].units_by_dimension if units is not None]
            place = next(place for place, units in enumerate(places) if torch.equal(units, written.units))
            speaks |= _any(rows, [other for other in range(rows.dim()) if other != place])
        if written.recurrent and not wiring.fed.get(written.module, True):
            speaks[:] = True
        if written.recurrent and wiring.started:
            speaks |= torch.isin(written.units, torch.tensor(sorted(wiring.started)))
        if not written.pieces:
            speaks[:] = True
        silent[written.units[~speaks]] = True
        loud[written.units[speaks]] = True
    silent &= ~loud
    for line in wiring.lines:
        _fall_silent(line, silent, loud)
    return silent & ~loud


def _fall_silent(line: NumberedLine, silent: Tensor, loud: Tensor) -> None:
    """Silence passes down a line to all that stand behind it, and to the owner that hears nobody."""
    while True:
        behind = torch.ones_like(line.place, dtype=torch.bool)
        for distance in range(1, line.reach + 1):
            there = line.place >= distance
            behind &= torch.where(there, silent[line.units.roll(distance)], line.place < distance - 1)
        behind &= ~silent[line.units]
        if not bool(behind.any()):
            break
        silent[line.units[behind]] = True
    ends = torch.cat([line.place[1:] == 0, torch.ones(1, dtype=torch.bool)])
    heard = ~silent[line.units] & (ends if line.whole else torch.ones_like(ends))
    silent[line.owners] = True
    loud[line.owners[heard]] = True


def _keep_one(wiring: Wiring, before: Tensor, after: Tensor) -> None:
    """No axis loses its last unit."""
    for axes in wiring.axes.values():
        for units in axes.values():
            if len(units) and not bool(after[units].any()):
                after[units[before[units]][0]] = True
