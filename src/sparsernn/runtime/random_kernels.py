"""Features of a series without training: how often each of many fixed convolutions is above a threshold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LENGTH, ABOVE, SHAPES = 9, 3, 84
WEIGHTS = np.full((SHAPES, LENGTH), -1, np.float32)
"""The shapes of kernels: three of nine weights are 2, the others -1. [shape weight]"""
for _number, _places in enumerate(itertools.combinations(range(LENGTH), ABOVE)):
    WEIGHTS[_number, list(_places)] = 2
MOST_DILATIONS, MOST_CHANNELS = 32, 9
GOLDEN_RATIO = (5**0.5 + 1) / 2
MOST_NUMBERS = 1 << 22
"""Numbers that are held at a time."""

Array = np.ndarray


@dataclass(frozen=True)
class RandomKernels:
    """Kernels and thresholds that were drawn for some series.

    A feature is the share of a series' steps at which a kernel's convolution is above a threshold. Kernels of even
    shapes read zeros beyond both ends, the others stay within the series where it is long enough.

    Arguments:
        distances: steps from one value that a kernel reads to the next. [kernel]
        shapes: rows of `WEIGHTS`. [kernel]
        channels: which channels each kernel adds up, as 0 and 1. [kernel channel]
        owners: the kernel of each feature. [feature]
        thresholds: [feature] float32.
    Source: Dempster, Schmidt, Webb 2021, MiniRocket.
    Deviations: thresholds are quantiles over one series for each dilation instead of one for each kernel.
    """

    distances: Array
    shapes: Array
    channels: Array
    owners: Array
    thresholds: Array

    @classmethod
    def drawn(cls, series: Sequence[Array], features: int, seed: int = 0) -> RandomKernels:
        """Kernels for series like these.

        Arguments:
            features: about how many; 84 and more.
        Shapes: series: [time channel] each, of any lengths.
        """
        chance = np.random.RandomState(seed)
        longest, channels = max(map(len, series)), series[0].shape[1]
        quantile, parts = itertools.count(1), []
        for distance, count in _distances(longest, max(1, features // SHAPES)):
            masks = np.stack([_channels(chance, channels) for _ in range(SHAPES)])
            same = np.full(SHAPES, distance)
            part = cls(same, np.arange(SHAPES), masks, np.zeros(0, int), np.zeros(0, np.float32))
            values = part._convolved(series[chance.randint(len(series))][None], np.arange(SHAPES))[:, 0]
            shares = np.array([next(quantile) * GOLDEN_RATIO % 1 for _ in range(count * SHAPES)])
            rows = zip(values, shares.reshape(SHAPES, count), strict=True)
            thresholds = np.concatenate([np.quantile(row, share) for row, share in rows])
            parts.append((same, np.arange(SHAPES), masks, np.repeat(np.arange(SHAPES), count), thresholds))
        distances, shapes, masks, owners, thresholds = zip(*parts, strict=True)
        owners = [one + SHAPES * number for number, one in enumerate(owners)]
        limits = np.concatenate(thresholds).astype(np.float32)
        return cls(
            np.concatenate(distances), np.concatenate(shapes), np.concatenate(masks), np.concatenate(owners), limits
        )

    def only(self, kept: Array) -> RandomKernels:
        """Some of the features alone. kept: [feature] of booleans"""
        kernels, owners = np.unique(self.owners[kept], return_inverse=True)
        some = (self.distances[kernels], self.shapes[kernels], self.channels[kernels])
        return RandomKernels(*some, owners, self.thresholds[kept])

    def features(self, series: Sequence[Array]) -> Array:
        """The features of each series. Shapes: [time channel] each, of any lengths -> [series feature] float32."""
        lengths = np.array([len(one) for one in series])
        results = np.zeros((len(series), len(self.owners)), np.float32)
        most = max(map(len, self._by_distance().values()), default=1)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            step = max(1, MOST_NUMBERS // (most * int(length)))
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                results[some] = self._shares(np.stack([series[row] for row in some]).astype(np.float32, copy=False))
        return results

    def _by_distance(self) -> dict[int, Array]:
        """The features of the kernels of each distance."""
        distances = self.distances[self.owners]
        return {int(distance): np.flatnonzero(distances == distance) for distance in np.unique(distances)}

    def _shares(self, batch: Array) -> Array:
        """Shapes: [series time channel] -> [series feature]."""
        shares = np.empty((len(batch), len(self.owners)), np.float32)
        for distance, features in self._by_distance().items():
            kernels, owners = np.unique(self.owners[features], return_inverse=True)
            values, margin = self._convolved(batch, kernels), distance * (LENGTH // 2)
            padded = (self.shapes[kernels] % 2 == 0)[owners] | (batch.shape[1] <= 2 * margin)
            for places, within in ((padded, slice(None)), (~padded, slice(margin, -margin))):
                if places.any():
                    above = self.thresholds[features[places], None, None]
                    shares[:, features[places]] = (values[owners[places], :, within] > above).mean(-1).T
        return shares

    def _convolved(self, batch: Array, kernels: Array) -> Array:
        """Kernels of one distance over series of one length, zeros beyond their ends. [kernel series time]"""
        distance = int(self.distances[kernels[0]])
        margin = distance * (LENGTH // 2)
        count, time, _ = batch.shape
        padded = np.pad(batch, ((0, 0), (margin, margin), (0, 0)))
        starts = range(0, 2 * margin + 1, distance)
        shifted = np.stack([padded[:, start : start + time] for start in starts])  # [weight series time channel]
        columns = shifted.transpose(0, 3, 1, 2).reshape(-1, count * time)
        weights = WEIGHTS[self.shapes[kernels], :, None] * self.channels[kernels, None]
        return (weights.reshape(len(kernels), -1).astype(np.float32) @ columns).reshape(len(kernels), count, time)


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
