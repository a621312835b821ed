"""LSTM whose gates also see the memory."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsernn.cells.activations import ACTIVATIONS, check_activation
from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.structure.layer import State, Weights
from sparsernn.structure.torch_modules import PLAIN_AXES


class PeepholeLSTM(Cell):
    """An LSTM with connections from the memory to the gates.

    peephole="diagonal": i and f see their own unit's old memory, o its new memory:
    i = s(.. + p_i c), f = s(.. + p_f c), o = s(.. + p_o c'). peephole="full": all four gates see all old
    memories through a matrix, .. + V c.

    Arguments: as `torch.nn.LSTM` (without proj_size), and
        peephole: "diagonal" or "full".
        activation: what takes tanh's place: a name in `cells.activations`.
    Shapes: see `Cell.forward`; weight_ch [3*hidden] (diagonal) or [4*hidden hidden] (full).
    Raises: UserError for a size or an option that is out of range.
    Source: Gers & Schmidhuber 2000; the full form is that of Zhang & Stadie 2020 (1.32 million weights at 400 units).
    Deviations: none known.
    """

    gates: ClassVar = ("input", "forget", "candidate", "output")
    states: ClassVar = ("hidden", "memory")
    known_as: ClassVar = ("peephole",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        peephole: str = "diagonal",
        activation: str = "tanh",
        **options: Any,
    ):
        if peephole not in ("diagonal", "full"):
            raise UserError(f'peephole is "{peephole}"', '"diagonal" or "full"', "choose one of them")
        axis = "gate hidden <- memory" if peephole == "full" else "gate hidden <- self"
        check_activation("activation", activation, ACTIVATIONS)
        self.activation = activation
        self.peephole, self.axes = peephole, PLAIN_AXES | {"weight_ch": axis}
        self.own_gates = {"weight_ch": ("input", "forget", "output")} if peephole == "diagonal" else {}
        super().__init__(input_size, hidden_size, num_layers, **options)

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        hidden, memory = state
        activation = ACTIVATIONS[self.activation]
        gates = projected + F.linear(hidden, weights["weight_hh"], weights.get("bias_hh"))
        if self.peephole == "full":
            i, f, g, o = (gates + F.linear(memory, weights["weight_ch"])).chunk(4, -1)
            memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * activation(g)
            return torch.sigmoid(o) * activation(memory), memory
        i, f, g, o = gates.chunk(4, -1)
        p_i, p_f, p_o = weights["weight_ch"].chunk(3)
        memory = torch.sigmoid(f + p_f * memory) * memory + torch.sigmoid(i + p_i * memory) * activation(g)
        return torch.sigmoid(o + p_o * memory) * activation(memory), memory
