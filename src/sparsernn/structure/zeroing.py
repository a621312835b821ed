"""Exact zeros at absent weights, written at every step and therefore fast, without memory of their own."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sparsernn.errors import UserError

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
MINUS_INFINITY = {torch.float32: -0x800000, torch.float64: -0x10000000000000}  # its bits, as a whole number
CHUNK = 1 << 17  # numbers at a time, so that what is made of the mask stays in the processor's cache


@torch.no_grad()
def zero_absent_(tensor: Tensor, kept: Tensor) -> None:
    """Clear, in place, what has no weight, NaN and infinity included: the weights themselves, their gradients.

    On a CPU the bits of a number are multiplied by 1 or 0, several times as fast as a masked fill.

    Shapes: any; kept: the same, bool. Of a sparse tensor (an embedding's gradient) the entries that it has are cleared.
    Raises: UserError if the shapes differ.
    """
    if tensor.shape != kept.shape:
        raise UserError(
            f"a weight has the shape {tuple(tensor.shape)}, its mask {tuple(kept.shape)}",
            "weights that keep their shapes as long as masks lie over them",
            "call finalize() or detach() before their shapes change",
        )
    if tensor.is_sparse:
        tensor._values().masked_fill_(~kept.to(tensor.device)[tuple(tensor._indices())], 0)
        return
    integer = INTEGERS.get(tensor.element_size())
    if tensor.device.type != "cpu" or tensor.is_complex() or integer is None:
        tensor.masked_fill_(~kept.to(tensor.device), 0)
        return
    for bits, flags in _chunks(tensor.view(integer), kept.to(tensor.device)):
        bits.mul_(flags)


@torch.no_grad()
def count_alive(tensor: Tensor, kept: Tensor) -> int:
    """How many numbers, NaN and infinity included, are not zero where there is no weight. Shapes: any; kept: the same.

    On a CPU numpy compares, in an eighth of the time of a masked fill.
    """
    if tensor.device.type == "cpu" and tensor.dtype in MINUS_INFINITY:
        return int(np.count_nonzero(np.greater(tensor.detach().numpy() != 0, kept.cpu().numpy())))
    return int(torch.count_nonzero(tensor.masked_fill(kept.to(tensor.device), 0)))


@torch.no_grad()
def rule_out_(scores: Tensor, among: Tensor) -> Tensor:
    """Set, in place, the scores of all that is not among the candidates to minus infinity. Shapes: [n], [n] bool."""
    bits = MINUS_INFINITY.get(scores.dtype)
    if scores.device.type != "cpu" or bits is None:
        return scores.masked_fill_(~among, -torch.inf)
    for part, flags in _chunks(scores.view(INTEGERS[scores.element_size()]), among):
        part.mul_(flags).sub_(flags - 1, alpha=bits)
    return scores


def _chunks(numbers: Tensor, flags: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers side by side with 1 or 0 of one byte."""
    flags = flags.view(torch.int8)
    if not (numbers.is_contiguous() and flags.is_contiguous()):
        return iter([(numbers, flags)])
    return zip(numbers.view(-1).split(CHUNK), flags.view(-1).split(CHUNK), strict=True)
