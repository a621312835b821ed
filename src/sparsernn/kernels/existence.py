"""Which numbers of a weight exist: told by a mask, or read off the weight and remembered until it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary


@dataclass
class _Reading:
    """The mask that was read off a weight, and the version of the weight then."""

    version: int
    mask: Tensor


@dataclass
class _Share:
    """The share of a mask that is set, and the version of the mask then."""

    version: int
    share: float


_readings: WeakIdKeyDictionary = WeakIdKeyDictionary()
_shares: WeakIdKeyDictionary = WeakIdKeyDictionary()


def mask_of(weight: Tensor, masks: Mapping[str, Tensor] | None, local: str) -> Tensor | None:
    """Which numbers of a weight exist. None: all, or nothing is known.

    Where nobody hands in masks, zeros of a weight that needs no gradient are taken for absent; what needs one may grow.
    """
    if torch.compiler.is_compiling():
        return None
    if masks is not None:
        return masks.get(local)
    if weight.requires_grad and torch.is_grad_enabled():
        return None
    return read_off(weight)


def read_off(weight: Tensor) -> Tensor | None:
    """Where a weight is not zero; the same tensor again until that changes. None for what cannot be remembered."""
    if weight.is_inference() or weight.is_meta:
        return None
    reading = _readings.get(weight)
    if reading is None or reading.version != weight._version:
        with torch.inference_mode(False):
            mask = weight.detach() != 0
        if reading is not None and torch.equal(mask, reading.mask):
            mask = reading.mask
        reading = _readings[weight] = _Reading(weight._version, mask)
    return reading.mask


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
