"""Handwritten digits of 8x8 pixels, read as a sequence; they come with scikit-learn."""

from dataclasses import dataclass

import numpy as np
import torch

from sparsernn.data.cuts import cut
from sparsernn.data.splits import TensorSplit
from sparsernn.data.task import Folder, Loaded, Task
from sparsernn.errors import needs_package

ROWS = (1197, 200, 400)


@dataclass(frozen=True)
class SequentialDigits(Task):
    """1,797 digits of 8x8 pixels, row by row (8 steps of 8) or pixel by pixel (64 steps of 1).

    Pixels 0-16 are scaled to 0-1. The split is fixed: one shuffle, then 1,197 / 200 / 400 digits.

    Arguments:
        order: "row" or "pixel".
    Source: `sklearn.datasets.load_digits` (UCI optical recognition of handwritten digits, its test part).
    """

    origin = "scikit-learn, load_digits"
    choices = {"order": ("row", "pixel")}

    order: str = "row"

    def load(self, folder: Folder = None) -> Loaded:
        """Read the digits out of scikit-learn; `folder` is not needed."""
        with needs_package("The task sequential_digits could not be loaded", "scikit-learn, which carries the digits"):
            from sklearn.datasets import load_digits
        pixels, labels = load_digits(return_X_y=True)
        images = torch.from_numpy((pixels.reshape(-1, 8, 8) / 16).astype(np.float32))  # [examples 8 8]
        inputs = images if self.order == "row" else images.reshape(len(images), 64, 1)
        targets = torch.from_numpy(labels.astype(np.int64))
        parts = (TensorSplit(inputs[rows], targets[rows]) for rows in cut(len(images), ROWS))
        return Loaded.of_classes(parts, tuple("0123456789"), inputs=inputs.shape[2])
