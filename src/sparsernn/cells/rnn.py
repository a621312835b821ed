"""The plain recurrent layer."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from sparsernn.cells.activations import ACTIVATIONS, check_activation
from sparsernn.cells.cell import Cell
from sparsernn.structure.layer import State, Weights
from sparsernn.structure.torch_modules import rnn_advance


class RNN(Cell):
    """h' = act(W x + b + U h + b').

    Arguments: as `torch.nn.RNN`, and
        nonlinearity: act, "tanh", "relu" or another name in `cells.activations`.
        activation: the same, as the other cells call it; takes the place of `nonlinearity` where it is given.
    Shapes: see `Cell.forward`; weight_ih [hidden input], weight_hh [hidden hidden].
    Raises: UserError for a size or an option that is out of range.
    Source: Elman 1990.
    Deviations: none known; equal to torch.nn.RNN with tanh and relu.
    """

    gates: ClassVar = ("candidate",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *,
        activation: str | None = None,
        **options: Any,
    ):
        check_activation("nonlinearity", nonlinearity, ACTIVATIONS)
        if activation is not None:
            check_activation("activation", activation, ACTIVATIONS)
        self.nonlinearity = activation or nonlinearity
        super().__init__(input_size, hidden_size, num_layers, **options)

    @property
    def fused(self) -> str:
        return f"RNN_{self.nonlinearity.upper()}" if self.nonlinearity in ("tanh", "relu") else ""

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        return rnn_advance(weights, projected, state, ACTIVATIONS[self.nonlinearity])
