"""The plain recurrent layer."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.structure.recurrence import State, Weights
from sparsernn.structure.torch_modules import rnn_advance


class RNN(Cell):
    """h' = act(W x + b + U h + b'), act = tanh or relu.

    Arguments: as `torch.nn.RNN`.
    Shapes: see `Cell.forward`; weight_ih [hidden input], weight_hh [hidden hidden].
    Raises: UserError for a size or an option that is out of range.
    Source: Elman 1990.
    Deviations: none known; equal to torch.nn.RNN.
    """

    gates: ClassVar = ("candidate",)

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", **options: Any
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise UserError(f'nonlinearity is "{nonlinearity}"', '"tanh" or "relu"', "choose one of them")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, **options)

    @property
    def fused(self) -> str:
        return f"RNN_{self.nonlinearity.upper()}"

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        return rnn_advance(weights, projected, state, torch.tanh if self.nonlinearity == "tanh" else torch.relu)
