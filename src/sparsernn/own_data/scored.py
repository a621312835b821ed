"""What answered for the test rows of a user's file: a baseline or a network, its answers and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

ROUNDS = 15


@dataclass(frozen=True)
class Scored:
    """A baseline or a network on the test rows.

    Arguments:
        name: "majority", "baseline", "dense", "small_dense", "sparse", or of its own.
        about: what it is, in words.
        outputs: its answers: probabilities [rows classes], forecasts in the unit of the file [windows horizon], numbers
            [rows], or for running text the logarithm of the probability of each token [tokens].
        bytes: of the file by which it answers; 0 where it needs none.
        us: microseconds for one example alone, from the file's own text or numbers to its answer; 0 is not timed.
        valid: its figure on the validation rows, by which baselines are chosen.
        conclusion: what to do where it was saved and nothing is better; "" for a network.
    """

    name: str
    about: str
    outputs: np.ndarray = field(repr=False)
    bytes: int = 0
    us: float = 0.0
    valid: float = float("nan")
    conclusion: str = ""


def microseconds(call: Callable[[], object]) -> float:
    """The least time of a call, which other programs disturb the least, in microseconds."""
    call()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times) * 1e6
