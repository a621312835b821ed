"""What all kernels of the compiled extension refuse."""

import torch
from torch import Tensor

from sparsernn import native

DTYPES = (torch.float32, torch.float64)


def refuses(like: Tensor) -> str | None:
    """Why the extension cannot take a problem with tensors like this one, or None."""
    if native.module is None:
        return native.why_absent()
    if like.device.type != "cpu":
        return f"it runs on the cpu, not on {like.device.type}"
    if like.dtype not in DTYPES:
        return f"it computes in float32 or float64, not in {str(like.dtype).removeprefix('torch.')}"
    return None
