"""Features of a series without training: how often each of many fixed convolutions is above a threshold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LENGTH, ABOVE = 9, 3
WEIGHTS = np.full((84, LENGTH), -1, np.float32)
"""The kernels: three of nine weights are 2, the others -1. [kernel weight]"""
for _number, _places in enumerate(itertools.combinations(range(LENGTH), ABOVE)):
    WEIGHTS[_number, list(_places)] = 2
MOST_DILATIONS, MOST_CHANNELS = 32, 9
GOLDEN_RATIO = (5**0.5 + 1) / 2
MOST_NUMBERS = 1 << 22
"""Numbers of a convolution that are held at a time."""

Array = np.ndarray


@dataclass(frozen=True)
class Dilation:
    """The kernels at one distance between the values that they read.

    Arguments:
        distance: steps from one value to the next.
        channels: which channels each kernel adds up, as 0 and 1. [kernel channel]
        thresholds: of each kernel. [kernel threshold]
    """

    distance: int
    channels: Array
    thresholds: Array


@dataclass(frozen=True)
class RandomKernels:
    """Kernels, channels and thresholds that were drawn for some series.

    A feature is the share of a series' steps at which a convolution is above a threshold. Every second kernel reads
    zeros beyond both ends, the others stay within the series where it is long enough.

    Source: Dempster, Schmidt, Webb 2021, MiniRocket.
    Deviations: thresholds are quantiles over one series for each dilation instead of one for each kernel.
    """

    dilations: tuple[Dilation, ...]

    @classmethod
    def drawn(cls, series: Sequence[Array], features: int, seed: int = 0) -> RandomKernels:
        """Kernels for series like these.

        Arguments:
            features: about how many; 84 and more.
        Shapes: series: [time channel] each, of any lengths.
        """
        chance = np.random.RandomState(seed)
        longest, channels = max(map(len, series)), series[0].shape[1]
        drawn, quantile = [], itertools.count(1)
        for distance, count in _distances(longest, max(1, features // len(WEIGHTS))):
            masks = np.stack([_channels(chance, channels) for _ in WEIGHTS])
            example = series[chance.randint(len(series))][None]
            values = _convolved(example, Dilation(distance, masks, np.zeros((0, 0))))[:, 0]  # [kernel time]
            shares = [next(quantile) * GOLDEN_RATIO % 1 for _ in range(count * len(WEIGHTS))]
            shares = np.array(shares).reshape(len(WEIGHTS), count)
            rows = zip(values, shares, strict=True)
            thresholds = np.stack([np.quantile(row, share) for row, share in rows])
            drawn.append(Dilation(distance, masks, thresholds.astype(np.float32)))
        return cls(tuple(drawn))

    def features(self, series: Sequence[Array]) -> Array:
        """The features of each series. Shapes: [time channel] each, of any lengths -> [series feature] float32."""
        lengths = np.array([len(one) for one in series])
        results = np.zeros((len(series), sum(one.thresholds.size for one in self.dilations)), np.float32)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            step = max(1, MOST_NUMBERS // (len(WEIGHTS) * int(length)))
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                batch = np.stack([series[row] for row in some]).astype(np.float32, copy=False)
                results[some] = np.concatenate([_shares(batch, one) for one in self.dilations], 1)
        return results


def _distances(longest: int, for_each: int) -> Iterator[tuple[int, int]]:
    """Distances from 1 to what the longest series holds, evenly in their logarithm, and the thresholds of each."""
    highest = np.log2(max(1, (longest - 1) / (LENGTH - 1)))
    exponents = np.linspace(0, highest, min(for_each, MOST_DILATIONS))
    distances, counts = np.unique((2**exponents).astype(int), return_counts=True)
    counts = np.maximum(1, counts * for_each // counts.sum())
    yield from zip(distances.tolist(), counts.tolist(), strict=True)


def _channels(chance: np.random.RandomState, channels: int) -> Array:
    """Which channels a kernel reads: seldom many."""
    most = min(channels, MOST_CHANNELS)
    count = int(2 ** chance.uniform(0, np.log2(most + 1)))
    mask = np.zeros(channels, np.float32)
    mask[chance.choice(channels, count, replace=False)] = 1
    return mask


def _convolved(batch: Array, dilation: Dilation) -> Array:
    """Every kernel over series of one length, zeros beyond their ends. [series time channel] -> [kernel series time]"""
    margin = dilation.distance * (LENGTH // 2)
    count, time, _ = batch.shape
    padded = np.pad(batch, ((0, 0), (margin, margin), (0, 0)))
    starts = range(0, 2 * margin + 1, dilation.distance)
    shifted = np.stack([padded[:, start : start + time] for start in starts])  # [weight series time channel]
    columns = shifted.transpose(0, 3, 1, 2).reshape(-1, count * time)
    weights = (WEIGHTS[:, :, None] * dilation.channels[:, None]).reshape(len(WEIGHTS), -1)
    return (weights @ columns).reshape(len(WEIGHTS), count, time)


def _shares(batch: Array, dilation: Dilation) -> Array:
    """The features of one dilation. [series kernel*threshold]"""
    values, margin = _convolved(batch, dilation), dilation.distance * (LENGTH // 2)
    within = slice(margin, -margin) if batch.shape[1] > 2 * margin else slice(None)
    whole, inner = values[::2], values[1::2, :, within]
    count = dilation.thresholds.shape[1]
    shares = np.empty((len(batch), len(WEIGHTS), count), np.float32)
    for number in range(count):
        above = dilation.thresholds[:, number, None, None]
        shares[:, ::2, number] = (whole > above[::2]).mean(-1).T
        shares[:, 1::2, number] = (inner > above[1::2]).mean(-1).T
    return shares.reshape(len(batch), -1)
