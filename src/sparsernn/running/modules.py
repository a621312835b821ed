"""Torch modules that are built from cells: stacks of layers, and single steps."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sparsernn.cells.cell import Cell
from sparsernn.cells.lstm import LSTM
from sparsernn.errors import UserError
from sparsernn.kernels.registry import Problem
from sparsernn.running.loop import Input, Part, Stack, alone_or_all, run_layers
from sparsernn.running.runner import Place, run_by_choice
from sparsernn.structure.description import Description, describe_layers
from sparsernn.structure.layer import layout_of, parameter_names
from sparsernn.typed import is_of


@dataclass(frozen=True)
class Shape:
    """Sizes and options of a stack that no cell sees; those of `torch.nn.LSTM`, in its order.

    Arguments:
        input_size, hidden_size: features of the input, and units of every layer.
        num_layers: layers, each of which reads the one below it.
        bias: whether there are biases.
        batch_first: whether input and output are [batch time ..].
        dropout: rate between layers.
        bidirectional: whether each layer also reads backwards.
        proj_size: width of the output of an LSTM whose outputs are projected; 0: they are not.
        recurrent_dropout: rate at which hidden units are left out of the products with the state, with one mask a
            forward shared by all steps and sequences, unless the cell says otherwise.
    Raises: UserError for a size or an option that is out of range.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers"):
            size = getattr(self, name)
            if not is_of(size, int) or size < 1:
                raise UserError(f"{name} is {size!r}", "a whole number of at least 1", f"pass {name} as an integer")
        for name in ("dropout", "recurrent_dropout"):
            rate = getattr(self, name)
            if not is_of(rate, float) or not 0 <= rate < 1:
                raise UserError(f"{name} is {rate!r}", "a number in [0, 1)", "pass the fraction of numbers to drop")
        width = self.proj_size
        if not is_of(width, int) or not 0 <= width < self.hidden_size:
            raise UserError(
                f"proj_size is {width!r}",
                f"0, or a whole number below hidden_size ({self.hidden_size})",
                "pass another",
            )

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1


class Built(nn.Module, abc.ABC):
    """A module whose parameters are those that its cells declare.

    Attributes:
        cells, sizes, names: of every layer and direction: what a step computes; units along each axis; local weight
            name -> parameter name.
    """

    takes: ClassVar[type[Cell]]
    cells: list[Cell]
    sizes: list[dict[str, int]]
    names: list[dict[str, str]]

    @property
    def cell(self) -> Cell:
        """That of the first layer."""
        return self.cells[0]

    def allocate(self, device: Any, dtype: Any) -> None:
        """Make the parameters and give them their first values."""
        for cell, sizes, names in zip(self.cells, self.sizes, self.names, strict=True):
            for local, name in names.items():
                empty = torch.empty(cell.shape(local, sizes), device=device, dtype=dtype)
                self.register_parameter(name, nn.Parameter(empty))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """First weights: U(-1/sqrt(hidden), 1/sqrt(hidden)), as torch, unless the cell says otherwise."""
        for cell, sizes, names in zip(self.cells, self.sizes, self.names, strict=True):
            for local, name in names.items():
                parameter, bounds = self.get_parameter(name), cell.first_bounds(local, sizes)
                if bounds is None:
                    parameter.zero_()
                elif isinstance(bounds, float):
                    parameter.uniform_(-bounds, bounds)
                else:
                    rows = torch.tensor(bounds, device="cpu").to(parameter)
                    parameter.uniform_(-1, 1).mul_(rows.unsqueeze(1))
        self.set_biases()

    @torch.no_grad()
    def set_biases(self) -> None:
        """Give some biases the values that the cell's options ask for, whatever the others begin with."""
        for cell, names in zip(self.cells, self.names, strict=True):
            for local, values in cell.first_biases().items():
                if local in names:
                    gates = layout_of(cell, local).view(self.get_parameter(names[local]))
                    for gate, value in values.items():
                        gates[cell.gates_of(local).index(gate)] = value

    def parts(self) -> list[Part]:
        """Every layer and direction with its present weights, ready to run."""
        return [
            Part(cell, {local: getattr(self, name) for local, name in names.items()}, sizes, names)
            for cell, sizes, names in zip(self.cells, self.sizes, self.names, strict=True)
        ]

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script asks for. Raises: UserError, as it compiles none of these modules."""
        raise UserError(
            f"torch.jit.script cannot compile {type(self).__name__} of sparsernn.nn",
            "recurrent layers of torch alone",
            "use torch.jit.trace or torch.export, or compact with uniform=True, which keeps torch's class",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (type(self).__name__, self.takes), self.__dict__


def _blank(name: str, takes: type[Cell]) -> Built:
    """A module without anything, which a copy is filled into."""
    modules = importlib.import_module("sparsernn.nn")
    kind = modules.module_of(takes) if name == takes.__name__ else modules.step_module_of(takes)
    return kind.__new__(kind)


class Recurrent(Built):
    """A stack of recurrent layers: call, results, options and parameter names as `torch.nn.LSTM`.

    Layers of a compacted stack may differ in width. Classes of this kind are made in `sparsernn.nn`, one a cell.

    Arguments:
        cell: what a step computes.
        shape: sizes and the options that no cell sees.
        device, dtype: of the parameters.
    Attributes:
        widths: hidden units of each layer and direction.
        state_widths: for each final state its width, or None for that of the widest layer.
    """

    def __init__(self, cell: Cell, shape: Shape, device: Any = None, dtype: Any = None):
        super().__init__()
        if shape.proj_size:
            if not isinstance(cell, LSTM):
                raise UserError(f"proj_size for {type(cell).__name__}", "an LSTM", "leave proj_size out")
            cell = replace(cell, projected=True)
        if shape.recurrent_dropout and not cell.reads_state:
            raise UserError(
                f"recurrent_dropout for {type(cell).__name__}, which has no recurrent matrix",
                "a cell whose gates see the state",
                "leave recurrent_dropout out",
            )
        self.shape = shape
        self.state_widths: list[int | None] | None = None
        positions = shape.num_layers * shape.directions
        widths, projections = [shape.hidden_size] * positions, [shape.proj_size] * positions
        self.set_layers([cell] * positions, widths, projections)
        cells = [one.sized(sizes) for one, sizes in zip(self.cells, self.sizes, strict=True)]
        self.set_layers(cells, widths, projections)
        self.allocate(device, dtype)

    def set_layers(self, cells: list[Cell], widths: list[int], projections: list[int]) -> None:
        """Which cells and widths the layers have; parameters are another matter."""
        self.cells, self.widths, self.projections = cells, widths, projections
        self.sizes, inputs = [], self.shape.input_size
        for first in range(0, len(cells), self.directions):
            layer = range(first, first + self.directions)
            sizes = [cells[at].sizes(inputs, widths[at]) | {"projection": projections[at]} for at in layer]
            inputs = sum(one[cells[first].state_axes[0]] for one in sizes)
            self.sizes += sizes
        self.names = parameter_names(cells, self.directions, self.shape.bias)

    @property
    def directions(self) -> int:
        return self.shape.directions

    @property
    def input_size(self) -> int:
        return self.shape.input_size

    @property
    def hidden_size(self) -> int:
        """Of the widest layer."""
        return max(self.widths)

    @property
    def proj_size(self) -> int:
        """Of the widest projection, or 0."""
        return max(self.projections)

    @property
    def num_layers(self) -> int:
        """As torch counts: both directions are one layer."""
        return self.shape.num_layers

    @property
    def bias(self) -> bool:
        return self.shape.bias

    @property
    def batch_first(self) -> bool:
        return self.shape.batch_first

    @property
    def dropout(self) -> float:
        return self.shape.dropout

    @dropout.setter
    def dropout(self, rate: float) -> None:
        self.shape = replace(self.shape, dropout=rate)

    @property
    def bidirectional(self) -> bool:
        return self.shape.bidirectional

    def flatten_parameters(self) -> None:
        """As torch's; nothing has to be laid out anew here."""

    def describe(self) -> Description:
        """All layers and directions in names, for `structure`."""
        return describe_layers(self.cells, self.sizes, self.directions, self.names)

    def resized(self, cut: Any, tensors: Mapping[str, nn.Parameter]) -> Recurrent:
        """The same module with smaller parameters; layers may differ in width. See `compaction.resizing.resize`."""
        for name, parameter in tensors.items():
            setattr(self, name, parameter)
        cells, widths, projections = [], [], []
        for position, cell in enumerate(self.cells):
            units = {axis: cut.kept[f"{axis}_{position}"].tolist() for axis in cell.own_axes}
            cells.append(cell.resized(units))
            widths.append(len(units.get("hidden", units[cell.state_axes[0]])))
            projections.append(len(units.get("projection", ())))
        inputs = len(cut.kept["input"])
        self.shape = replace(self.shape, input_size=inputs, hidden_size=max(widths), proj_size=max(projections))
        self.set_layers(cells, widths, projections)
        self.state_widths = cut.state_widths
        return self

    def forward(self, input: Input, hx: Any = None, lengths: Tensor | None = None) -> tuple[Any, Any]:
        """Run over whole sequences.

        Arguments:
            input: [time batch input]; [batch time input] if batch_first; [time input]; or packed.
            hx: initial states as torch takes them, h_0 or (h_0, c_0), [layers*directions batch unit]; default zero.
            lengths: of each sequence; final states are those at its own end, outputs after it are zero. [batch]
        Returns: (output [time batch directions*hidden], final states); where compaction left layers of unequal widths,
            states are zero-padded to the widest, or as wide as those that the model reads.
        Raises: UserError for an input, states or lengths of another shape.
        """
        rates = (self.dropout, self.shape.recurrent_dropout, float(getattr(self.cell, "input_dropout", 0.0)))
        rates = rates if self.training else (0.0, 0.0, 0.0)
        stack = Stack(self, self.parts(), self.directions, self.batch_first, *rates, self.state_widths)
        return run_layers(stack, input, hx, lengths)

    def extra_repr(self) -> str:
        options = [f"{self.input_size}, {self.hidden_size}", f"num_layers={self.num_layers}"]
        options += ["bidirectional=True"] if self.bidirectional else []
        return ", ".join(options + _changed_options(self.cell))


class RecurrentStep(Built):
    """One step of a recurrent layer: call, results and parameter names as `torch.nn.LSTMCell`.

    Arguments:
        cell: what a step computes.
        input_size, hidden_size: features of the input, and units.
        bias: whether there are biases.
        device, dtype: of the parameters.
    Raises: UserError for a size that is out of range.
    """

    def __init__(
        self, cell: Cell, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ):
        super().__init__()
        Shape(input_size, hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        cell = cell.sized(cell.sizes(input_size, hidden_size))
        self.cells, self.sizes = [cell], [cell.sizes(input_size, hidden_size)]
        self.names = [{local: local for local in cell.axes if bias or "bias" not in local}]
        self.allocate(device, dtype)

    def describe(self) -> Description:
        """The layer in names, for `structure`."""
        return describe_layers(self.cells, self.sizes, 1, self.names)

    def resized(self, cut: Any, tensors: Mapping[str, nn.Parameter]) -> RecurrentStep:
        """The same module with smaller parameters."""
        for name, parameter in tensors.items():
            setattr(self, name, parameter)
        units = {axis: cut.kept[f"{axis}_0"].tolist() for axis in self.cell.own_axes}
        self.cells = [self.cell.resized(units)]
        self.input_size, self.hidden_size = len(cut.kept["input"]), len(units[self.cell.state_axes[0]])
        self.sizes = [self.cell.sizes(self.input_size, self.hidden_size)]
        return self

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """One step.

        Arguments:
            input: [batch input] or [input].
            hx: the states before it, h or (h, c), [batch unit] or [unit]; default zero.
        Returns: the states after it, in the same form.
        """
        return run_step(self, self.parts()[0], input, hx)

    def extra_repr(self) -> str:
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *_changed_options(self.cell)])


def run_step(module: nn.Module, part: Part, input: Tensor, hx: Any = None) -> Any:
    """The states after one step, in the form in which torch's single-step modules give them."""
    unbatched = input.dim() == 1
    x = input.unsqueeze(0) if unbatched else input
    starts = (hx,) if isinstance(hx, Tensor) else hx
    if starts is None:
        values = zip(part.cell.state_axes, part.cell.starting_values(part.sizes), strict=True)
        starts = tuple(x.new_full((len(x), part.sizes[axis]), value) for axis, value in values)
    elif unbatched:
        starts = tuple(start.unsqueeze(0) for start in starts)
    expected = [(len(x), part.sizes[axis]) for axis in part.cell.state_axes]
    if x.dim() != 2 or x.shape[1] != part.sizes["input"] or [tuple(start.shape) for start in starts] != expected:
        raise UserError(
            f"the input has the shape {list(input.shape)}, the states {[list(start.shape) for start in starts]}",
            f"[batch {part.sizes['input']}] and {[list(shape) for shape in expected]}",
            "pass states as the step before returned them",
        )
    problem = Problem(part.cell, part.weights, x.unsqueeze(0), tuple(starts))
    _, ends = run_by_choice(Place(module, part.names), problem)
    return alone_or_all([end.squeeze(0) for end in ends] if unbatched else ends)


def _changed_options(cell: Cell) -> list[str]:
    """Options of a cell that are not as they would be by themselves."""
    options = [(field.name, getattr(cell, field.name), field.default) for field in fields(cell) if field.compare]
    return [f"{name}={value!r}" for name, value, default in options if value != default and name != "projected"]
