"""Gated recurrent unit, in both of its forms."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from sparsernn.cells.activations import ACTIVATIONS, GATE_ACTIVATIONS, check_activation
from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.structure.layer import State, Weights
from sparsernn.structure.torch_modules import RESET_AFTER, gru_advance


class GRU(Cell):
    """h' = (1 - z) n + z h, with a candidate n that sees the state through the reset gate r.

    reset="after" (torch, cuDNN): n = tanh(W x + b + r (U h + b')). reset="before" (the original):
    n = tanh(W x + b + U (r h) + b').

    Arguments: as `torch.nn.GRU`, and
        reset: where the reset gate acts, "after" or "before" the recurrent product.
        gate_activation: "sigmoid" or "hard_sigmoid".
        activation: what takes tanh's place: a name in `cells.activations`.
    Shapes: see `Cell.forward`; weight_ih [3*hidden input], gates in torch's order r, z, n.
    Raises: UserError for a size or an option that is out of range.
    Source: Cho et al. 2014; the "after" form is that of cuDNN.
    Deviations: the update gate keeps the old state (torch), where Cho et al. let it take the new one.
    """

    gates: ClassVar = ("reset", "update", "candidate")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset: str = "after",
        gate_activation: str = "sigmoid",
        activation: str = "tanh",
        **options: Any,
    ):
        if reset not in ("after", "before"):
            raise UserError(f'reset is "{reset}"', '"after" or "before"', "choose one of them")
        check_activation("gate_activation", gate_activation, GATE_ACTIVATIONS)
        check_activation("activation", activation, ACTIVATIONS)
        self.reset, self.gate_activation, self.activation = reset, gate_activation, activation
        self.modulated = RESET_AFTER if reset == "after" else ()
        super().__init__(input_size, hidden_size, num_layers, **options)

    @property
    def fused(self) -> str:
        if (self.gate_activation, self.activation) != ("sigmoid", "tanh"):
            return ""
        return "GRU" if self.reset == "after" else "GRU_RESET_BEFORE"

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        squash, activation = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        if self.reset == "after":
            return gru_advance(weights, projected, state, squash, activation)
        (hidden,) = state
        width = hidden.shape[-1]
        recurrent, bias = weights["weight_hh"], weights.get("bias_hh")
        r, z, n = projected.chunk(3, -1)
        u_r, u_z = F.linear(hidden, recurrent[: 2 * width], None if bias is None else bias[: 2 * width]).chunk(2, -1)
        update = squash(z + u_z)
        candidate = activation(
            n + F.linear(squash(r + u_r) * hidden, recurrent[2 * width :], None if bias is None else bias[2 * width :])
        )
        return ((1 - update) * candidate + update * hidden,)
