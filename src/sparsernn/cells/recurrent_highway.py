"""Recurrent highway network: several highway steps at each time step."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsernn.cells.activations import ACTIVATIONS, check_activation
from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.structure.layer import State, Weights


class RecurrentHighwayNetwork(Cell):
    """s_l = (h_l - s_{l-1}) t_l + s_{l-1} for l = 1..depth, h = tanh, t = sigmoid, coupled carry 1 - t.

    The input enters the first of the `depth` micro-steps; the state after the last one is the output.
    `recurrent_dropout` draws one mask a sequence and forward, held over time and depth, on what the products read.

    Arguments: as `torch.nn.RNN`, and
        depth: micro-steps a time step.
        activation: what takes tanh's place: a name in `cells.activations`.
        transform_bias: initial bias of every transform gate; None leaves it random (-2 in the authors' code).
    Shapes: see `Cell.forward`; weight_ih [2*hidden input], weight_hh_d<l> [2*hidden hidden]; candidate, transform.
    Raises: UserError for a size or an option that is out of range.
    Source: Zilly et al. 2017, equations 7 to 9.
    Deviations: none known.
    """

    gates: ClassVar = ("candidate", "transform")
    known_as: ClassVar = ("rhn", "recurrent_highway_network")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        depth: int = 3,
        activation: str = "tanh",
        transform_bias: float | None = None,
        **options: Any,
    ):
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise UserError(f"depth is {depth!r}", "a whole number of at least 1", "pass the number of micro-steps")
        check_activation("activation", activation, ACTIVATIONS)
        self.activation = activation
        axes = {"weight_ih": "gate hidden <- input", "bias_ih": "gate hidden"}
        axes |= {f"weight_hh_d{level}": "gate hidden <- hidden" for level in range(depth)}
        axes |= {f"bias_hh_d{level}": "gate hidden" for level in range(depth)}
        self.depth, self.transform_bias, self.axes = depth, transform_bias, axes
        super().__init__(input_size, hidden_size, num_layers, **options)

    @torch.no_grad()
    def set_biases(self) -> None:
        if self.transform_bias is None or not self.bias:
            return
        for names, width in zip(self.names, self.widths, strict=True):
            self.get_parameter(names["bias_ih"])[width:] = 0
            for level in range(self.depth):
                self.get_parameter(names[f"bias_hh_d{level}"])[width:] = self.transform_bias

    def _thinned(self, weights: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
        """Recurrent dropout: the mask goes along with the weights. [batch hidden]"""
        stays = 1 - self.recurrent_dropout
        mask = weights["weight_hh_d0"].new_empty(batch, weights["weight_hh_d0"].shape[1]).bernoulli_(stays) / stays
        return weights | {"mask": mask}

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        (hidden,), mask = state, weights.get("mask")
        activation = ACTIVATIONS[self.activation]
        for level in range(self.depth):
            read = hidden if mask is None else hidden * mask
            gates = F.linear(read, weights[f"weight_hh_d{level}"], weights.get(f"bias_hh_d{level}"))
            candidate, transform = (gates + projected if level == 0 else gates).chunk(2, -1)
            transform = torch.sigmoid(transform)
            hidden = (activation(candidate) - hidden) * transform + hidden
        return (hidden,)
