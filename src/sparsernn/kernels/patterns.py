"""Pattern of a sparse matrix: where its numbers stand, as compiled code reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from sparsernn import native

Rows = tuple[int, int]


class Pattern:
    """The places of a sparse matrix, by rows and by columns.

    Arguments:
        kept: which numbers exist. [row column] bool
    Attributes:
        rows, columns: `native.module.SparseRows` of the matrix and of the turned one.
        positions: of the numbers in the flat matrix, row by row.
        turned: the order in which these numbers come column by column.
        height: number of rows.
    """

    def __init__(self, kept: Tensor):
        mask, self.height = kept.cpu().numpy(), len(kept)
        self.rows, self.columns = _by_rows(mask), _by_rows(mask.T)
        self.positions = torch.from_numpy(np.flatnonzero(mask))
        order = np.zeros(mask.shape, np.int64)
        order[mask] = np.arange(len(self.positions))
        self.turned = torch.from_numpy(order.T[mask.T])

    def values(self, weight: Tensor) -> Tensor:
        """The numbers of a weight of this pattern, row by row."""
        return weight.flatten()[self.positions]


def _by_rows(mask: np.ndarray) -> Any:
    starts = np.concatenate([[0], mask.sum(1).cumsum()]).astype(np.int32)
    return native.loaded().SparseRows(starts, np.nonzero(mask)[1].astype(np.int32), mask.shape[1])


_patterns: WeakIdKeyDictionary = WeakIdKeyDictionary()


def pattern_of(mask: Tensor, rows: Rows) -> Pattern:
    """The pattern of some rows of a mask; it is made anew when the mask has changed."""
    version, patterns = _patterns.get(mask) or (-1, {})
    if version != mask._version:
        patterns = {}
        _patterns[mask] = mask._version, patterns
    if rows not in patterns:
        patterns[rows] = Pattern(mask[rows[0] : rows[1]])
    return patterns[rows]
