"""Quasi-recurrent layers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sparsernn.cells.cell import Cell
from sparsernn.cells.scanning import finish, scan_units
from sparsernn.errors import UserError
from sparsernn.running import passes as stepwise
from sparsernn.structure.layer import State, Weights

POOLINGS = ("f", "fo")


class QRNN(Cell):
    """c' = f c + (1 - f) z with z = tanh(W_z x), f = sigmoid(W_f x); h = c', or h = o c' with o = sigmoid(W_o x).

    Arguments: as `torch.nn.RNN` without nonlinearity and recurrent dropout, and
        pooling: "fo" with an output gate, "f" without.
    Shapes: see `Cell.forward`; weight_ih [3*hidden input], gates candidate, forget and (fo) output; states h and c.
    Raises: UserError for a size or an option that is out of range.
    Source: Bradbury et al. 2017, equations 1 to 4; a rational recurrence after Peng et al. 2018.
    Deviations: filters of width 1 only, with a bias; no ifo-pooling, no zoneout.
    """

    gates: tuple[str, ...] = ("candidate", "forget", "output")
    states: ClassVar = ("hidden", "memory")

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, pooling: str = "fo", **options: Any):
        if pooling not in POOLINGS:
            raise UserError(f"pooling is {pooling!r}", f"one of {', '.join(POOLINGS)}", "choose one of them")
        self.pooling = pooling
        self.gates = QRNN.gates if pooling == "fo" else QRNN.gates[:2]
        self.axes = {"weight_ih": "gate hidden <- input", "bias_ih": "gate hidden"}
        super().__init__(input_size, hidden_size, num_layers, **options)

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        candidate, forget, *output = projected.chunk(len(self.gates), -1)
        memory = torch.sigmoid(forget) * state[1] + torch.sigmoid(-forget) * torch.tanh(candidate)
        return torch.sigmoid(output[0]) * memory if output else memory, memory

    def _layer(self, x: Tensor, state: State, lengths: Tensor | None, position: int) -> tuple[Tensor, State]:
        weights = {local: getattr(self, name) for local, name in self.names[position].items()}
        stepwise.note(self, self.names[position]["weight_ih"], x, state, lengths)
        candidate, forget, *output = self.project(weights, x).chunk(len(self.gates), -1)
        memory, end = scan_units(torch.cat([torch.tanh(candidate), forget], -1), state[1], lengths)
        hidden, last = finish(torch.sigmoid(output[0]) * memory if output else memory, lengths)
        return hidden, (last, end)
