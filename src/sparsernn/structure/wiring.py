"""The units of a whole model: which weights write them, which read them, and who else looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from sparsernn.cells.cell import Line
from sparsernn.errors import UserError
from sparsernn.structure.axes import NOUGHT, OUTSIDE, Layout, Units
from sparsernn.structure.description import Description, Part
from sparsernn.structure.layer import Layer
from sparsernn.structure.neighbour import describe, wrapped_kind

QUIET = (nn.Dropout, nn.ReLU, nn.Tanh, nn.Identity)
RETURNED = "the model returns it"


def unwrap(model: nn.Module) -> nn.Module:
    """The user's own module inside a data-parallel, averaged or compiled wrapper. Raises: UserError for no module."""
    if not isinstance(model, nn.Module):
        raise UserError(f"the model is a {type(model).__name__}", "a torch.nn.Module", "pass the model itself")
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in ("DistributedDataParallel", "DataParallel", "AveragedModel"):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@dataclass(frozen=True)
class Weight:
    """One named parameter of a model.

    Attributes:
        name: its name in the unwrapped model (the first one, where it is tied).
        layout: its dimensions.
        axes: axis name -> unit numbers along it. [size of the axis]
        module: the name of the module it belongs to.
    """

    name: str
    layout: Layout
    axes: dict[str, Tensor]
    module: str

    def units(self, axis: str) -> Tensor | None:
        """Unit numbers along a stored axis, or None along the gates."""
        return self.axes.get(axis)

    @property
    def units_by_dimension(self) -> list[Tensor | None]:
        """For each dimension of the named view, in order; a repeated name (hidden <- hidden) shares its units."""
        return [self.axes.get(axis) for axis in self.layout.stored]

    def of_living(self, alive: Tensor, places: Iterable[int]) -> Tensor:
        """Entries of the named view whose units along these dimensions live, broadcastable. alive: [units]"""
        dimensions = self.units_by_dimension
        living = torch.ones([1] * len(dimensions), dtype=torch.bool)
        for place in places:
            if (units := dimensions[place]) is not None:
                living = living & alive[units].view([-1 if other == place else 1 for other in range(len(dimensions))])
        return living


@dataclass(frozen=True)
class Written:
    """Units together with the weights that must be zero for them to stay at zero. See `Producer`."""

    units: Tensor
    pieces: tuple[tuple[str, str | None], ...]
    recurrent: bool
    module: str


@dataclass(frozen=True)
class NumberedLine:
    """Units in line, owner after owner. See `Line`.

    Attributes:
        axis: name of the owners' axis.
        units, owners: of each place in all lines, the unit and its owner's unit.
        place: position in its line, from 0.
    """

    axis: str
    units: Tensor
    owners: Tensor
    place: Tensor
    reach: int
    whole: bool

    @property
    def previous(self) -> Tensor:
        """The unit before each one; OUTSIDE before the first."""
        return torch.where(self.place == 0, OUTSIDE, self.units.roll(1))


@dataclass(frozen=True)
class Returned:
    """A tensor that the model returns, and the units in it.

    Attributes:
        count: how many tensors the result has; place: the number of this one among them.
        units: unit numbers, the dimensions along which they do not change cut to one place.
    """

    count: int
    place: int
    units: Tensor


@dataclass
class Wiring:
    """A model's weights by name, their units, and everything outside that looks at a unit.

    Attributes:
        weights: parameter name -> Weight, tied parameters once.
        uses: the same, and once more for every further use of a tied parameter, under its first name.
        layers: one per recurrent layer and direction, with the model's parameter names.
        lines: units that stand in line.
        external: unit -> why it can never be cut (a reader that is unknown).
        returned: units of states that the model hands out: cut only when they are always zero; returned_places: where
            among the tensors of the result these states are.
        summed: unit -> who reads it in a way in which zeros count for nothing: cut only when it is always zero.
        shifted: module that reads -> units on whose way to it something turns zero into another number.
        started: units of states that begin at another number than zero.
        even: rows of units that a forward splits side by side; of each row as many have to stay. [rows units]
        results: tensors that the model returns, with the units in them.
        states_read: (module, number of the state) -> units of it that the model itself reads, as in `h_n[-1]`.
        handed_out: (module, number of the state) of final states that the model returns.
        fed: names of modules that are given an initial state, and whether it held only zeros.
        open: names of modules whose initial state comes from outside the model's forward: its zeros prove nothing.
        unused: names of modules that no example ran.
        wrapped: module of a subclass with a forward of its own -> the kind whose forward that one calls.
        recorded: whether a real forward was followed.
    """

    units: Units
    weights: dict[str, Weight] = field(default_factory=dict)
    uses: list[Weight] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    lines: list[NumberedLine] = field(default_factory=list)
    descriptions: dict[str, Description] = field(default_factory=dict)
    axes: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    external: dict[int, str] = field(default_factory=dict)
    returned: set[int] = field(default_factory=set)
    returned_places: list[int] = field(default_factory=list)
    summed: dict[int, str] = field(default_factory=dict)
    shifted: dict[str, set[int]] = field(default_factory=dict)
    started: set[int] = field(default_factory=set)
    even: list[Tensor] = field(default_factory=list)
    results: list[Returned] = field(default_factory=list)
    fed: dict[str, bool] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    unused: set[str] = field(default_factory=set)
    wrapped: dict[str, type[nn.Module]] = field(default_factory=dict)
    handed_out: set[tuple[str, int]] = field(default_factory=set)
    states_read: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    recorded: bool = False

    @classmethod
    def local(cls, model: nn.Module) -> Wiring:
        """Every known module by itself, nothing joined but tied parameters. Raises: UserError for a scripted model."""
        wiring, seen, inner = cls(Units()), {}, unwrap(model)
        if isinstance(inner, torch.jit.ScriptModule):
            raise UserError("the model is scripted", "it as it was before torch.jit.script", "script the result")
        for path, module, description in _described(inner):
            wiring._add(path, module, description, seen)
        return wiring

    def _add(self, path: str, module: nn.Module, description: Description, seen: dict[int, str]) -> None:
        prefix = f"{path}." if path else ""
        numbers = {key: self.units.fresh(size) for key, size in description.sizes.items()}
        self.axes[path], self.descriptions[path] = numbers, description
        if (kind := wrapped_kind(module)) is not None:
            self.wrapped[path] = kind
        for part in description.parts:
            name, parameter = prefix + part.name, module.get_parameter(part.name)
            axes = {axis: torch.cat([numbers[key] for key in keys]) for axis, keys in part.axes.items()}
            weight = Weight(name, part.layout, axes, path)
            if (first := seen.setdefault(id(parameter), name)) != name:
                self._tie(self.weights[first], weight)
            else:
                self.weights[name] = weight
            self.uses.append(replace(weight, name=first))
        names = {part.name: self.tied.get(prefix + part.name, prefix + part.name) for part in description.parts}
        for producer in description.producers:
            pieces = tuple((names[local], gate) for local, gate in producer.pieces)
            self.written.append(Written(numbers[producer.axis], pieces, producer.recurrent, path))
        for layer in description.layers:
            weights = {local: names[name] for local, name in layer.weights.items()}
            self.layers.append(replace(layer, weights=weights, module=path))
        self.lines += [_numbered(line, numbers) for line in description.lines]
        for left, right in description.same:
            self.join(numbers[left], numbers[right])
        if "word" in numbers and "word" not in description.numbered:
            self.mark(numbers["word"], "words come in as numbers")
        for key in description.fixed:
            self.mark(numbers[key], "it is no unit")

    def add_parameter(self, name: str, layouts: Sequence[Layout], axes: dict[str, Tensor]) -> None:
        """A parameter that the forward reads by itself becomes known, as a module of one weight under its own name.

        Arguments:
            layouts: one for each way in which it is read.
            axes: axis name -> unit numbers along it.
        """
        self.axes[name] = axes
        part = Part(name, layouts[0], {axis: (axis,) for axis in axes})
        sizes = {axis: len(numbers) for axis, numbers in axes.items()}
        self.descriptions[name] = Description(sizes, (part,), (), (), ())
        weights = [Weight(name, layout, dict(axes), name) for layout in layouts]
        self.weights[name] = weights[0]
        self.uses += weights
        for weight in weights:
            for axis in weight.layout.destination if weight.layout.incoming else ():
                self.written.append(Written(axes[axis], ((name, None),), False, name))

    def _tie(self, first: Weight, second: Weight) -> None:
        self.tied[second.name] = first.name
        for ours, theirs in zip(first.units_by_dimension, second.units_by_dimension, strict=True):
            if ours is not None and theirs is not None:
                self.units.join(ours, theirs)

    def join(self, left: Tensor, right: Tensor) -> None:
        """Declare units equal, position by position; those that meet the outside become external."""
        left, right = torch.broadcast_tensors(left, right)
        units = (left != NOUGHT) & (right != NOUGHT)
        for stranded in self.units.join(left[units].abs(), right[units].abs()):
            self.external.setdefault(stranded, "it shares a dimension with something outside the model")

    def mark(self, numbers: Tensor, reason: str) -> None:
        """Declare units external: something unknown reads them."""
        for number in numbers.reshape(-1).abs().unique().tolist():
            if number not in (OUTSIDE, NOUGHT):
                self.external.setdefault(number, reason)

    def reads(self, path: str) -> Tensor:
        """Units along the units' dimension of a module's input."""
        return self.along(path, self.descriptions[path].reads)

    def writes(self, path: str) -> Tensor:
        """Units along the units' dimension of a module's output."""
        return self.along(path, self.descriptions[path].writes)

    def along(self, path: str, keys: Sequence[str]) -> Tensor:
        """Units along some axes of a module, one after the other."""
        axes = [self.axes[path][key] for key in keys]
        return torch.cat(axes) if axes else torch.empty(0, dtype=torch.long)

    def inputs(self, path: str) -> dict[str, Tensor]:
        """Argument of a module that carries units -> these; the first one is "input"."""
        description = self.descriptions[path]
        if description.separate:
            return {key: self.axes[path][key] for key in description.reads}
        return {"input": self.reads(path)} if description.reads else {}

    def keep_returned(self) -> None:
        """Mark what cannot be filled in again where the model returns it.

        That are units of other layers than recurrent ones, classes and the like, and what stands in a place of the
        result in which something else stood at another time.
        """
        states = {OUTSIDE}
        for path, description in self.descriptions.items():
            for key in {key for keys in description.states for key in keys}:
                states |= set(self.units.find(self.axes[path][key]).tolist())
        first: dict[tuple[int, int], Tensor] = {}
        for result in self.results:
            roots = _resolved_units(self.units, result.units).abs()
            before = first.setdefault((result.count, result.place), roots)
            self.mark(roots[~torch.isin(roots, torch.tensor(sorted(states)))], RETURNED)
            if not torch.equal(before, roots):
                reason = "the model returns it in the place of something else"
                self.mark(torch.cat([before.flatten(), roots.flatten()]), reason)

    def follow_containers(self, model: nn.Module) -> None:
        """Join what a plain `nn.Sequential` joins, if the model is one; every other input and output is external."""
        unknown = "no example was given, so its readers and writers are unknown"
        read, fed, previous = set(), set(), None
        for path, child in _in_a_row(model):
            if previous is not None and path in self.descriptions and self._reads_last(path):
                self.join(self.writes(previous), self.reads(path))
                read.add(previous)
                fed.add(path)
            if path in self.descriptions:
                previous = path if self.descriptions[path].place == -1 else None
            elif type(child) not in QUIET:
                previous = None
        for path, description in self.descriptions.items():
            if path not in read:
                for keys in (description.writes, *description.states):
                    self.mark(self.along(path, keys), unknown)
            if path not in fed and description.reads:
                self.mark(self.reads(path), unknown)
            if path and path not in read:
                for key in description.numbered:
                    self.mark(self.axes[path][key], unknown)
            if description.mixes or description.sums or description.moves_zero:
                self.mark(self.reads(path), description.mixes or unknown)
        for path in self.wrapped:
            for units in self.axes[path].values():
                self.mark(units, f"no example was given, and {path or 'the model'} has a forward of its own")

    def _reads_last(self, path: str) -> bool:
        """Whether units stand along the last dimension of a module's input."""
        description = self.descriptions[path]
        return bool(description.reads) and description.place == -1 and not description.separate

    def rely_on(self, carried_states: bool) -> None:
        """Take start states from outside for whatever they may be, unless they are states that the model returned."""
        if carried_states:
            self.returned = set()
        else:
            self.fed |= dict.fromkeys(self.open, False)

    def resolve(self) -> None:
        """Replace every unit number by its representative, after all joins."""
        find = self.units.find
        self.weights = {name: self._resolved(weight) for name, weight in self.weights.items()}
        self.uses = [self._resolved(use) for use in self.uses]
        self.written = [replace(written, units=find(written.units)) for written in self.written]
        self.lines = [replace(line, units=find(line.units), owners=find(line.owners)) for line in self.lines]
        for axes in self.axes.values():
            axes.update({key: find(numbers) for key, numbers in axes.items()})
        self.external = {int(find(torch.tensor(number))): reason for number, reason in self.external.items()}
        self.returned = _roots(self.units, self.returned)
        self.started = _roots(self.units, self.started)
        self.shifted = {path: _roots(self.units, units) for path, units in self.shifted.items()}
        self.summed = {int(find(torch.tensor(number))): reason for number, reason in self.summed.items()}
        self.even = [find(rows) for rows in self.even]
        self.results = [replace(result, units=_resolved_units(self.units, result.units)) for result in self.results]
        self.states_read = {state: _roots(self.units, units) for state, units in self.states_read.items()}

    def _resolved(self, weight: Weight) -> Weight:
        return replace(weight, axes={axis: self.units.find(numbers) for axis, numbers in weight.axes.items()})

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The model's parameters under this wiring's names."""
        inner = unwrap(model)
        return {name: inner.get_parameter(name) for name in self.weights}


def _in_a_row(model: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """The modules that plain containers, hooked by nobody, run one after the other; none where one is run twice."""
    if type(model) is not nn.Sequential or any(_is_hooked(module) for module in model.modules()):
        return []
    row = []
    for name, child in model._modules.items():
        here = f"{path}.{name}" if path else name
        if child is not None:
            row += _in_a_row(child, here) if type(child) is nn.Sequential else [(here, child)]
    return row if len({id(child) for _, child in row}) == len(row) else []


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _numbered(line: Line, numbers: Mapping[str, Tensor]) -> NumberedLine:
    """A line of a module whose axes are given by their keys."""
    owner = torch.tensor(line.owner)
    place = torch.arange(len(owner)) - torch.searchsorted(owner, owner)
    axis, owners = line.owners.rpartition("_")[0], numbers[line.owners][owner]
    return NumberedLine(axis, numbers[line.units], owners, place, line.reach, line.whole)


def _resolved_units(units: Units, numbers: Tensor) -> Tensor:
    """Representatives of the units in a tensor that may hold zeros of any unit; -u is unit u, which zero became."""
    numbers = torch.where(numbers == NOUGHT, OUTSIDE, numbers)
    return units.find(numbers.abs()) * numbers.sign()


def _roots(units: Units, numbers: Iterable[int]) -> set[int]:
    ordered = sorted(numbers)
    return set(units.find(torch.tensor(ordered)).tolist()) if ordered else set()


def _described(model: nn.Module) -> list[tuple[str, nn.Module, Description]]:
    """Modules that are known, outermost first, without the insides of one whose forward is known as well."""
    described: list[tuple[str, nn.Module, Description]] = []
    inside: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if path.startswith(inside) and inside:
            continue
        description = describe(module)
        if description is not None:
            described.append((path, module, description))
        if description is not None and wrapped_kind(module) is None:
            inside += (f"{path}." if path else "",)
            if not path:
                break
    return described
