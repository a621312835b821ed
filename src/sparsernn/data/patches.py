"""Series as a network reads them: some steps at once, each channel beside a copy standardised over its series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_PATCHES = 32
FLAT = 1e-6


@dataclass(frozen=True)
class Patches:
    """How a labelled series becomes the input of a network.

    Beside each channel, which is standardised with the training rows, stands a copy whose mean is 0 and whose deviation
    is 1 over the series itself, so that level and form can be told apart. Steps that a last patch lacks repeat the last.

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
