"""Forecasts without a model: the values a period ago."""

import numpy as np

from sparsernn.data.splits import WindowSplit

PERIODS = (1, 7, 12, 24, 48, 96, 168)


def naive(split: WindowSplit, period: int) -> np.ndarray:
    """Every window's last `period` values over and over. [windows horizon]

    Source: Hyndman & Athanasopoulos, Forecasting: Principles and Practice, seasonal naive method.
    """
    steps = np.arange(split.horizon) % period
    return split.series[split.starts[:, None] + split.window - period + steps, split.target]
