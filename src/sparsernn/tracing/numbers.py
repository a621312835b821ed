"""Unit numbers as they stand in the shadow of a tensor.

A number u is unit u, which is zero here whenever it is always zero itself; -u is unit u after something that turns
zeros into another number. OUTSIDE is no unit; NOUGHT is a zero that the forward made itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsernn.structure.axes import NOUGHT, OUTSIDE


def distinct(*shadows: Tensor) -> list[Tensor]:
    """Shadows of one shape, each dimension along which all of them only repeat themselves cut to its first place."""
    for place in range(shadows[0].dim()):
        if shadows[0].shape[place] and all(shadow.stride(place) == 0 for shadow in shadows):
            shadows = tuple(shadow.narrow(place, 0, 1) for shadow in shadows)
    return list(shadows)


def collapsed(shadow: Tensor) -> Tensor:
    """A shadow, each dimension along which its numbers do not change, but for zeros of any unit, cut to one place."""
    (shadow,) = distinct(shadow)
    lowest = torch.iinfo(shadow.dtype).min
    for place in range(shadow.dim()):
        if shadow.shape[place] < 2:
            continue
        noughts = shadow == NOUGHT
        one = torch.where(noughts, lowest, shadow).amax(place, keepdim=True)
        if bool(((shadow == one) | noughts).all()):
            shadow = torch.where(one == lowest, NOUGHT, one)
    return shadow


def varying(shadow: Tensor) -> list[int]:
    """The dimensions along which the numbers of a collapsed shadow change."""
    return [place for place, size in enumerate(shadow.shape) if size > 1]


def are_units(shadow: Tensor) -> Tensor:
    """Where units stand, and nothing else."""
    return (shadow != OUTSIDE) & (shadow != NOUGHT)


def units_in(shadow: Tensor) -> set[int]:
    """Every unit that stands in a shadow."""
    numbers = distinct(shadow)[0].unique()
    return set(numbers[are_units(numbers)].abs().tolist())


def shifted(shadow: Tensor) -> Tensor:
    """The shadow of a tensor after something that turns zeros into another number."""
    return torch.where(shadow == NOUGHT, OUTSIDE, -shadow.abs())


def at_rest(shadow: Tensor) -> Tensor:
    """The shadow of zeros with the widths of a tensor."""
    return shadow.abs()


def added(numbers: Tensor) -> Tensor:
    """Numbers of sums along the last dimension: zero where all parts are."""
    noughts = numbers == NOUGHT
    units = torch.where(noughts, OUTSIDE, numbers.abs()).amax(-1)
    moved = ((numbers <= OUTSIDE) & ~noughts).any(-1)
    return torch.where(noughts.all(-1), NOUGHT, torch.where(moved, -units, units))


def multiplied(numbers: Tensor) -> Tensor:
    """Numbers of products along the last dimension: zero where one factor is."""
    noughts = numbers == NOUGHT
    units = torch.where(noughts, OUTSIDE, numbers.abs()).amax(-1)
    at_zero = (numbers > OUTSIDE).any(-1)
    zeros = noughts.any(-1) & (units == OUTSIDE)
    return torch.where(zeros, NOUGHT, torch.where(at_zero, units, -units))


def without_padding(shadow: Tensor) -> Tensor:
    """Padding in time belongs to the unit in whose column it stands; padding that adds columns stays outside."""
    lowest = torch.iinfo(shadow.dtype).min
    columns = torch.where(shadow == OUTSIDE, lowest, shadow).reshape(-1, shadow.shape[-1]).amax(0)
    columns = torch.where(columns == lowest, OUTSIDE, columns)
    return columns.expand(shadow.shape) if bool(((shadow == columns) | (shadow == OUTSIDE)).all()) else shadow


def aligned(shadow: Tensor, labels: Sequence[str], order: Sequence[str]) -> Tensor:
    """A shadow with a dimension for each label of `order`, of size 1 where it has none."""
    shadow = shadow.permute([labels.index(label) for label in order if label in labels])
    for place, label in enumerate(order):
        if label not in labels:
            shadow = shadow.unsqueeze(place)
    return shadow
