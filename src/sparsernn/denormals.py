"""Denormal numbers: tiny values that some processors handle a hundred times slower than the rest.

A sparse recurrent network lets gradients vanish through them, so training can be several times slower
than it need be. Flushing them to zero is a setting of the thread; new threads inherit it, so it must be
set before the first tensor operation that runs in parallel.
"""

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
