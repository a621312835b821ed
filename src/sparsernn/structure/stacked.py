"""Recurrent layers of unequal widths, with the call of one torch module; and states of the old width at the door."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsernn.structure.description import Description, describe_layers
from sparsernn.structure.torch_modules import kind_of


class Stacked(nn.Module):
    """One torch module a layer and direction; call and results as `torch.nn.LSTM`, `GRU` or `RNN`.

    States are zero-padded to the widest layer, coming in and going out.

    Arguments:
        layers: single-layer, one-directional torch modules, layer by layer, the reverse direction second.
        directions: 1 or 2.
        dropout: between layers, while training.
    Shapes: input [time batch input] (or batch first, unbatched, packed); output [time batch sum of the last widths].
    """

    def __init__(self, layers: list[nn.RNNBase], directions: int, batch_first: bool, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.directions, self.batch_first, self.dropout = directions, batch_first, dropout

    @property
    def input_size(self) -> int:
        return self.layers[0].input_size

    @property
    def hidden_size(self) -> int:
        return max(layer.hidden_size for layer in self.layers)

    def flatten_parameters(self) -> None:
        for layer in self.layers:
            layer.flatten_parameters()

    def describe(self) -> Description:
        kind = kind_of(self.layers[0])
        projected = bool(self.layers[0].proj_size)
        locals_ = [local for local in kind.axes if self.layers[0].bias or "bias" not in local]
        names = [{local: f"layers.{index}.{local}_l0" for local in locals_} for index in range(len(self.layers))]
        outputs = {f"projection_{index}": layer.proj_size for index, layer in enumerate(self.layers)} if projected else None
        return describe_layers(kind, input_size=self.input_size, widths=[layer.hidden_size for layer in self.layers],
                               directions=self.directions, names=names, outputs=outputs,
                               state_axes=("projection", "hidden") if projected else ())

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        packed = input if isinstance(input, PackedSequence) else None
        if packed is not None:
            x, lengths = pad_packed_sequence(packed)
        else:
            x, lengths = input, None
        unbatched = x.dim() == 2
        x = x.unsqueeze(1) if unbatched else x.transpose(0, 1) if self.batch_first and packed is None else x
        states = [hx] if isinstance(hx, Tensor) else list(hx) if hx is not None else []
        states = [state.unsqueeze(1) for state in states] if unbatched else states
        output, finals = self._run(x, lengths, states)
        if packed is not None:
            output = pack_padded_sequence(output, lengths.cpu(), enforce_sorted=packed.sorted_indices is None)
        else:
            output = output.squeeze(1) if unbatched else output.transpose(0, 1) if self.batch_first else output
        finals = tuple(state.squeeze(1) for state in finals) if unbatched else finals
        return output, finals if len(finals) > 1 else finals[0]

    def _run(self, x: Tensor, lengths: Tensor | None, states: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        ends: list[tuple[Tensor, ...]] = []
        for first in range(0, len(self.layers), self.directions):
            if first and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            outputs = []
            for position in range(first, first + self.directions):
                layer = self.layers[position]
                sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size][:len(states) or 1]
                given = tuple(state[position:position + 1, :, :size].contiguous() for state, size in zip(states, sizes, strict=False))
                backward = position > first
                output, end = _one(layer, reverse(x, lengths) if backward else x, lengths, given)
                outputs.append(reverse(output, lengths) if backward else output)
                ends.append(end)
            x = torch.cat(outputs, -1)
        widths = [max(end[index].shape[-1] for end in ends) for index in range(len(ends[0]))]
        return x, tuple(torch.cat([F.pad(end[index], (0, width - end[index].shape[-1])) for end in ends]) for index, width in enumerate(widths))


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn each sequence round, leaving its padding at the end. Shapes: x [time batch unit], lengths [batch]."""
    if lengths is None:
        return x.flip(0)
    time = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    ends = lengths.to(x.device).unsqueeze(0)
    place = torch.where(time < ends, ends - 1 - time, time)
    return x.gather(0, place.unsqueeze(-1).expand_as(x))


def _one(layer: nn.RNNBase, x: Tensor, lengths: Tensor | None, given: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    hx = (given if len(given) > 1 else given[0]) if given else None
    if lengths is None:
        output, end = layer(x, hx)
    else:
        packed, end = layer(pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False), hx)
        output, _ = pad_packed_sequence(packed, total_length=x.shape[0])
    return output, end if isinstance(end, tuple) else (end,)


class NarrowStates:
    """A forward pre-hook: initial states of the width before compaction are cut to the units that are left.

    Arguments:
        kept: for each state, kept unit numbers of every layer and direction.
        widths: for each state, the width before.
    """

    def __init__(self, kept: list[list[list[int]]], widths: list[int]):
        self.kept, self.widths = kept, widths

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any]:
        named = {name: value if name == "input" else self._narrow(value) for name, value in keywords.items()}
        return (*arguments[:1], *map(self._narrow, arguments[1:])), named

    def _narrow(self, value: Any) -> Any:
        if isinstance(value, Tensor) and self._is_state(value, 0):
            return self._cut(value, 0)
        if type(value) in (tuple, list) and value and all(isinstance(part, Tensor) for part in value):
            return tuple(self._cut(part, index) if self._is_state(part, index) else part for index, part in enumerate(value))
        return value

    def _is_state(self, value: Tensor, index: int) -> bool:
        if index >= len(self.kept) or value.shape[-1] != self.widths[index] or not value.is_floating_point():
            return False
        return value.dim() == 2 if len(self.kept[index]) == 1 and value.dim() == 2 else value.dim() >= 2 and value.shape[0] == len(self.kept[index])

    def _cut(self, value: Tensor, index: int) -> Tensor:
        kept = self.kept[index]
        widest = max(map(len, kept))
        if len(kept) == 1:
            return value[..., kept[0]]
        rows = [F.pad(value[position, ..., units], (0, widest - len(units))) for position, units in enumerate(kept)]
        return torch.stack(rows)


class WidenStates:
    """A forward hook: states going out of the model get the width before compaction, cut units being zero."""

    def __init__(self, kept: list[list[list[int]]], widths: list[int]):
        self.kept, self.widths = kept, widths

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], result: tuple[Any, Any]) -> tuple[Any, Any]:
        output, states = result
        widened = [self._spread(state, index) for index, state in enumerate(states if isinstance(states, tuple) else (states,))]
        return output, tuple(widened) if isinstance(states, tuple) else widened[0]

    def _spread(self, state: Tensor, index: int) -> Tensor:
        wide = state.new_zeros(*state.shape[:-1], self.widths[index])
        rows = [wide[position].index_copy(-1, torch.tensor(units, device=state.device), state[position, ..., :len(units)])
                for position, units in enumerate(self.kept[index])]
        return torch.stack(rows)
