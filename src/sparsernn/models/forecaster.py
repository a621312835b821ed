"""The next values of a series."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sparsernn.models.encoder import Encoder, EncoderOptions
from sparsernn.models.layers import CellOptions, pool


class Forecaster(Encoder):
    """Recurrent layers over a window of the past; a linear layer on the last step gives all future values at once.

    Arguments: as `Classifier`; horizon: how many future values; residual: index of the input feature whose last
        value is added to every forecast (the network then learns the change), or None.
    Shapes: x [batch time inputs] -> [batch horizon].
    """

    objective: ClassVar[str] = "forecasting"

    def __init__(
        self,
        inputs: int,
        horizon: int,
        cell: str = "gru",
        units: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
        residual: int | None = None,
        cell_options: CellOptions | None = None,
    ):
        super().__init__(inputs, EncoderOptions(cell, units, layers, dropout=dropout, cell_options=cell_options))
        self.residual = residual
        self.head = nn.Linear(self.width, horizon)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        change = self.head(pool(self.encode(x, lengths), lengths, "last", 1))
        if self.residual is None:
            return change
        return change + pool(x, lengths, "last", 1)[:, self.residual : self.residual + 1]
