"""Denormal numbers: tiny values that some processors handle a hundred times slower than the rest.

A sparse recurrent network lets gradients vanish through them, so training can be several times slower
than it need be. Flushing them to zero is a setting of the thread; new threads inherit it, so it must be
set before the first tensor operation that runs in parallel.
"""

import platform
import warnings
from functools import cache

import torch


def set_flush_denormal(flush: bool = True) -> bool:
    """Treat denormal numbers as zero from now on; call it before the first tensor operation.

    Returns False where this processor cannot do so.
    """
    return torch.set_flush_denormal(flush)


def is_flushing_denormal() -> bool:
    """True if this thread turns denormal results into zero."""
    smallest = torch.tensor(torch.finfo(torch.float32).tiny)
    return bool((smallest * 0.5 == 0).item())


@cache
def warn_once_if_denormals_are_slow() -> None:
    """Warn once a process where denormal numbers are computed in full on a processor that is slow at it."""
    if platform.machine().lower() in {"x86_64", "amd64", "i686"} and not is_flushing_denormal():
        warnings.warn(
            "denormal numbers are not flushed to zero: training a sparse recurrent network on this processor can be "
            "several times slower. Call sparsernn.set_flush_denormal() before the first tensor operation.",
            stacklevel=3,
        )
