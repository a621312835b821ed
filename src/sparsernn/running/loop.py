"""The one loop over layers and directions, and all forms in which input, lengths and states may come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsernn.cells.cell import Cell, Sizes
from sparsernn.errors import UserError
from sparsernn.kernels.registry import Factors, Problem, State
from sparsernn.running.runner import Place, Runner, run_by_choice

Input = Tensor | PackedSequence


@dataclass(frozen=True)
class Part:
    """One layer in one direction, ready to run.

    Attributes:
        cell, weights, factors: see `kernels.registry.Problem`.
        sizes: units along each axis.
        names: local weight name -> parameter name in the module.
    """

    cell: Cell
    weights: Mapping[str, Tensor]
    sizes: Sizes
    names: Mapping[str, str]


@dataclass(frozen=True)
class Stack:
    """Layers in order, the reverse direction of each second, and how they are joined.

    Attributes:
        module: whose layers they are.
        directions: 1 or 2.
        batch_first: whether input and output are [batch time ..].
        dropout: between layers; 0 unless the module is in training.
        recurrent_dropout: of hidden units in the products with the state; 0 unless the module is in training.
        input_dropout: of input features of every layer, one mask a sequence.
        state_widths: for each state its width, or None for that of the widest layer.
    """

    module: nn.Module
    parts: Sequence[Part]
    directions: int = 1
    batch_first: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    input_dropout: float = 0.0
    state_widths: Sequence[int | None] | None = None


def run_layers(
    stack: Stack, x: Input, state: Any = None, lengths: Any = None, runner: Runner = run_by_choice
) -> tuple[Any, Any]:
    """(output, final states) of a stack, in the form in which torch's modules give them.

    Arguments:
        x: [time batch input]; [batch time input] if batch_first; [time input]; or packed.
        state: initial states as torch takes them, h_0 or (h_0, c_0), [layers*directions batch unit]; default zero.
        lengths: of each sequence; final states are those at its own end, outputs after it are zero. [batch]
    Raises: UserError for an input, states or lengths of another shape.
    """
    packed = x if isinstance(x, PackedSequence) else None
    plain, lengths = (x, lengths) if not isinstance(x, PackedSequence) else pad_packed_sequence(x)
    unbatched = plain.dim() == 2
    turned = stack.batch_first and packed is None and not unbatched
    plain = plain.unsqueeze(1) if unbatched else plain.transpose(0, 1) if turned else plain
    if plain.dim() != 3 or plain.shape[-1] != stack.parts[0].sizes["input"]:
        raise UserError(
            f"the input has the shape {list(x.data.shape)}",
            f"{stack.parts[0].sizes['input']} features in the last of two or three dimensions",
            "check the last dimension of the input",
        )
    starts = [state] if isinstance(state, Tensor) else list(state) if state is not None else []
    starts = [part.unsqueeze(1) for part in starts] if unbatched else starts
    output, ends = _run(stack, plain, starts, _checked(lengths, plain), runner)
    ends = tuple(part.squeeze(1) for part in ends) if unbatched else ends
    if packed is not None:
        output = pack_padded_sequence(output, lengths.cpu(), enforce_sorted=packed.sorted_indices is None)
    else:
        output = output.squeeze(1) if unbatched else output.transpose(0, 1) if turned else output
    return output, alone_or_all(ends)


def alone_or_all(states: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """States as torch's modules return them: one by itself, several as a tuple."""
    return tuple(states) if len(states) > 1 else states[0]


def _run(stack: Stack, x: Tensor, starts: list[Tensor], lengths: Tensor | None, runner: Runner) -> tuple[Tensor, State]:
    ends: list[State] = []
    for first in range(0, len(stack.parts), stack.directions):
        if first and stack.dropout:
            x = F.dropout(x, stack.dropout)
        outputs = []
        for position in range(first, first + stack.directions):
            backward, part = position > first, stack.parts[position]
            seen = reverse(x, lengths) if backward else x
            start = _start(stack, x, starts, position)
            output, end = _run_part(stack, part, seen, start, lengths, runner)
            outputs.append(reverse(output, lengths) if backward else output)
            ends.append(end)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
    return x, tuple(torch.stack(parts) for parts in align_states(ends, stack.state_widths))


def _run_part(
    stack: Stack, part: Part, x: Tensor, start: State, lengths: Tensor | None, runner: Runner
) -> tuple[Tensor, State]:
    if stack.input_dropout:
        x = x * F.dropout(torch.ones_like(x[:1]), stack.input_dropout)
    weights, factors = part.weights, {}
    if stack.recurrent_dropout:
        weights, factors = _thinned(part, x.shape[1], stack.recurrent_dropout)
    problem = Problem(part.cell, weights, x, start, lengths, factors=factors)
    return runner(Place(stack.module, part.names), problem)


def _thinned(part: Part, batch: int, rate: float) -> tuple[Mapping[str, Tensor], dict[str, Factors]]:
    """Recurrent dropout: some units are left out of all products with the state, in a forward or a sequence."""
    readers = [local for local in part.weights if part.cell.axes[local].endswith(f"<- {part.cell.state_axes[0]}")]
    like = part.weights[readers[0]]
    if part.cell.dropout_per == "sequence":
        mask = like.new_empty(batch, like.shape[1]).bernoulli_(1 - rate) / (1 - rate)
        return part.weights, {local: (mask, None) for local in readers}
    mask = torch.empty_like(like[0]).bernoulli_(1 - rate) / (1 - rate)
    return {local: weight * mask if local in readers else weight for local, weight in part.weights.items()}, {}


def _start(stack: Stack, x: Tensor, starts: list[Tensor], position: int) -> State:
    part = stack.parts[position]
    axes, batch = part.cell.state_axes, x.shape[1]
    widths = [part.sizes[axis] for axis in axes]
    if not starts:
        values = part.cell.starting_values(part.sizes)
        return tuple(x.new_full((batch, width), value) for width, value in zip(widths, values, strict=True))
    widest = [max(other.sizes[axis] for other in stack.parts) for axis in axes]
    expected = [(len(stack.parts), batch, width) for width in widest]
    if [tuple(start.shape) for start in starts] != expected:
        raise UserError(
            f"initial states have shapes {[tuple(start.shape) for start in starts]}",
            f"{len(expected)} of shapes {expected}",
            "pass states as the forward returns them",
        )
    return tuple(start[position, :, :width].contiguous() for start, width in zip(starts, widths, strict=True))


def _checked(lengths: Any, x: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    lengths = torch.as_tensor(lengths)
    if torch.compiler.is_exporting():
        return lengths
    out_of_range = lengths.numel() and (int(lengths.min()) < 1 or int(lengths.max()) > x.shape[0])
    if lengths.shape != x.shape[1:2] or out_of_range:
        raise UserError(
            f"lengths are {lengths.tolist()[:5]}...",
            f"{x.shape[1]} numbers between 1 and {x.shape[0]}",
            "pass each sequence's number of steps",
        )
    return lengths.to(x.device)


def align_states(ends: list[State], widths: Sequence[int | None] | None) -> list[list[Tensor]]:
    """Final states of all layers, each state brought to one width: padded with zeros, or cut where nobody reads more.

    Shapes: for each layer, states [... unit] -> for each state, the layers' [... width].
    """
    aligned = []
    for index, parts in enumerate(zip(*ends, strict=True)):
        width = (widths[index] if widths else None) or max(part.shape[-1] for part in parts)
        aligned.append(
            [F.pad(part, (0, width - part.shape[-1])) if part.shape[-1] != width else part for part in parts]
        )
    return aligned


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn each sequence round, leaving its padding at the end. Shapes: x [time batch unit], lengths [batch]."""
    if lengths is None:
        return x.flip(0)
    time = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    ends = lengths.to(x.device).unsqueeze(0)
    place = torch.where(time < ends, ends - 1 - time, time)
    return x.gather(0, place.unsqueeze(-1).expand_as(x))
