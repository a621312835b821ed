"""Handwritten digits of 28x28 pixels, read as a sequence."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sparsernn.data.files import find_file, open_bytes
from sparsernn.data.splits import TensorSplit
from sparsernn.data.task import Batch, Folder, Loaded, Task
from sparsernn.errors import UserError

DIVISIONS = {"standard": (55_000, 5_000, 10_000), "one_shot": (63_000, 7_000, 7_000)}


@dataclass(frozen=True)
class SequentialMnist(Task):
    """MNIST: 70,000 digits of 28x28 pixels, row by row, pixel by pixel or with the pixels permuted.

    Division "standard": the first 55,000 training digits train, the last 5,000 validate, the 10,000 test digits test.
    Division "one_shot": 63,000 (all training digits and the first 3,000 test digits) train and the last 7,000 test
    digits are validation and test at once, as in the paper on one-shot pruning by the recurrent Jacobian.

    Arguments:
        order: "row" (28 steps of 28), "pixel" (784 steps of 1) or "permuted" (pixels in one fixed random order).
        division: "standard" or "one_shot".
        scale: pixels 0-255 are divided by this; 2550 is used by some code.
        permutation_seed: of the order of the pixels.
    Source: LeCun, Cortes, Burges: MNIST, the four original idx files.
    """

    origin = "MNIST, the four original idx files"
    files = {
        "mnist/train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "mnist/train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "mnist/t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "mnist/t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
    choices = {"order": ("row", "pixel", "permuted"), "division": tuple(DIVISIONS)}

    order: str = "row"
    division: str = "standard"
    scale: float = 255
    permutation_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale <= 0:
            raise UserError(f"scale is {self.scale}", "a number above 0", "give 255 for inputs between 0 and 1")

    def load(self, folder: Folder = None) -> Loaded:
        """Read the four idx files into memory as bytes; pixels become numbers batch by batch."""
        images, labels = (
            np.concatenate(
                [_read_idx(find_file(self, f"mnist/{part}-{kind}-ubyte.gz", folder)) for part in ("train", "t10k")]
            )
            for kind in ("images-idx3", "labels-idx1")
        )
        inputs, targets = self._arranged(torch.from_numpy(images)), torch.from_numpy(labels.astype(np.int64))
        train, valid, test = self._bounds(len(inputs))
        parts = (_ScaledSplit(inputs[rows], targets[rows], self.scale) for rows in (train, valid, test))
        note = "validation and test digits are the same" if self.division == "one_shot" else ""
        loaded = Loaded.of_classes(parts, tuple("0123456789"), inputs=inputs.shape[2], note=note)
        return replace(loaded, scored="valid") if note else loaded

    def _arranged(self, images: Tensor) -> Tensor:
        if self.order == "row":
            return images
        pixels = images.reshape(len(images), -1, 1)
        if self.order == "pixel":
            return pixels
        return pixels[:, torch.from_numpy(np.random.RandomState(self.permutation_seed).permutation(pixels.shape[1]))]

    def _bounds(self, count: int) -> tuple[slice, slice, slice]:
        train, valid, test = DIVISIONS[self.division]
        if count != 70_000:
            train, valid, test = count * train // 70_000, count * valid // 70_000, count * test // 70_000
        if self.division == "one_shot":
            return slice(train), slice(train, None), slice(train, None)
        return slice(train), slice(train, train + valid), slice(train + valid, None)


@dataclass(frozen=True)
class _ScaledSplit(TensorSplit):
    """Pixels kept as bytes and scaled when they are read."""

    scale: float = 255

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        for inputs, targets, _ in super().batches(size, shuffle_seed=shuffle_seed):
            yield Batch(inputs.float() / self.scale, targets)


def _read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the idx format: a header with the sizes, then the values."""
    with open_bytes(path) as stream:
        content = stream.read()
    dimensions = content[3] if len(content) > 4 and content[:3] == b"\0\0\x08" else 0
    shape = tuple(np.frombuffer(content, ">i4", dimensions, 4)) if len(content) >= 4 + 4 * dimensions else ()
    if not dimensions or len(content) != 4 + 4 * dimensions + int(np.prod(shape)):
        raise UserError(f"The file {path} is not a complete idx file", "the original MNIST file", "get the file again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
