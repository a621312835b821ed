"""Which piece of code runs a layer: every kernel states what it refuses, and the first that does not is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from sparsernn import folders
from sparsernn.errors import UserError


@dataclass(frozen=True)
class Problem:
    """What is to be computed, as far as choosing needs to know.

    Attributes:
        op: "sequence": one recurrent layer in one direction over a whole sequence; "scan": the recurrence of one
            layer of weighted automata over a whole sequence.
        fused: the name of the same layer in one piece: torch's "LSTM", "GRU", "RNN_TANH", "RNN_RELU", or that of a
            kernel of our own; "" if it has none.
        has_lengths: whether sequences end at different times.
        device: "cpu", "cuda", ...
        needs_second_derivative: whether the result will be differentiated twice.
        dtype: "float32", "float64", ...
        density: the share of the weights that read the state which exist, as far as it is known.
    """

    op: str
    fused: str = ""
    has_lengths: bool = False
    device: str = "cpu"
    needs_second_derivative: bool = False
    dtype: str = "float32"
    density: float = 1.0


@dataclass(frozen=True)
class Kernel:
    """One way to compute an op.

    Attributes:
        op: the op it computes.
        provider: "reference", "torch_fused", ...
        rank: smaller is tried first.
        refuses: a sentence why it cannot take a problem, or None.
        run: the function; its arguments are those of the op's reference.
    """

    op: str
    provider: str
    rank: int
    refuses: Callable[[Problem], str | None]
    run: Callable[..., Any]
    source: str = ""


_forced: list[str] = []


def candidates(problem: Problem) -> list[tuple[Kernel, str | None]]:
    """Every kernel of the op in the order tried, with its refusal or None."""
    return [(kernel, kernel.refuses(problem)) for kernel in kernels_of(problem.op)]


@cache
def kernels_of(op: str) -> tuple[Kernel, ...]:
    """Every kernel of an op in the order tried; the folder is read once, as each forward asks."""
    found = [kernel for kernel in folders.entries("kernels").values() if kernel.op == op]
    return tuple(sorted(found, key=lambda kernel: (kernel.rank, kernel.provider)))


def choose(problem: Problem) -> Kernel:
    """The first kernel that does not refuse; within `using`, the one asked for.

    Raises: UserError if the one asked for refuses, or all do.
    """
    found = candidates(problem)
    if _forced:
        found = [(kernel, refusal) for kernel, refusal in found if kernel.provider == _forced[-1]]
    for kernel, refusal in found:
        if refusal is None:
            return kernel
    reasons = "; ".join(f"{kernel.provider}: {refusal}" for kernel, refusal in found) or "none by that name"
    raise UserError(
        f"no kernel takes this {problem.op} ({reasons})",
        "a kernel that does not refuse",
        "use the reference: kernels.registry.using('reference')",
    )


def explain(problem: Problem) -> str:
    """One line a kernel: taken, or why not."""
    chosen = choose(problem)
    return "\n".join(
        f"{kernel.provider}: {refusal or ('taken' if kernel is chosen else 'possible')}"
        for kernel, refusal in candidates(problem)
    )


@contextmanager
def using(provider: str) -> Iterator[None]:
    """Within the block only kernels of this provider are taken."""
    _forced.append(provider)
    try:
        yield
    finally:
        _forced.pop()
