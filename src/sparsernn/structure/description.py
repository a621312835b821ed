"""What one module is made of: its weights by name, the axes they share, and what holds a unit at zero."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sparsernn.structure.axes import Layout
from sparsernn.structure.layer import Recurrence

Segments = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One weight of a module.

    Attributes:
        name: local parameter name.
        layout: its dimensions.
        axes: axis name -> the module's axis keys, concatenated, along that dimension.
    """

    name: str
    layout: Layout
    axes: dict[str, Segments]


@dataclass(frozen=True)
class Producer:
    """What must be all zero for the units of an axis to stay at zero.

    Attributes:
        axis: axis key.
        pieces: (local parameter name, gate or None) pairs.
        recurrent: whether the zero also needs a zero initial state.
    """

    axis: str
    pieces: tuple[tuple[str, str | None], ...]
    recurrent: bool


@dataclass(frozen=True)
class Lines:
    """Units that stand in line within a unit of another axis, such as the states of automata.

    A unit in line exists only with all before it, and with its owner; an owner only with its first unit.

    Attributes:
        units: axis key of the units in line, those of one owner side by side.
        owners: axis key of the owners.
        owner: for each unit in line, the number of its owner.
        reach: a unit is always zero if it writes nothing itself or if so many units before it are always zero;
            what stands before the first one never is.
        whole: whether an owner hears its last unit only, so that no line can be shortened.
    """

    units: str
    owners: str
    owner: tuple[int, ...]
    reach: int = 1
    whole: bool = False


@dataclass(frozen=True)
class Description:
    """One module in names.

    Attributes:
        sizes: axis key -> number of units.
        parts: every weight.
        producers: what writes which axis.
        reads: axis keys along the last dimension of the module's input; () if the input is no vector of units.
        writes: axis keys along the last dimension of its output.
        states: for each state returned, the axis key of every layer and direction.
        recurrences: one per layer and direction.
        levels: granularity name -> group axes, for a module that is not recurrent.
        mixes: a reason why every unit of the input is read by every other, or "" (normalisations).
        lines: units that stand in line.
        same: pairs of axis keys whose units are the same ones, position by position.
    """

    sizes: dict[str, int]
    parts: tuple[Part, ...]
    producers: tuple[Producer, ...]
    reads: Segments
    writes: Segments
    states: tuple[Segments, ...] = ()
    recurrences: tuple[Recurrence, ...] = ()
    levels: dict[str, str] = field(default_factory=dict)
    mixes: str = ""
    lines: tuple[Lines, ...] = ()
    same: tuple[tuple[str, str], ...] = ()


def describe_layers(
    kind: Recurrence,
    *,
    input_size: int,
    widths: list[int],
    directions: int,
    names: list[dict[str, str]],
    outputs: dict[str, int] | None = None,
    state_axes: tuple[str, ...] = (),
) -> Description:
    """A stack of recurrent layers, one or two directions each, from one layer's declaration.

    Arguments:
        kind: the declaration of one layer.
        widths: hidden units of each layer and direction, in torch's order (layer by layer).
        names: for each layer and direction, local weight name -> parameter name.
        outputs: widths of axes by key ("projection_0"), where they are not those of `widths`.
        state_axes: axis of each state; the first is what the layer hands on.
    """
    axes = state_axes or ("hidden",) * len(kind.states)
    sizes, parts, producers, recurrences = {"input": input_size}, [], [], []
    feeding: Segments = ("input",)
    states: list[list[str]] = [[] for _ in axes]
    for first in range(0, len(widths), directions):
        handed = []
        for position in range(first, first + directions):
            own = {axis: f"{axis}_{position}" for axis in dict.fromkeys(axes)}
            sizes |= {key: (outputs or {}).get(f"{axis}_{position}", widths[position]) for axis, key in own.items()}
            scope = {axis: (key,) for axis, key in own.items()} | {"memory": (own[axes[-1]],), "input": feeding}
            layouts = {local: kind.layout(local) for local in kind.axes if local in names[position]}
            parts += [_part(names[position][local], layout, scope) for local, layout in layouts.items()]
            producers += _producers(kind, layouts, names[position], own)
            suffix = "" if len(widths) == 1 else f"l{first // directions}" + ("_reverse" if position > first else "")
            recurrences.append(replace(kind, weights=dict(names[position]), where=("", suffix)))
            for collected, axis in zip(states, axes, strict=True):
                collected.append(own[axis])
            handed.append(own[axes[0]])
        feeding = tuple(handed)
    collected_states = tuple(tuple(collected) for collected in states)
    return Description(sizes, tuple(parts), tuple(producers), ("input",), feeding, collected_states, tuple(recurrences))


def _part(name: str, layout: Layout, scope: dict[str, Segments]) -> Part:
    return Part(name, layout, {axis: scope[axis] for axis in layout.stored if axis != "gate"})


def _producers(
    kind: Recurrence, layouts: dict[str, Layout], names: dict[str, str], own: dict[str, str]
) -> list[Producer]:
    found = []
    for axis, key in own.items():
        gated = [local for local, layout in layouts.items() if layout.destination == ("gate", axis)]
        plain = [local for local, layout in layouts.items() if layout.destination == (axis,)]
        pieces = [(names[local], kind.silent) for local in gated if kind.silent in layouts[local].gates]
        pieces += [(names[local], None) for local in plain]
        found.append(Producer(key, tuple(pieces), recurrent=True))
    return found
