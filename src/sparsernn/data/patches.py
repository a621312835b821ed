"""Series as a network reads them: some steps at once, and beside them what they are like from further away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sparsernn.data.task import IGNORED

MOST_PATCHES = 32
FLAT = 1e-6


@dataclass(frozen=True)
class Patches:
    """How a labelled series becomes the input of a network.

    Beside each channel, which is standardised with the training rows, stands a copy whose mean is 0 and whose
    deviation is 1 over the series itself, so that level and form can be told apart. Steps that a last patch lacks
    repeat the last.

    Arguments:
        steps: of a patch.
    Shapes: values [batch time channel], lengths [batch] -> [batch patch steps*2*channel], [batch].
    """

    steps: int

    @classmethod
    def for_lengths(cls, lengths: np.ndarray) -> Patches:
        """Patches of which an average series has at most `MOST_PATCHES`."""
        return cls(max(1, int(np.ceil(np.median(lengths) / MOST_PATCHES))))

    def width(self, channels: int) -> int:
        """Features of a patch."""
        return 2 * self.steps * channels

    def __call__(self, values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Padded series as padded patches."""
        batch, time, channels = values.shape
        inside = (np.arange(time) < lengths[:, None])[..., None]
        counts = lengths[:, None, None].astype(np.float32)
        mean = np.where(inside, values, 0).sum(1, keepdims=True) / counts
        centred = np.where(inside, values - mean, 0)
        deviation = np.sqrt(np.square(centred).sum(1, keepdims=True) / counts)
        both = np.concatenate([values, centred / np.where(deviation > FLAT, deviation, 1)], 2)
        patches = -(-time // self.steps)
        places = np.minimum(np.arange(patches * self.steps), lengths[:, None] - 1)
        read = both[np.arange(batch)[:, None], places].astype(np.float32)
        return read.reshape(batch, patches, self.width(channels)), -(-lengths // self.steps)


@dataclass(frozen=True)
class Frames:
    """How a series with a label for every step becomes the input of a network that tells several labels at once.

    Of each frame the network reads the channels of all its steps, and `running` figures of the one in its middle.

    Arguments:
        steps: of a frame. channels: the first features, which are not running figures.
    Shapes: values [batch time feature], lengths [batch] -> [batch frame steps*channels+others], [batch].
    """

    steps: int
    channels: int

    def width(self, features: int) -> int:
        """Features of a frame."""
        return self.steps * self.channels + features - self.channels

    def __call__(self, values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Padded series as padded frames."""
        batch, time, _ = values.shape
        frames = -(-time // self.steps)
        rows, last = np.arange(batch)[:, None], lengths[:, None] - 1
        near = values[rows, np.minimum(np.arange(frames * self.steps), last), : self.channels]
        middle = np.minimum(np.arange(frames) * self.steps + self.steps // 2, last)
        far = values[rows, middle, self.channels :]
        read = np.concatenate([near.reshape(batch, frames, -1), far], 2)
        return read, -(-lengths // self.steps)

    def targets(self, targets: np.ndarray) -> np.ndarray:
        """The targets of the steps by frames. Shapes: [batch time] -> [batch frame steps]."""
        batch, time = targets.shape
        frames = -(-time // self.steps)
        padded = np.pad(targets, ((0, 0), (0, frames * self.steps - time)), constant_values=IGNORED)
        return padded.reshape(batch, frames, self.steps)


def running(values: np.ndarray, windows: tuple[int, ...]) -> np.ndarray:
    """Every step of one series, and means and deviations over the steps up to it and over those from it on.

    Arguments:
        windows: how many steps these are, fewer at both ends.
    Shapes: [time channel] -> [time (1+4*windows)*channel] float32.
    """
    return np.concatenate([values, *_running(values, windows)], 1).astype(np.float32)


def _running(values: np.ndarray, windows: tuple[int, ...]) -> Iterator[np.ndarray]:
    padded = np.pad(values.astype(np.float64), ((1, 0), (0, 0)))
    sums, squares = np.cumsum(padded, 0), np.cumsum(padded**2, 0)
    time = np.arange(len(values))
    for window in windows:
        for first, end in ((time - window + 1, time + 1), (time, time + window)):
            first, end = np.maximum(first, 0), np.minimum(end, len(values))
            counts = (end - first)[:, None]
            mean = (sums[end] - sums[first]) / counts
            yield mean
            yield np.sqrt(np.maximum((squares[end] - squares[first]) / counts - mean**2, 0))


WIDEST, WINDOWS, NARROWER = 2, 5, 3
LABEL_CHANGES, MOST_STEPS = 16, 8


def windows_for(lengths: np.ndarray) -> tuple[int, ...]:
    """Windows from half an average series downwards, each a third of the one before."""
    sizes = {int(np.median(lengths) / WIDEST / NARROWER**number) for number in range(WINDOWS)}
    return tuple(sorted(size for size in sizes if size > 1))


def frame_steps(labels: np.ndarray, offsets: np.ndarray) -> int:
    """Steps of a frame, few beside how long a label lasts. Shapes: labels [steps], of series from each offset on."""
    changes = np.flatnonzero(np.diff(labels)) + 1
    lasting = np.diff(np.union1d(changes, offsets))
    return int(np.clip(np.median(lasting) // LABEL_CHANGES, 1, MOST_STEPS))
