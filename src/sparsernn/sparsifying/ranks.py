"""What the processes of a data-parallel training do together; nothing where there is one."""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed


def are_several() -> bool:
    """Whether this process is one of several."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def agree_(flags: Tensor) -> Tensor:
    """Every rank takes the flags of rank 0, in place."""
    if are_several():
        distributed.broadcast(flags.view(torch.uint8), 0)
    return flags


@torch.no_grad()
def average_(tensors: Sequence[Tensor]) -> None:
    """Every rank takes the mean over all ranks, in place."""
    if are_several():
        for tensor in tensors:
            distributed.all_reduce(tensor)
            tensor.div_(distributed.get_world_size())
