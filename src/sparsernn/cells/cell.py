"""What every recurrent layer of this package shares: layers, directions, lengths, states, names."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsernn.errors import UserError
from sparsernn.kernels.registry import Problem, choose
from sparsernn.running import passes as stepwise
from sparsernn.running.stacked import align_states, reverse
from sparsernn.structure import presence
from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, describe_layers
from sparsernn.structure.layer import Recurrence, State, Weights, project
from sparsernn.structure.torch_modules import LEVELS, PLAIN_AXES, weight_names


class Cell(nn.Module, abc.ABC):
    """A stack of recurrent layers: call, results and parameter names as `torch.nn.LSTM`.

    `recurrent_dropout` is the rate at which hidden units are left out of the recurrent product, with one mask a
    forward shared by all steps and sequences, unless the cell says otherwise. A cell declares its gates, states,
    axes and one pure step; everything else is here.

    Attributes:
        gates, states, axes, levels, silent, own_gates, modulated: see `structure.layer.Recurrence`.
    """

    gates: ClassVar[tuple[str, ...]]
    states: ClassVar[tuple[str, ...]] = ("hidden",)
    levels: ClassVar[dict[str, str]] = LEVELS
    silent: ClassVar[str] = "candidate"
    known_as: ClassVar[tuple[str, ...]] = ()
    axes: dict[str, str] = PLAIN_AXES
    own_gates: dict[str, tuple[str, ...]] = {}
    modulated: tuple[tuple[str, str, str], ...] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        recurrent_dropout: float = 0.0,
    ):
        super().__init__()
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} is {value!r}", "a whole number of at least 1", f"pass {name} as an integer")
        for name, value in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= value < 1:
                raise UserError(f"{name} is {value!r}", "a number in [0, 1)", "pass the fraction of numbers to drop")
        if recurrent_dropout and not any(text.endswith("<- hidden") for text in self.axes.values()):
            raise UserError(
                f"recurrent_dropout for {type(self).__name__}, which has no recurrent matrix",
                "a cell whose gates see the state",
                "leave recurrent_dropout out",
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        self.recurrent_dropout = float(recurrent_dropout)
        self.widths = [hidden_size] * (num_layers * self.directions)
        self.state_widths: list[int | None] | None = None
        self._allocate()
        self.reset_parameters()

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @abc.abstractmethod
    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        """One step, pure: the states after it. Shapes: projected [batch gates*hidden], each state [batch hidden]."""

    @property
    def fused(self) -> str:
        """torch's name of the same layer, or "" where torch has none."""
        return ""

    def project(self, weights: Weights, x: Tensor) -> Tensor:
        """The part of the gates that the state does not enter. Shapes: [... input] -> [... gates*hidden]."""
        return project(weights, x)

    def reset_parameters(self) -> None:
        """U(-1/sqrt(hidden), 1/sqrt(hidden)), as torch."""
        for position, names in enumerate(self.names):
            bound = 1 / math.sqrt(self.widths[position])
            for name in names.values():
                nn.init.uniform_(self.get_parameter(name), -bound, bound)
        self.set_biases()

    def figures(self) -> dict[str, int]:
        """Numbers that only this kind of cell has, by name; those of several cells in a model are added up."""
        return {}

    def set_biases(self) -> None:
        """Give some biases the values that the options ask for, whatever the others begin with: none here."""
        return None

    def sizes(self, position: int) -> dict[str, int]:
        """Units along each axis, and of each state, of one layer and direction."""
        first = position - position % self.directions - self.directions
        below = self.input_size if first < 0 else sum(self.widths[first : first + self.directions])
        return {"hidden": self.widths[position], "memory": self.widths[position], "input": below}

    @property
    def kind(self) -> Recurrence:
        """This cell's declaration, of one layer in one direction."""
        return Recurrence(
            self.gates,
            self.states,
            self.axes,
            self.levels,
            self.silent,
            self.advance,
            self.own_gates,
            self.modulated,
            project=self.project,
            advance_all=self.advance_all if self.fused else None,
        )

    @property
    def names(self) -> list[dict[str, str]]:
        """For each layer and direction, local weight name -> parameter name."""
        locals_ = [local for local in self.axes if self.bias or "bias" not in local]
        return weight_names(self.num_layers, self.directions, locals_)

    def describe(self) -> Description:
        """All layers and directions in names, for `structure`."""
        return describe_layers(
            self.kind, input_size=self.input_size, widths=self.widths, directions=self.directions, names=self.names
        )

    def resized(self, cut: Any, tensors: dict[str, nn.Parameter]) -> Cell:
        """The same cell with smaller parameters; layers may differ in width."""
        for name, parameter in tensors.items():
            setattr(self, name, parameter)
        self.input_size = len(cut.kept["input"])
        self.widths = [len(cut.kept[f"hidden_{position}"]) for position in range(len(self.widths))]
        self.hidden_size, self.state_widths = max(self.widths), cut.state_widths
        return self

    def forward(self, x: Tensor | PackedSequence, state: Any = None, lengths: Tensor | None = None) -> tuple[Any, Any]:
        """Run over whole sequences.

        Arguments:
            x: [time batch input]; [batch time input] if batch_first; [time input]; or packed.
            state: initial states as torch takes them, h_0 or (h_0, c_0), [layers*directions batch hidden];
                default zero.
            lengths: of each sequence; final states are those at its own end, outputs after it are zero. [batch]
        Returns: (output [time batch directions*hidden], final states); where compaction left layers of unequal widths,
            states are zero-padded to the widest, or as wide as those that the model reads.
        Raises: UserError for an input, states or lengths of another shape.
        """
        packed = x if isinstance(x, PackedSequence) else None
        if packed is not None:
            x, lengths = pad_packed_sequence(packed)
        unbatched = x.dim() == 2
        turned = self.batch_first and packed is None and not unbatched
        x = x.unsqueeze(1) if unbatched else x.transpose(0, 1) if turned else x
        if x.shape[-1] != self.input_size:
            raise UserError(
                f"the input has {x.shape[-1]} features", f"{self.input_size}", "check the last dimension of the input"
            )
        given = [state] if isinstance(state, Tensor) else list(state) if state is not None else []
        output, finals = self._run(
            x, [part.unsqueeze(1) for part in given] if unbatched else given, self._checked(lengths, x)
        )
        finals = tuple(part.squeeze(1) for part in finals) if unbatched else finals
        if packed is not None:
            output = pack_padded_sequence(output, lengths.cpu(), enforce_sorted=packed.sorted_indices is None)
        else:
            output = output.squeeze(1) if unbatched else output.transpose(0, 1) if turned else output
        return output, finals if len(finals) > 1 else finals[0]

    def _run(self, x: Tensor, given: list[Tensor], lengths: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        ends: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            outputs = []
            for direction in range(self.directions):
                position = layer * self.directions + direction
                start = self._start(x, given, position)
                output, end = self._layer(reverse(x, lengths) if direction else x, start, lengths, position)
                outputs.append(reverse(output, lengths) if direction else output)
                ends.append(end)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        return x, tuple(torch.stack(parts) for parts in align_states(ends, self.state_widths))

    def _layer(self, x: Tensor, state: State, lengths: Tensor | None, position: int) -> tuple[Tensor, State]:
        weights = {local: getattr(self, name) for local, name in self.names[position].items()}
        weights = self._thinned(weights, x.shape[1]) if self.training and self.recurrent_dropout else weights
        stepwise.note(self, next(iter(self.names[position].values())), x, state, lengths)
        recurrent = [weights[local] for local, text in self.axes.items() if "<- hidden" in text and local in weights]
        density = max(map(presence.density, recurrent), default=1.0)
        kernel = choose(self._problem(x, lengths is not None, stepwise.is_active(), density))
        if kernel.provider == "reference":
            return kernel.run(self.project(weights, x), state, lengths, weights, self.advance, x)
        kept = {local: mask for local, weight in weights.items() if (mask := presence.kept(weight)) is not None}
        return kernel.run(None, state, lengths, weights, self.advance, x, fused=self.fused, kept=kept)

    def _problem(self, x: Tensor, has_lengths: bool = False, twice: bool = False, density: float = 1.0) -> Problem:
        dtype = str(x.dtype).removeprefix("torch.")
        return Problem("sequence", self.fused, has_lengths, x.device.type, twice, dtype, density)

    def advance_all(self, weights: Weights, x: Tensor, state: State) -> State | None:
        """The state after all steps of a layer, by the kernel that a plain forward takes. x: [time batch input]"""
        kernel = choose(self._problem(x))
        if kernel.provider == "reference":
            return None
        return kernel.run(None, state, None, weights, self.advance, x, fused=self.fused)[1]

    def _thinned(self, weights: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
        """Recurrent dropout: the columns of some hidden units are left out of all recurrent products of a forward."""
        columns = {local: self.axes[local].endswith("<- hidden") for local in weights}
        first = next(weight for local, weight in weights.items() if columns[local])
        mask = torch.empty_like(first[0]).bernoulli_(1 - self.recurrent_dropout) / (1 - self.recurrent_dropout)
        return {local: weight * mask if columns[local] else weight for local, weight in weights.items()}

    def _start(self, x: Tensor, given: list[Tensor], position: int) -> State:
        widths, batch = [self.sizes(position)[state] for state in self.states], x.shape[1]
        if not given:
            return tuple(x.new_zeros(batch, width) for width in widths)
        widest = [max(self.sizes(place)[state] for place in range(len(self.widths))) for state in self.states]
        wanted = [(len(self.widths), batch, width) for width in widest]
        if [tuple(part.shape) for part in given] != wanted:
            raise UserError(
                f"initial states have shapes {[tuple(part.shape) for part in given]}",
                f"{len(wanted)} of shapes {wanted}",
                "pass states as the forward returns them",
            )
        return tuple(part[position, :, :width].contiguous() for part, width in zip(given, widths, strict=True))

    @staticmethod
    def _checked(lengths: Tensor | None, x: Tensor) -> Tensor | None:
        if lengths is None:
            return None
        lengths = torch.as_tensor(lengths)
        if (
            lengths.shape != x.shape[1:2]
            or lengths.numel()
            and (int(lengths.min()) < 1 or int(lengths.max()) > x.shape[0])
        ):
            raise UserError(
                f"lengths are {lengths.tolist()[:5]}...",
                f"{x.shape[1]} numbers between 1 and {x.shape[0]}",
                "pass each sequence's number of steps",
            )
        return lengths.to(x.device)

    def _allocate(self) -> None:
        for position, names in enumerate(self.names):
            sizes = self.sizes(position)
            for local, name in names.items():
                layout = Layout.parse(self.axes[local], self.kind.gates_of(local))
                shape = [sizes[axis] for axis in layout.stored if axis != "gate"]
                if "gate" in layout.stored:
                    shape[0] *= len(layout.gates)
                self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def extra_repr(self) -> str:
        options = f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"
        return options + (", bidirectional=True" if self.bidirectional else "")
