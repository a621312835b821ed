"""Factors of groups, one for each sequence: put around the products and the outputs of recurrent layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.kernels.product import carries_output
from sparsernn.kernels.registry import Factors, Problem, State
from sparsernn.running.modules import RecurrentStep
from sparsernn.running.runner import Place, Runner
from sparsernn.running.sequences import Sequences
from sparsernn.structure.groups import Groups
from sparsernn.structure.layer import Layer
from sparsernn.structure.wiring import Weight, Wiring


@dataclass(frozen=True)
class SequenceFactors:
    """Factors of some groups, drawn for each sequence of a forward and held over time.

    Attributes:
        groups: of incoming rows ("gate"), or of everything that reads a unit ("read").
        sample: so many sequences -> their factors, differentiable. [batch groups.count]
    """

    groups: Groups
    sample: Callable[[int], Tensor]


@dataclass
class _Scales:
    """Where the factors of one kind of groups go in one layer: numbers of groups, -1 = none."""

    rows: dict[str, Tensor] = field(default_factory=dict)
    columns: dict[str, Tensor] = field(default_factory=dict)
    outgoing: Tensor | None = None


class Plan:
    """Which factors go where in a model.

    The output of a recurrent layer is multiplied by the factors of its units when it leaves the layer, and not again
    where it is read. Units that something without weights reads, or that reads them all together, that a residual sum
    puts out together with others, that no recurrent layer puts out, or whose state a cell carries on by itself and the
    model reads, are multiplied by each reader instead.

    Attributes:
        layers: (path of a module, its first parameter of a layer) -> where factors go in that layer.
        inputs: path of any other module that reads units -> numbers of groups along its input, for each kind of groups.
        places: path of such a module -> the dimension of its input along which units stand.
    Raises: UserError where units are to be multiplied by a reader whose input is out of reach.
    """

    def __init__(self, model: nn.Module, wiring: Wiring, groups: Sequence[Groups]):
        self.groups = list(groups)
        self.paths: dict[int, str] = {}
        self.layers: dict[tuple[str, str], list[_Scales]] = {}
        at_source = _at_source(model, wiring)
        for path, description in wiring.descriptions.items():
            if description.layers:
                self.paths[id(model.get_submodule(path))] = path
            layers = [layer for layer in wiring.layers if layer.module == path]
            for local, layer in zip(description.layers, layers, strict=True):
                scales = [_scales(wiring, layer, groups, at_source) for groups in self.groups]
                self.layers[path, next(iter(local.weights.values()))] = scales
        self.inputs: dict[str, list[Tensor]] = {}
        self.places: dict[str, int] = {}
        for use in wiring.uses:
            if use.module not in self.paths.values() and use.layout.source:
                units = use.axes[use.layout.source[0]]
                numbers = [_numbers(groups, units).masked_fill(at_source[units], -1) for groups in self.groups]
                if any(bool((index >= 0).any()) for index in numbers):
                    self.inputs[use.module] = numbers
                    self.places[use.module] = _place(wiring, use)


def _place(wiring: Wiring, use: Weight) -> int:
    if use.layout.source[0] != "input" or use.name == use.module:
        raise UserError(
            f"{use.module} reads units with variables that something else reads without weights",
            "a linear layer or a convolution as their reader",
            'pass sampled="minibatch", or leave the level "neuron" out',
        )
    return wiring.descriptions[use.module].place


def _at_source(model: nn.Module, wiring: Wiring) -> Tensor:
    """Which units are multiplied where a recurrent layer puts them out. [unit]"""
    put_out, made = torch.zeros(2, len(wiring.units.parent), dtype=torch.long)
    for layer in wiring.layers:
        if (units := _output_units(wiring, layer)) is not None:
            put_out[units] += 1
    for written in wiring.written:
        made[written.units] += 1
    made[torch.tensor(sorted(set(wiring.external) | set(wiring.summed)), dtype=torch.long)] = 2
    for layer in filter(lambda layer: carries_output(layer.cell), wiring.layers):
        read = wiring.states_read.get((layer.module, 0), ())
        step = isinstance(model.get_submodule(layer.module), nn.RNNCellBase | RecurrentStep)
        units = _output_units(wiring, layer) if step else torch.tensor(sorted(read), dtype=torch.long)
        if units is not None:
            made[units] = 2
    return (put_out == 1) & (made <= 1)


def _output_units(wiring: Wiring, layer: Layer) -> Tensor | None:
    """Numbers of the units that a layer puts out."""
    axes = [wiring.weights[name].axes for name in layer.weights.values()]
    return next((units[layer.cell.state_axes[0]] for units in axes if layer.cell.state_axes[0] in units), None)


def _numbers(groups: Groups, units: Tensor) -> Tensor:
    """The group of each unit, -1 = none."""
    return torch.full_like(units, -1) if groups.units is None else groups.units[units]


def _scales(wiring: Wiring, layer: Layer, groups: Groups, at_source: Tensor) -> _Scales:
    scales, output = _Scales(), _output_units(wiring, layer)
    if groups.units is None or not bool((groups.units >= 0).any()):
        pieces = {piece.name: piece.index for piece in groups.pieces if piece.index is not None}
        rows = {local: pieces[name].reshape(-1) for local, name in layer.weights.items() if name in pieces}
        for local, index in rows.items():
            scales.rows[local] = next(same for same in rows.values() if torch.equal(same, index))
        return scales
    if output is not None:
        numbers = _numbers(groups, output).masked_fill(~at_source[output], -1)
        scales.outgoing = numbers if bool((numbers >= 0).any()) else None
    for local, name in layer.weights.items():
        for axis in wiring.weights[name].layout.source:
            units = wiring.weights[name].axes[axis]
            numbers = _numbers(groups, units)
            if axis in ("input", layer.cell.state_axes[0]):
                numbers = numbers.masked_fill(at_source[units], -1)
            if bool((numbers >= 0).any()):
                scales.columns[local] = numbers
    return scales


class Scaling:
    """A runner that puts the factors of one forward in their places, and lets another one compute.

    Arguments:
        plan: which go where; factors: in the order of its groups; inner: the runner that computes.
    """

    def __init__(self, plan: Plan, factors: Sequence[SequenceFactors], inner: Runner):
        self.plan, self.factors, self.inner = plan, factors, inner
        self.batch: int | None = None
        self._values: dict[int, list[Tensor]] = {}

    def values(self, batch: int) -> list[Tensor]:
        """The factors of a forward's sequences, drawn when they are first asked for, and a last one of 1."""
        if batch not in self._values:
            samples = [factors.sample(batch) for factors in self.factors]
            self._values[batch] = [torch.cat([sample, sample.new_ones(batch, 1)], 1) for sample in samples]
        return self._values[batch]

    def scale(self, path: str, vectors: Tensor, sequences: Sequences) -> Tensor:
        """The input of a module that is not recurrent, multiplied where it reads units."""
        place = self.plan.places[path]
        vectors = vectors.movedim(place, -1)
        if place != -1:  # a convolution has sequences first, whatever recurrent layers have
            sequences = replace(sequences, batch_first=True)
        leading = vectors.shape[:-1]
        for index, values in zip(self.plan.inputs[path], self.values(sequences.count(leading)), strict=True):
            if bool((index >= 0).any()):
                vectors = vectors * sequences.spread(values[:, index], leading)
        return vectors.movedim(-1, place)

    def __call__(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        self.batch = problem.x.shape[1]
        path = self.plan.paths.get(id(place.module), "")
        scales = self.plan.layers.get((path, next(iter(place.names.values()))))
        if scales is None:
            return self.inner(place, problem)
        columns: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        outgoing = problem.outgoing
        for scale, values in zip(scales, self.values(self.batch), strict=True):
            _gather_(columns, scale.columns, values)
            _gather_(rows, scale.rows, values)
            if scale.outgoing is not None:
                outgoing = _times(outgoing, values[:, scale.outgoing])
        factors = _merged(problem.factors, columns, rows)
        return self.inner(place, replace(problem, factors=factors, outgoing=outgoing))


def _gather_(gathered: dict[str, Tensor], numbers: Mapping[str, Tensor], values: Tensor) -> None:
    """Multiply factors into those gathered so far; the same numbers give the same tensor."""
    taken = {id(index): values[:, index] for index in numbers.values()}
    for local, index in numbers.items():
        gathered[local] = _times(gathered.get(local), taken[id(index)])


def _times(first: Tensor | None, second: Tensor) -> Tensor:
    return second if first is None else first * second


def _merged(
    factors: Mapping[str, Factors], columns: Mapping[str, Tensor], rows: Mapping[str, Tensor]
) -> dict[str, Factors]:
    merged: dict[str, Factors] = {}
    for local in {**factors, **columns, **rows}:
        column, row = factors.get(local, (None, None))
        column = _times(column, columns[local]) if local in columns else column
        merged[local] = column, _times(row, rows[local]) if local in rows else row
    return merged
