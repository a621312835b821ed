"""What one module is made of: its weights by name, the axes they share, and what holds a unit at zero."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from sparsernn.cells.cell import Cell, Line
from sparsernn.structure.axes import Layout
from sparsernn.structure.layer import Layer, layer_suffixes, layout_of

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
class Description:
    """One module in names.

    Attributes:
        sizes: axis key -> number of units.
        parts: every weight.
        producers: what writes which axis.
        reads: axis keys along the units' dimension of the module's input; () if the input is no vector of units.
        separate: whether each of these axes is that of an argument of its own, of the same name.
        writes: axis keys along the units' dimension of its output; () if no unit of it is cut.
        place: the dimension of input and output along which units stand.
        states: for each state returned, the axis key of every layer and direction.
        layers: one per layer and direction, of a recurrent module.
        levels: granularity name -> group axes, for a module that is not recurrent.
        mixes: a reason why every unit of the input is read by every other, or "".
        sums: whether all units of the input are read together in a way in which zeros count for nothing, as sums are
            (a normalisation that goes on dividing by the width before a cut).
        moves_zero: whether a unit that is zero comes out as another number, unless the module's weights of it are zero.
        fixed: axis keys of what is no unit and never cut, such as the places of a convolution's kernel.
        lines: units that stand in line; axes by their keys.
        whole: axis keys whose units stand in groups of so many beside each other, each of which stays or goes as one.
        same: pairs of axis keys whose units are the same ones, position by position.
        numbered: axis keys whose units callers choose by their numbers, as words by ids, and which may be cut because
            the module then goes on taking the numbers of before; each with the memory that this takes, in weights.
    """

    sizes: dict[str, int]
    parts: tuple[Part, ...]
    producers: tuple[Producer, ...]
    reads: Segments
    writes: Segments
    states: tuple[Segments, ...] = ()
    layers: tuple[Layer, ...] = ()
    levels: dict[str, str] = field(default_factory=dict)
    mixes: str = ""
    sums: bool = False
    moves_zero: bool = False
    fixed: Segments = ()
    place: int = -1
    separate: bool = False
    lines: tuple[Line, ...] = ()
    whole: dict[str, int] = field(default_factory=dict)
    same: tuple[tuple[str, str], ...] = ()
    numbered: dict[str, int] = field(default_factory=dict)

    @property
    def given(self) -> Segments:
        """Axis keys of the units that the module gives: of its first state in all layers, or of its output."""
        return self.states[0] if self.states else self.writes


def describe_units(weights: nn.Module | Sequence[str], size: int, **more: Any) -> Description:
    """A module that treats each unit by itself, with some weights a unit.

    Arguments:
        weights: their names, or the module all of whose own they are.
        more: fields of the description.
    """
    names = [name for name, _ in weights.named_parameters(recurse=False)] if isinstance(weights, nn.Module) else weights
    parts = tuple(Part(name, Layout.parse("unit"), {"unit": ("unit",)}) for name in names)
    return Description({"unit": size}, parts, (), ("unit",), ("unit",), **more)


def describe_product(text: str, sizes: dict[str, int], bias: bool, **more: Any) -> Description:
    """A module that multiplies its input by one weight. text: its layout; more: fields of the description."""
    parts = [Part("weight", Layout.parse(text), {axis: (axis,) for axis in sizes})]
    if bias:
        parts.append(Part("bias", Layout.parse("output"), {"output": ("output",)}))
    producer = Producer("output", tuple((part.name, None) for part in parts), recurrent=False)
    levels = {"neuron": "output", "input": "input"}
    return Description(sizes, tuple(parts), (producer,), ("input",), ("output",), levels=levels, **more)


def describe_layers(
    cells: Sequence[Cell], sizes: Sequence[dict[str, int]], directions: int, names: Sequence[dict[str, str]]
) -> Description:
    """A stack of recurrent layers, one or two directions each; every sequence has an entry for each of them.

    Arguments:
        cells: what their steps compute, layer by layer, the reverse direction second.
        sizes: units along each axis.
        names: local weight name -> parameter name.
    """
    axes = cells[0].state_axes
    keys = [{axis: f"{axis}_{place}" for axis in cell.own_axes} for place, cell in enumerate(cells)]
    lengths, parts, producers, layers = {"input": sizes[0]["input"]}, [], [], []
    lines, same = [], []
    suffixes = [""] if len(cells) == 1 else layer_suffixes(len(cells), directions)
    for place, (cell, local_names, suffix) in enumerate(zip(cells, names, suffixes, strict=True)):
        first = place - place % directions
        feeding = tuple(below[axes[0]] for below in keys[max(first - directions, 0) : first]) or ("input",)
        lengths |= {key: sizes[place][axis] for axis, key in keys[place].items()}
        layouts = {local: layout_of(cell, local) for local in cell.axes if local in local_names}
        scope = {axis: (key,) for axis, key in keys[place].items()}
        scope |= {"memory": (keys[place][axes[-1]],), "input": feeding}
        parts += [_part(local_names[local], layout, scope) for local, layout in layouts.items()]
        producers += _producers(cell, layouts, local_names, keys[place])
        layers.append(Layer(cell, dict(local_names), sizes[place], "", suffix))
        if (line := cell.lines) is not None:
            lines.append(replace(line, units=keys[place][line.units], owners=keys[place][line.owners]))
        if cell.passes_input:
            same.append((feeding[0], keys[place][axes[0]]))
    writes = tuple(top[axes[0]] for top in keys[-directions:])
    states = tuple(tuple(layer[axis] for layer in keys) for axis in axes)
    stack = Description(lengths, tuple(parts), tuple(producers), ("input",), writes, states, tuple(layers))
    return replace(stack, lines=tuple(lines), same=tuple(same))


def _part(name: str, layout: Layout, scope: dict[str, Segments]) -> Part:
    return Part(name, layout, {axis: scope[axis] for axis in layout.stored if axis != "gate"})


def _producers(cell: Cell, layouts: dict[str, Layout], names: dict[str, str], keys: dict[str, str]) -> list[Producer]:
    """What holds the units of each axis at zero; those of owners in line follow from their line."""
    line, producers = cell.lines, []
    for axis, key in keys.items():
        if line is not None and axis == line.owners:
            continue
        gated = [local for local, layout in layouts.items() if layout.destination == ("gate", axis)]
        plain = [local for local, layout in layouts.items() if layout.destination == (axis,)]
        pieces = [(names[local], cell.silent) for local in gated if cell.silent in layouts[local].gates]
        pieces += [(names[local], None) for local in plain]
        producers.append(Producer(key, () if cell.never_silent else tuple(pieces), recurrent=True))
    return producers
