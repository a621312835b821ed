"""The next values of a series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.models.constructor import taking
from sparsernn.models.encoder import Encoder, EncoderOptions
from sparsernn.models.layers import pool


@dataclass(frozen=True)
class _Sizes:
    inputs: int
    horizon: int


@dataclass(frozen=True)
class ForecasterOptions(EncoderOptions, _Sizes):
    """Arguments of a forecaster."""

    residual: int | None = None
    window: int = 0


class Forecaster(Encoder):
    """Recurrent layers over a window of the past; a linear layer on the last step gives all future values at once.

    Arguments: as `Classifier`, without pooling; horizon: how many future values; residual: index of the input feature
        whose last value is added to every forecast (the network then learns the change), or None; window: steps of that
        feature, less its last value, that a linear layer of their own, `skip`, turns into forecasts as well; 0: none.
        Where there is one, the recurrent layers read every feature less its last value.
    Shapes: x [batch time inputs] -> [batch horizon].
    Raises: UserError for a window without a residual, a vocabulary, or an input of another length than the window.
    """

    objective: ClassVar[str] = "forecasting"

    @taking(ForecasterOptions)
    def __init__(self, options: ForecasterOptions):
        if options.window and options.residual is None:
            raise UserError("a window without a residual", "the feature that the window is of", "set residual")
        if options.vocabulary is not None:
            raise UserError("a forecaster with a vocabulary", "one that reads numbers", "leave vocabulary out")
        super().__init__(options.inputs, options)
        self.residual = options.residual
        self.head = nn.Linear(self.width, options.horizon)
        self.skip = nn.Linear(options.window, options.horizon, bias=False) if options.window else None

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        last = pool(x, lengths, "last", 1)
        if self.skip is None:
            change = self.head(pool(self.encode(x, lengths), lengths, "last", self.directions))
            return change if self.residual is None else change + last[:, self.residual].unsqueeze(1)
        if lengths is not None or x.shape[1] != self.skip.in_features:
            raise UserError(
                f"windows of {x.shape[1]} steps", f"{self.skip.in_features} steps each", "cut the series so"
            )
        x = x - last.unsqueeze(1)
        change = self.head(pool(self.encode(x), None, "last", self.directions)) + self.skip(x[:, :, self.residual])
        return change + last[:, self.residual].unsqueeze(1)
