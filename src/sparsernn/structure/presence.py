"""Which weights of a model in training exist, for kernels that compute only with those.

A `Sparsifier` says so while it keeps absent weights at zero; afterwards, or without one, nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from sparsernn.structure.masks import Masks


@dataclass
class _Followed:
    masks: Masks
    name: str
    mask: Tensor | None = None
    version: int = -1
    share: float = 1.0


_followed: WeakIdKeyDictionary = WeakIdKeyDictionary()


def follow(weight: Tensor, masks: Masks, name: str) -> None:
    """From now on `masks.kept[name]`, whatever it will be, says which numbers of a weight exist."""
    _followed[weight] = _Followed(masks, name)


def forget(weight: Tensor) -> None:
    """The weight is like any other."""
    _followed.pop(weight, None)


def kept(weight: Tensor) -> Tensor | None:
    """The mask of a weight that is followed, of the weight's shape; None where nothing is known."""
    found = None if torch.compiler.is_compiling() else _followed.get(weight)
    return None if found is None else found.masks.kept.get(found.name)


def density(weight: Tensor) -> float:
    """The share of a weight's numbers that exist; 1 where nothing is known."""
    mask = kept(weight)
    if mask is None:
        return 1.0
    found = _followed[weight]
    if found.mask is not mask or found.version != mask._version:
        found.mask, found.version, found.share = mask, mask._version, float(mask.float().mean())
    return found.share
