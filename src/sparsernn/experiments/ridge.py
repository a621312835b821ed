"""Ridge regression from windows of a series to what follows them, with the sums of one pass over the windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sparsernn.data.splits import Sample, WindowSplit
from sparsernn.data.task import Split

STRENGTHS = tuple(10.0**power for power in range(-2, 6))
AT_ONCE = 512
DROPPED = 0.2  # of the steps that are left, in a round

Array = np.ndarray


@dataclass(frozen=True)
class Reading:
    """What the regression reads of a window.

    Arguments:
        changes: every value less the last of its column, and so the forecast too; else values as they are.
        every: all columns, not only the one that is forecast.
    """

    changes: bool = True
    every: bool = False

    def of(self, windows: Array, target: int) -> Array:
        """Shapes: [batch time column] -> [batch value]."""
        read = windows if self.every else windows[:, :, target : target + 1]
        read = read - read[:, -1:] if self.changes else read
        return read.reshape(len(read), -1).astype(np.float64)

    def base(self, windows: Array, target: int) -> Array:
        """What a forecast is a change of. [batch 1]"""
        return windows[:, -1:, target].astype(np.float64) * self.changes


@dataclass(frozen=True)
class Ridge:
    """A regression that was fitted.

    Arguments:
        weights: [value horizon]. bias: [horizon]. error: mean square on the validation windows.
    """

    reading: Reading
    weights: Array
    bias: Array
    error: float

    def forecast(self, split: WindowSplit) -> Array:
        """For every window of a split. [window horizon]"""
        return np.concatenate([self.of(windows, split.target) for windows, _ in read(split)])

    def of(self, windows: Array, target: int) -> Array:
        """For some windows. Shapes: [batch time column] -> [batch horizon]."""
        return self.reading.of(windows, target) @ self.weights + self.bias + self.reading.base(windows, target)


def fit(train: WindowSplit, valid: WindowSplit, reading: Reading, share: float = 1.0) -> Ridge:
    """The regression of the strength that is best on validation.

    Arguments:
        share: of the values that a window has, so many are read, the others' weights are zero: of the values left,
            those of the smallest weights are dropped again and again, and the others fitted anew.
    Source: Hoerl & Kennard 1970.
    """
    return _fitted(Sums.over(train, reading), train, valid, reading, share)


def thrifty(train: WindowSplit, valid: WindowSplit, reading: Reading, share: float, near: float) -> Ridge:
    """The regression that reads least: `share` of a window, or twice as much and so on up to all of it, as far as the
    error on validation would else be more than `near` above the smallest of them, as a part of it."""
    sums, shares = Sums.over(train, reading), [share]
    while shares[-1] < 1 and near > 0:
        shares.append(min(1.0, 2 * shares[-1]))
    fits = [_fitted(sums, train, valid, reading, one) for one in shares]
    enough = (1 + near) * min(one.error for one in fits)
    return next(one for one in fits if one.error <= enough)


def _fitted(sums: Sums, train: WindowSplit, valid: WindowSplit, reading: Reading, share: float) -> Ridge:
    kept = _kept(sums, share)
    fits = [sums.solved(strength, kept) for strength in STRENGTHS]
    errors, count = np.zeros(len(fits)), 0
    for windows, targets in read(valid):
        values, changes = reading.of(windows, train.target), targets - reading.base(windows, train.target)
        errors += [float(np.square(values @ weights + bias - changes).sum()) for weights, bias in fits]
        count += targets.size
    best = int(np.argmin(errors))
    return Ridge(reading, *fits[best], float(errors[best] / count))


@dataclass(frozen=True)
class Sums:
    """Means of values and targets, and sums of products about them."""

    means: tuple[Array, Array]
    squares: Array
    products: Array

    @classmethod
    def over(cls, split: WindowSplit, reading: Reading) -> Sums:
        """Over all windows of a split."""
        totals: list[Array] = []
        for windows, targets in read(split):
            values, changes = reading.of(windows, split.target), targets - reading.base(windows, split.target)
            new = [values.T @ values, values.T @ changes, values.sum(0), changes.sum(0)]
            totals = [old + one for old, one in zip(totals, new, strict=True)] if totals else new
        squares, products, *sums = totals
        means = sums[0] / len(split), sums[1] / len(split)
        squares = squares - len(split) * np.outer(means[0], means[0])
        return cls(means, squares, products - len(split) * np.outer(means[0], means[1]))

    def solved(self, strength: float, kept: Array) -> tuple[Array, Array]:
        """Weights and bias, where only some values are read. kept: [value]"""
        weights = np.zeros_like(self.products)
        penalised = self.squares[np.ix_(kept, kept)] + strength * np.eye(int(kept.sum()))
        weights[kept] = np.linalg.solve(penalised, self.products[kept])
        return weights, self.means[1] - self.means[0] @ weights


def _kept(sums: Sums, share: float) -> Array:
    """Which values are read."""
    kept = np.ones(len(sums.squares), bool)
    least = max(1, round(share * len(kept)))
    sizes = np.sqrt(np.diag(sums.squares).clip(0))
    while kept.sum() > least:
        weights, _ = sums.solved(1.0, kept)
        worth = np.where(kept, np.linalg.norm(weights, axis=1) * sizes, np.inf)
        drop = min(int(kept.sum()) - least, max(1, int(DROPPED * kept.sum())))
        kept[np.argsort(worth, kind="stable")[:drop]] = False
    return kept


def windows_of(split: Split) -> WindowSplit:
    """All windows of a split. Raises: TypeError for a split of something else."""
    whole = split.whole if isinstance(split, Sample) else split
    if not isinstance(whole, WindowSplit):
        raise TypeError(f"{type(split).__name__} is no split of windows")
    return whole


def of_column(split: Split, number: int) -> WindowSplit:
    """The windows with one of the columns that are forecast. Raises: TypeError for a split of something else."""
    windows = windows_of(split)
    return replace(windows, target=windows.target + number, several=1)


def read(split: WindowSplit) -> Iterator[tuple[Array, Array]]:
    """Windows and what follows them. [batch time column], [batch horizon]"""
    for batch in split.batches(AT_ONCE):
        yield batch.inputs.numpy(), batch.targets.numpy()


def best(train: WindowSplit, valid: WindowSplit, readings: Sequence[Reading]) -> Ridge:
    """The best of several readings on validation."""
    return min((fit(train, valid, reading) for reading in readings), key=lambda one: one.error)
