"""Long short-term memory."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sparsernn.cells.activations import ACTIVATIONS, GATE_ACTIVATIONS, check_activation
from sparsernn.cells.cell import Cell
from sparsernn.structure.layer import State, Weights
from sparsernn.structure.torch_modules import lstm_advance


class LSTM(Cell):
    """c' = f c + i g, h' = o act(c'), with gates i, f, o squashed and g = act(..), act = tanh.

    Arguments: as `torch.nn.LSTM` (without proj_size), and
        gate_activation: "sigmoid", or "hard_sigmoid" = clip(0.2 x + 0.5, 0, 1) as in Keras and Theano.
        activation: what takes tanh's place: a name in `cells.activations`.
        forget_bias: initial value of the forget gate's bias_ih; None leaves torch's random one.
    Shapes: see `Cell.forward`; weight_ih [4*hidden input], gates in torch's order i, f, g, o.
    Raises: UserError for a size or an option that is out of range.
    Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate).
    Deviations: none known; equal to torch.nn.LSTM with the default options.
    """

    gates: ClassVar = ("input", "forget", "candidate", "output")
    states: ClassVar = ("hidden", "memory")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
        forget_bias: float | None = None,
        **options: Any,
    ):
        check_activation("gate_activation", gate_activation, GATE_ACTIVATIONS)
        check_activation("activation", activation, ACTIVATIONS)
        self.gate_activation, self.activation, self.forget_bias = gate_activation, activation, forget_bias
        super().__init__(input_size, hidden_size, num_layers, **options)

    @property
    def fused(self) -> str:
        return "LSTM" if (self.gate_activation, self.activation) == ("sigmoid", "tanh") else ""

    @torch.no_grad()
    def set_biases(self) -> None:
        if self.forget_bias is not None and self.bias:
            for names, width in zip(self.names, self.widths, strict=True):
                self.get_parameter(names["bias_ih"])[width : 2 * width] = self.forget_bias
                self.get_parameter(names["bias_hh"])[width : 2 * width] = 0

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        squash, activation = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        return lstm_advance(weights, projected, state, squash, activation)
