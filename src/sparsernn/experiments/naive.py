"""Forecasts without a model: the values a period ago."""

from dataclasses import replace

import numpy as np

from sparsernn.data.splits import WindowSplit

MOST_WINDOWS = 2_000


def naive(split: WindowSplit, period: int) -> np.ndarray:
    """Every window's last `period` values over and over, one forecast column after the other. [windows several*horizon]

    Source: Hyndman & Athanasopoulos, Forecasting: Principles and Practice, seasonal naive method.
    """
    steps = np.arange(split.horizon) % period
    rows = split.starts[:, None] + split.window - period + steps
    features = range(split.target, split.target + split.several)
    return np.concatenate([split.series[rows, feature] for feature in features], 1)


def error(split: WindowSplit, period: int) -> float:
    """Mean square of the naive forecast."""
    right = np.concatenate([batch.targets.numpy() for batch in split.batches(MOST_WINDOWS)])
    return float(np.square(naive(split, period) - right).mean())


def period_of(train: WindowSplit) -> int:
    """The period, from 2 to the window, whose naive forecast is best on training windows; 1 in a window of 1."""
    some = np.linspace(0, len(train) - 1, min(len(train), MOST_WINDOWS)).astype(int)
    sample = replace(train, starts=train.starts[some])
    return min(range(min(2, train.window), train.window + 1), key=lambda period: error(sample, period))
