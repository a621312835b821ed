"""A label for a sequence: recurrent layers, pooling, a linear head."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Read a sequence and name its class."""

    objective: ClassVar[str] = "classification"

    def __init__(
        self,
        inputs: int,
        classes: int,
        cell: str = "gru",
        units: int = 64,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pool: str = "last",
        vocabulary: int | None = None,
    ):
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
        self.rnn = kind(inputs, units, layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(units * (1 + bidirectional), classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        output, _ = self.rnn(x)
        return self.head(output[:, -1])
