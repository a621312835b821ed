"""Which format each layer of a network is to have: every candidate is timed where it will run."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np

from sparsernn.errors import UserError
from sparsernn.runtime.layers import RecurrentLayer, candidates
from sparsernn.runtime.layouts import FORMATS
from sparsernn.runtime.network import LayerSpec, NetworkSpec


@dataclass(frozen=True)
class Choice:
    """One format of one layer.

    Attributes:
        layer: its number; format: its name.
        us: median microseconds a step, not a number where it was not timed; bytes: what a step may read.
        taken: whether it is the one to be used.
    """

    layer: int
    format: str
    us: float
    bytes: int
    taken: bool = False


def plan(
    spec: NetworkSpec, steps: int = 100, batch: int = 1, int8: bool = False, seconds: float = 0.2
) -> tuple[NetworkSpec, list[Choice]]:
    """The network with the quickest format for each layer, and what every format took.

    Arguments:
        steps: of a sequence; 1 times a stream, one step a call; 0 takes, without a clock, the format that reads
            least.
        batch: sequences side by side.
        int8: whether formats that round to 8 bits are candidates; others compute in float32 and lose nothing.
        seconds: spent on each format, about.
    Raises: UserError for fewer steps than none, or sequences than one.
    """
    if steps < 0 or batch < 1:
        raise UserError(
            f"steps is {steps}, batch {batch}", "at least 0 steps and 1 sequence", "pass how the network will be called"
        )
    layers, choices = [], []
    for number, layer in enumerate(spec.layers):
        names = [name for name in candidates(layer.cell, layer.weights) if int8 or FORMATS[name].dtype == "float32"]
        built = {name: RecurrentLayer(layer.cell, layer.weights, name) for name in names}
        times = _timed(built, steps, batch, seconds) if steps else dict.fromkeys(names, math.nan)
        costs = times if steps else {name: float(layer.bytes) for name, layer in built.items()}
        best = min(costs, key=lambda name: costs[name])
        choices += [Choice(number, name, times[name], built[name].bytes, name == best) for name in names]
        layers.append(LayerSpec(layer.cell, layer.weights, best))
    return replace(spec, layers=layers), choices


def _timed(built: dict[str, RecurrentLayer], steps: int, batch: int, seconds: float) -> dict[str, float]:
    """Median microseconds a step of each, in alternating rounds."""
    generator = np.random.default_rng(0)
    width = next(iter(built.values())).inputs
    x = generator.standard_normal((steps, batch, width), dtype=np.float32)
    calls = {}
    for name, layer in built.items():
        calls[name] = partial(layer.stream(batch).step, x[0]) if steps == 1 else partial(layer.run, x)
    return in_turns(calls, steps, 3, seconds * len(calls))


def in_turns(
    calls: Mapping[str, Callable[[], object]], steps: int, rounds: int, seconds: float = 0.0
) -> dict[str, float]:
    """Median microseconds a step of each, in so many alternating rounds, and more until the seconds are over."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    deadline = time.perf_counter() + seconds
    repeats = max(1, 200 // steps)
    while len(next(iter(taken.values()))) < rounds or time.perf_counter() < deadline:
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(repeats):
                call()
            taken[name].append((time.perf_counter() - started) / (repeats * steps) * 1e6)
    return {name: median(times) for name, times in taken.items()}
