"""Simple recurrent unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsernn.cells.cell import Cell
from sparsernn.cells.scanning import finish, scan_units
from sparsernn.running import passes as stepwise
from sparsernn.structure.description import Description
from sparsernn.structure.layer import State, Weights


class SRU(Cell):
    """c' = f c + (1 - f) W x, h = r tanh(c') + (1 - r) x: automata of one state, and a highway around them.

    f = sigmoid(W_f x + b_f), r = sigmoid(W_r x + b_r). Where a layer's input has another width than its output,
    a matrix brings it to that width on the highway.

    Arguments: as `torch.nn.RNN` without nonlinearity; no recurrent dropout.
    Shapes: see `Cell.forward`; weight_ih [3*hidden input], gates candidate, forget, output; states h and c.
    Raises: UserError for a size that is out of range.
    Source: Lei & Zhang 2017, equations 3 to 7 (the first version); a rational recurrence after Peng et al. 2018.
    Deviations: gates do not see c, as they do in the version of 2018.
    """

    gates: ClassVar = ("candidate", "forget", "output")
    states: ClassVar = ("hidden", "memory")

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any):
        self.axes = {
            "weight_ih": "gate hidden <- input",
            "bias_ih": "gate hidden",
            "weight_highway": "hidden <- input",
        }
        self.own_gates = {"bias_ih": ("forget", "output")}
        super().__init__(input_size, hidden_size, num_layers, **options)

    @property
    def names(self) -> list[dict[str, str]]:
        absent = [{"weight_highway"} if straight else set() for straight in self.straight]
        return [
            {local: name for local, name in names.items() if local not in without}
            for names, without in zip(super().names, absent, strict=True)
        ]

    def project(self, weights: Weights, x: Tensor) -> Tensor:
        """Candidates, logits of both gates, and what goes along the highway."""
        projected = F.linear(x, weights["weight_ih"])
        if "bias_ih" in weights:
            projected = projected + F.pad(weights["bias_ih"], (len(weights["bias_ih"]) // 2, 0))
        highway = F.linear(x, weights["weight_highway"]) if "weight_highway" in weights else x
        return torch.cat([projected, highway], -1)

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        candidate, forget, output, highway = projected.chunk(4, -1)
        memory = torch.sigmoid(forget) * state[1] + torch.sigmoid(-forget) * candidate
        return _out(memory, output, highway), memory

    def describe(self) -> Description:
        """As other cells; on a highway without a matrix, input and output units are the same ones."""
        found = super().describe()
        below = ["input", *(f"hidden_{position}" for position in range(len(self.widths)))]
        same = [
            (below[0] if position < self.directions else below[position], f"hidden_{position}")
            for position, straight in enumerate(self.straight)
            if straight
        ]
        return replace(found, same=tuple(same))

    def _allocate(self) -> None:
        self.straight = [self.sizes(position)["input"] == width for position, width in enumerate(self.widths)]
        super()._allocate()

    def _layer(self, x: Tensor, state: State, lengths: Tensor | None, position: int) -> tuple[Tensor, State]:
        weights = {local: getattr(self, name) for local, name in self.names[position].items()}
        stepwise.note(self, self.names[position]["weight_ih"], x, state, lengths)
        width = self.widths[position]
        tokens, output, highway = self.project(weights, x).split([2 * width, width, width], -1)
        memory, end = scan_units(tokens, state[1], lengths)
        hidden, last = finish(_out(memory, output, highway), lengths)
        return hidden, (last, end)


def _out(memory: Tensor, output: Tensor, highway: Tensor) -> Tensor:
    return torch.sigmoid(output) * torch.tanh(memory) + torch.sigmoid(-output) * highway
