"""Recurrent layers of unequal widths, with the call of one torch module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsernn.errors import UserError
from sparsernn.structure.description import Description, describe_layers
from sparsernn.structure.torch_modules import kind_of


class Stacked(nn.Module):
    """One torch module a layer and direction; call and results as `torch.nn.LSTM`, `GRU` or `RNN`.

    Initial states come in zero-padded to the widest layer, and so do final states go out, unless `state_widths`
    gives them another width: that of the layers of which the model reads the final state.

    Arguments:
        layers: single-layer, one-directional torch modules, layer by layer, the reverse direction second.
        directions: 1 or 2.
        dropout: between layers, while training.
        state_widths: for each final state, its width, or None for that of the widest layer.
    Shapes: input [time batch input] (or batch first, unbatched, packed); output [time batch sum of the last widths].
    Raises: UserError for initial states of another width.
    """

    def __init__(
        self,
        layers: list[nn.RNNBase],
        directions: int,
        batch_first: bool,
        dropout: float,
        state_widths: list[int | None] | None = None,
    ):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.directions, self.batch_first, self.dropout, self.state_widths = (
            directions,
            batch_first,
            dropout,
            state_widths,
        )

    @property
    def input_size(self) -> int:
        """Of the first layer."""
        return self.layers[0].input_size

    @property
    def hidden_size(self) -> int:
        """Of the widest layer; so wide are initial states."""
        return max(layer.hidden_size for layer in self.layers)

    @property
    def proj_size(self) -> int:
        """Of the widest projection, or 0."""
        return max(layer.proj_size for layer in self.layers)

    @property
    def num_layers(self) -> int:
        """As torch counts: both directions are one layer."""
        return len(self.layers) // self.directions

    @property
    def bidirectional(self) -> bool:
        """Whether each layer has two directions."""
        return self.directions == 2

    @property
    def bias(self) -> bool:
        """Whether the layers have biases."""
        return self.layers[0].bias

    @property
    def mode(self) -> str:
        """torch's name of the kind of layer: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU"."""
        return self.layers[0].mode

    def flatten_parameters(self) -> None:
        """As torch's: lay each layer's weights out for cuDNN."""
        for layer in self.layers:
            layer.flatten_parameters()

    def describe(self) -> Description:
        """All layers under this module's parameter names."""
        kind = kind_of(self.layers[0])
        projected = bool(self.layers[0].proj_size)
        locals_ = [local for local in kind.axes if self.layers[0].bias or "bias" not in local]
        names = [{local: f"layers.{index}.{local}_l0" for local in locals_} for index in range(len(self.layers))]
        outputs = (
            {f"projection_{index}": layer.proj_size for index, layer in enumerate(self.layers)} if projected else None
        )
        return describe_layers(
            kind,
            input_size=self.input_size,
            widths=[layer.hidden_size for layer in self.layers],
            directions=self.directions,
            names=names,
            outputs=outputs,
            state_axes=("projection", "hidden") if projected else (),
        )

    def resized(self, cut: Any, tensors: dict[str, nn.Parameter]) -> Stacked:
        """The same layers with smaller parameters. See `compaction.resizing.resize`."""
        for position, layer in enumerate(self.layers):
            prefix = f"layers.{position}."
            resize_torch(
                layer,
                {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)},
            )
        self.state_widths = cut.state_widths
        return self

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """(output, final states), as torch's modules return them."""
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
                backward = position > first
                output, end = _one(
                    self.layers[position],
                    reverse(x, lengths) if backward else x,
                    lengths,
                    self._given(states, position, x),
                )
                outputs.append(reverse(output, lengths) if backward else output)
                ends.append(end)
            x = torch.cat(outputs, -1)
        return x, tuple(torch.cat(parts) for parts in align_states(ends, self.state_widths))

    def _given(self, states: list[Tensor], position: int, x: Tensor) -> tuple[Tensor, ...]:
        """The initial states of one layer and direction. [1 batch width] each"""
        if not states:
            return ()
        sizes = [
            [layer.proj_size or layer.hidden_size for layer in self.layers],
            [layer.hidden_size for layer in self.layers],
        ]
        wanted = [(len(self.layers), x.shape[1], max(size)) for size in sizes[: len(states)]]
        if [tuple(state.shape) for state in states] != wanted:
            raise UserError(
                f"initial states have shapes {[tuple(state.shape) for state in states]}",
                f"shapes {wanted}",
                "pass states as the forward returns them",
            )
        return tuple(
            state[position : position + 1, :, : size[position]].contiguous()
            for state, size in zip(states, sizes, strict=False)
        )


def align_states(ends: list[tuple[Tensor, ...]], widths: list[int | None] | None) -> list[list[Tensor]]:
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


def resize_torch(module: nn.Module, tensors: dict[str, nn.Parameter]) -> nn.Module:
    """A torch module itself, with its parameters exchanged for smaller ones and its size attributes set."""
    for name, parameter in tensors.items():
        setattr(module, name, parameter)
    if isinstance(module, nn.RNNBase):
        gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
        module.input_size, module.hidden_size = module.weight_ih_l0.shape[1], module.weight_ih_l0.shape[0] // gates
        module.proj_size = module.weight_hr_l0.shape[0] if module.proj_size else 0
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
        module.flatten_parameters()
    elif isinstance(module, nn.RNNCellBase):
        module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    return module


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn each sequence round, leaving its padding at the end. Shapes: x [time batch unit], lengths [batch]."""
    if lengths is None:
        return x.flip(0)
    time = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    ends = lengths.to(x.device).unsqueeze(0)
    place = torch.where(time < ends, ends - 1 - time, time)
    return x.gather(0, place.unsqueeze(-1).expand_as(x))


def _one(
    layer: nn.RNNBase, x: Tensor, lengths: Tensor | None, given: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    hx = (given if len(given) > 1 else given[0]) if given else None
    if lengths is None:
        output, end = layer(x, hx)
    else:
        packed, end = layer(pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False), hx)
        output, _ = pad_packed_sequence(packed, total_length=x.shape[0])
    return output, end if isinstance(end, tuple) else (end,)
