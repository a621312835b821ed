"""Pattern of a sparse weight: which of its numbers exist, and where they stand, as compiled code reads it.

A mask tells, or it is read off the weight; both are remembered until they change.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from sparsernn import native

Rows = tuple[int, int]


@dataclass
class _Share:
    """The share of a mask that is set, and the version of the mask then."""

    version: int
    share: float


_readings: WeakIdKeyDictionary = WeakIdKeyDictionary()
_shares: WeakIdKeyDictionary = WeakIdKeyDictionary()


def mask_of(weight: Tensor, masks: Mapping[str, Tensor] | None, local: str, anew: bool = True) -> Tensor | None:
    """Which numbers of a weight exist. None: all, or nothing is known.

    Where nobody hands in masks, zeros of a weight that needs no gradient are taken for absent; what needs one may grow.
    """
    if torch.compiler.is_compiling():
        return None
    if masks is not None:
        return masks.get(local)
    if weight.requires_grad and torch.is_grad_enabled():
        return None
    return read_off(weight, anew)


def read_off(weight: Tensor, anew: bool = True) -> Tensor | None:
    """Where a weight is not zero; the same tensor again until that changes. None for what cannot be remembered.

    Arguments:
        anew: read the weight again. What is written through `.data` or a numpy array leaves no trace in its version, so
            what multiplies by a pattern asks for this; what only chooses a kernel need not.
    """
    if weight.is_inference() or weight.is_meta:
        return None
    version, before = _readings.get(weight) or (-1, None)
    if not anew and before is not None and version == weight._version:
        return before
    with torch.inference_mode(False):  # a mask made in inference mode could not be remembered
        mask = weight.detach() != 0
    if before is not None and before.device == mask.device and torch.equal(mask, before):
        mask = before
    _readings[weight] = weight._version, mask
    return mask


def share(mask: Tensor | None) -> float:
    """The share of a mask that is set; 1 without a mask."""
    if mask is None or torch.compiler.is_compiling() or not mask.numel():
        return 1.0
    counted = _shares.get(mask)
    if counted is None or counted.version != mask._version:
        counted = _shares[mask] = _Share(mask._version, float(mask.float().mean()))
    return counted.share


def reads_state(text: str) -> bool:
    """Whether a weight of this layout multiplies a state."""
    return text.partition("<- ")[2] not in ("", "input", "self")


def all_finite(*tensors: Tensor) -> bool:
    """Whether all numbers are finite, and not so large that their sum is not."""
    return all(math.isfinite(tensor.detach().sum().item()) for tensor in tensors)


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
