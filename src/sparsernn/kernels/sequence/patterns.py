"""Where the numbers of sparse weights stand, as compiled code reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from sparsernn import native


class Pattern:
    """The places of a sparse matrix, by rows and by columns.

    Arguments:
        kept: which numbers exist. [row column] bool
    Attributes:
        rows, columns: `native.module.SparseRows` of the matrix and of the turned one.
        positions: of the numbers in the flat matrix, row by row.
        turned: the order in which these numbers come column by column.
    """

    def __init__(self, kept: Tensor):
        mask = kept.cpu().numpy()
        self.rows, self.columns = _by_rows(mask), _by_rows(mask.T)
        self.positions = torch.from_numpy(np.flatnonzero(mask))
        order = np.zeros(mask.shape, np.int64)
        order[mask] = np.arange(len(self.positions))
        self.turned = torch.from_numpy(order.T[mask.T])

    def values(self, weight: Tensor) -> Tensor:
        """The numbers of a weight of this pattern, row by row."""
        return weight.detach().flatten()[self.positions]


def _by_rows(mask: np.ndarray) -> Any:
    starts = np.concatenate([[0], mask.sum(1).cumsum()]).astype(np.int32)
    return native.module.SparseRows(starts, np.nonzero(mask)[1].astype(np.int32), mask.shape[1])


_known: WeakIdKeyDictionary = WeakIdKeyDictionary()


def patterns_of(kept: Tensor, parts: tuple[int, ...]) -> list[Pattern]:
    """The patterns of a mask's parts of so many rows each; they are found anew when the mask has changed."""
    known = _known.get(kept)
    if known is None or known[0] != (kept._version, parts):
        known = (kept._version, parts), [Pattern(part) for part in kept.split(list(parts))]
        _known[kept] = known
    return known[1]
