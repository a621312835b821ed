"""What all kernels of the compiled extension refuse."""

from __future__ import annotations

from sparsernn import native
from sparsernn.kernels.registry import Problem

DTYPES = ("float32", "float64")


def refuses(problem: Problem) -> str | None:
    """Why the extension cannot take a problem of its operations, or None."""
    if native.module is None:
        return native.why_absent()
    if problem.device != "cpu":
        return f"it runs on the cpu, not on {problem.device}"
    if problem.dtype not in DTYPES:
        return f"it computes in {' or '.join(DTYPES)}, not in {problem.dtype}"
    return None
