"""How masks move: what every event notes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsernn.runtime.formats import pack_mask, unpack_mask
from sparsernn.structure.choice import count
from sparsernn.structure.masks import Masks


def pack(kept: Tensor) -> Tensor:
    """A mask in an eighth of its memory. Shapes: any -> [bytes] uint8."""
    return torch.from_numpy(pack_mask(kept.cpu().numpy()))


def unpack(bits: Tensor, like: Tensor) -> Tensor:
    """The inverse of `pack`, in the shape and on the device of a mask."""
    return torch.from_numpy(unpack_mask(bits.cpu().numpy(), tuple(like.shape))).to(like.device)


def describe(masks: Masks, first: Mapping[str, Tensor]) -> dict[str, object]:
    """Where weights exist now, as JSON values.

    Arguments:
        first: parameter name -> its first mask, packed; empty where a method does not begin with one.
    Returns:
        "sparsity": the fraction of absent weights over the selected tensors;
        "density": parameter name -> fraction of weights kept;
        "gate_density": parameter name -> gate -> fraction of weights kept, for tensors that have gates;
        "overlap": fraction of the weights of the first masks that exist now; left out where there are none.
    """
    sizes = {name: kept.numel() for name, kept in masks.kept.items()}
    counts = {name: count(kept) for name, kept in masks.kept.items()}
    total = sum(sizes[name] for name in masks.selected)
    state: dict[str, object] = {
        "sparsity": 1 - sum(counts[name] for name in masks.selected) / total if total else 0.0,
        "density": {name: counts[name] / max(sizes[name], 1) for name in sizes},
        "gate_density": masks.by_gate(),
    }
    if first:
        began = still = 0
        for name, bits in first.items():
            was = unpack(bits, masks.kept[name])
            began += count(was)
            still += count(was.logical_and_(masks.kept[name]))
        state["overlap"] = still / max(began, 1)
    return state
