"""What random kernels say of a series, beside what recurrent layers do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sparsernn.runtime.patterns import DamagedFile
from sparsernn.runtime.random_kernels import SHAPES, RandomKernels

Array = np.ndarray
NAMES = ("distances", "shapes", "channels", "owners", "thresholds", "weights", "bias")
FARTHEST = 1 << 15


def series_of(x: Array, lengths: Array, steps: int) -> list[Array]:
    """The series in patches. Shapes: x [batch patch feature], lengths [batch] of patches -> [time channel] each."""
    channels = x.shape[2] // (2 * steps)
    whole = x.reshape(len(x), -1, 2 * channels)[:, :, :channels]
    return [one[: length * steps] for one, length in zip(whole, lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class KernelHead:
    """Scores of classes by a linear model on random-kernel features.

    Arguments:
        kernels: they read the channels of patches as `data.patches.Patches` makes them, without the standardised copy.
        weights: those of a feature are one row, which has one scale in a file of 8 bits. [feature class]
        bias: [class]. steps: of a patch.
    """

    kernels: RandomKernels
    weights: Array
    bias: Array
    steps: int

    @property
    def inputs(self) -> int:
        """Features of a patch."""
        return 2 * self.steps * self.kernels.channels.shape[1]

    def scores(self, x: Array, lengths: Array) -> Array:
        """Shapes: x [batch patch feature], lengths [batch] of patches -> [batch class] float32."""
        return self.kernels.features(series_of(x, lengths, self.steps)) @ self.weights + self.bias

    def tensors(self) -> dict[str, Array]:
        """Its parts by name, in the types that a file has."""
        one = self.kernels
        narrow = {"distances": one.distances, "shapes": one.shapes, "owners": one.owners}
        return {
            **{f"kernels.{name}": array.astype(np.int16) for name, array in narrow.items()},
            "kernels.channels": one.channels.astype(np.int8),
            "kernels.thresholds": one.thresholds.astype(np.float32),
            "kernels.weights": self.weights.astype(np.float32),
            "kernels.bias": self.bias.astype(np.float32),
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Array], steps: object) -> KernelHead | None:
        """The head with these parts; None without any. Raises: DamagedFile unless they fit each other."""
        parts = {name: tensors[f"kernels.{name}"] for name in NAMES if f"kernels.{name}" in tensors}
        if not parts:
            return None
        if len(parts) < len(NAMES) or type(steps) is not int or not 1 <= steps <= FARTHEST:
            raise DamagedFile("parts of its kernels are missing")
        distances, shapes, channels, owners, thresholds, weights, bias = (parts[name] for name in NAMES)
        count, features = len(distances), len(owners)
        fits = (
            all(one.ndim == 1 for one in (distances, shapes, owners, thresholds, bias))
            and channels.ndim == 2
            and len(shapes) == len(channels) == count > 0
            and channels.shape[1] > 0
            and len(thresholds) == features > 0
            and weights.shape == (features, len(bias))
        )
        if not fits:
            raise DamagedFile("its kernels do not fit each other")
        for one, lowest, highest in ((distances, 1, FARTHEST), (shapes, 0, SHAPES - 1), (owners, 0, count - 1)):
            if one.min() < lowest or one.max() > highest:
                raise DamagedFile("its kernels are none of those that are drawn")
        kernels = RandomKernels(distances.astype(int), shapes.astype(int), channels, owners.astype(int), thresholds)
        return cls(kernels, weights, bias, steps)
