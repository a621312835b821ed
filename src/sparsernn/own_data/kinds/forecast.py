"""Series whose next values are forecast."""

from __future__ import annotations

import numpy as np
import torch

from sparsernn.data.splits import WindowSplit
from sparsernn.own_data.kinds.kind import Choice, File, Kind, targets_of
from sparsernn.own_data.naive import PERIODS, naive
from sparsernn.own_data.scored import Scored
from sparsernn.own_data.verdict import Answers

LEAST_UNIT = 24


class Forecast(Kind):
    """The value a period ago, and a network that adds to the last value."""

    about = "the last value, or the values a period ago"
    choice = Choice("forecaster", 64, 16, 2500, {"dropout": 0.1, "residual": 0})

    def baselines(self, file: File) -> list[Scored]:
        valid, test = windows(file.loaded.valid), windows(file.loaded.test)
        right = targets_of(valid)
        errors = {
            period: float(np.square(naive(valid, period) - right).mean())
            for period in PERIODS
            if period <= valid.window
        }
        best = min(errors, key=errors.__getitem__)
        about = "the last value" if best == 1 else f"the values {best} steps ago"
        unscaled = file.preparation.unscaled
        return [
            Scored("majority", "the last value", unscaled(naive(test, 1))),
            Scored("baseline", about, unscaled(naive(test, best)), valid=errors[best]),
        ]

    def answers(self, file: File) -> Answers:
        right = file.preparation.unscaled(targets_of(file.loaded.test))
        return Answers("rmse", right, units=np.arange(len(right)) // max(file.preparation.horizon, LEAST_UNIT))

    def outputs(self, file: File, batches: list[torch.Tensor]) -> np.ndarray:
        return file.preparation.unscaled(torch.cat(batches).double().numpy())


def windows(split: object) -> WindowSplit:
    """The split, which is one of windows."""
    if not isinstance(split, WindowSplit):
        raise TypeError(f"{type(split).__name__} is no split of windows")
    return split


KIND = Forecast()
