"""The next values of a series."""

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
    several: int = 1
    window: int = 0


class Forecaster(Encoder):
    """Recurrent layers over a window of the past; a linear layer on the last step gives all future values at once.

    Arguments: as `Classifier`, without pooling; horizon: how many future values; residual: index of the input feature
        whose last value is added to every forecast (the network then learns the change), or None; several: how many
        features are forecast, that one and those after it, the values of one following those of another; window: steps
        of each of them, less its last value, that a linear layer of its own in `skips` turns into forecasts as well; 0:
        none. Where there is one, the recurrent layers read every feature less its last value.
    Shapes: x [batch time inputs] -> [batch horizon].
    Raises: UserError for a window without a residual, a horizon that `several` does not divide, a vocabulary, or an
        input of another length than the window.
    """

    objective: ClassVar[str] = "forecasting"

    @taking(ForecasterOptions)
    def __init__(self, options: ForecasterOptions):
        if options.window and options.residual is None:
            raise UserError("a window without a residual", "the feature that the window is of", "set residual")
        if options.vocabulary is not None:
            raise UserError("a forecaster with a vocabulary", "one that reads numbers", "leave vocabulary out")
        super().__init__(options.inputs, options)
        if options.several < 1 or options.horizon % options.several:
            raise UserError(
                f"several is {options.several} of {options.horizon} values", "a whole part of them", "change several"
            )
        self.residual, self.several, self.window = options.residual, options.several, options.window
        self.head = nn.Linear(self.width, options.horizon)
        ahead = options.horizon // options.several
        features = range(options.several if options.window else 0)
        self.skips = nn.ModuleList(nn.Linear(options.window, ahead, bias=False) for _ in features)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.residual is None:
            return self.head(pool(self.encode(x, lengths), lengths, "last", self.forward_units))
        if self.window and (lengths is not None or x.shape[1] != self.window):
            raise UserError(f"windows of {x.shape[1]} steps", f"{self.window} steps each", "cut the series so")
        last = pool(x, lengths, "last")
        x = x - last.unsqueeze(1) if self.window else x
        change = self.head(pool(self.encode(x, lengths), lengths, "last", self.forward_units))
        features = range(self.residual, self.residual + self.several)
        if self.window:
            linear = [skip(x[:, :, feature]) for skip, feature in zip(self.skips, features, strict=True)]
            change = change + torch.cat(linear, 1)
        return change + last[:, list(features)].repeat_interleave(change.shape[1] // self.several, 1)
