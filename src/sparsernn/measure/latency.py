"""How long networks take: medians of interleaved rounds in one run, as ratios against the first of them."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsernn.denormals import is_flushing_denormal, set_flush_denormal
from sparsernn.errors import UserError
from sparsernn.structure.modes import modes_kept

SHORTEST_SECONDS = 0.004
FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Timing:
    """The time of one network at one batch size.

    Arguments:
        milliseconds: median per sequence.
        low: first quartile of the same.
        high: third quartile of the same.
        speedup: the first network's time over this one's, median over the rounds; above 1 is faster.
        rounds: measurements taken.
    """

    milliseconds: float
    low: float
    high: float
    speedup: float
    rounds: int


def latency(
    models: Mapping[str, Callable[..., object]],
    example: Callable[[int], Tensor | tuple],
    *,
    batches: Sequence[int] = (1, 32),
    rounds: int = 30,
    seconds: float = 20.0,
    threads: int = 1,
    shortest: float = SHORTEST_SECONDS,
) -> dict[int, dict[str, Timing]]:
    """Time every model on the same inputs: {batch size: {name: Timing}}; the first model is the measure.

    Every round times each model once, starting with another one each time, so that a change of the machine's
    speed hits all of them. A measurement repeats calls for at least `shortest` seconds. Denormals are flushed,
    gradients off.

    Arguments:
        models: by name, modules or functions; the first is the rival, normally the dense network.
        example: from a batch size to the arguments of one forward (a tensor or a tuple).
        batches: batch sizes.
        rounds: measurements of each model, fewer where `seconds` would not allow them, never fewer than 5.
        seconds: time to spend, all batch sizes together.
        threads: threads of torch while timing.
        shortest: seconds of a measurement; where other programs run, half of the measurements should fall between them.
    Raises: UserError if there is no model or a number is not positive.
    """
    if not models or not batches or min(rounds, seconds, threads, *batches) <= 0:
        raise UserError(
            f"{len(models)} models, batches {tuple(batches)}, {rounds} rounds, {seconds} seconds, {threads} threads",
            "at least one model and positive numbers",
            "name the models to compare, the dense one first",
        )
    with _quiet(models, threads), torch.inference_mode():
        return {
            batch: _one_batch(models, example(batch), batch, rounds, seconds / len(batches), shortest)
            for batch in batches
        }


def _one_batch(
    models: Mapping[str, Callable[..., object]],
    arguments: Tensor | tuple,
    batch: int,
    rounds: int,
    seconds: float,
    shortest: float,
) -> dict[str, Timing]:
    inputs = arguments if isinstance(arguments, tuple) else (arguments,)
    names = list(models)
    calls = {name: _warm_up(models[name], inputs, shortest) for name in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    for turn in range(rounds):
        if turn >= FEWEST_ROUNDS and time.perf_counter() > end:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(_seconds(models[name], inputs, calls[name]) / batch)
    return {name: _timing(taken[name], taken[names[0]]) for name in names}


def _warm_up(model: Callable[..., object], inputs: tuple, shortest: float) -> int:
    """Runs the model until its time settles; returns the calls that make one measurement long enough."""
    _seconds(model, inputs, 1)
    return max(1, math.ceil(shortest / max(min(_seconds(model, inputs, 1) for _ in range(3)), 1e-7)))


def _seconds(model: Callable[..., object], inputs: tuple, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        model(*inputs)
    return (time.perf_counter() - start) / calls


def _timing(seconds: list[float], rival: list[float]) -> Timing:
    low, middle, high = (1e3 * value for value in statistics.quantiles(seconds, n=4, method="inclusive"))
    speedup = statistics.median(other / mine for other, mine in zip(rival, seconds, strict=True))
    return Timing(milliseconds=middle, low=low, high=high, speedup=speedup, rounds=len(seconds))


@contextlib.contextmanager
def _quiet(models: Mapping[str, Callable[..., object]], threads: int) -> Iterator[None]:
    """Evaluation mode, a fixed number of threads and flushed denormals; everything as it was afterwards."""
    threads_before, flushing = torch.get_num_threads(), is_flushing_denormal()
    modules = [model for model in models.values() if isinstance(model, nn.Module)]
    try:
        with modes_kept(*modules):
            for model in modules:
                model.eval()
            torch.set_num_threads(threads)
            set_flush_denormal(True)
            yield
    finally:
        set_flush_denormal(flushing)
        torch.set_num_threads(threads_before)


def numbers(timings: Mapping[int, Mapping[str, Timing]], name: str) -> dict[str, float]:
    """One model's timings as plain numbers for a result file.

    `ms_batch_32` is the median per sequence at batch 32, `ms_batch_32_low` and `_high` its quartiles and
    `speedup_batch_32` the first model's time over this one's.
    """
    figures: dict[str, float] = {}
    for batch, models in timings.items():
        timing = models[name]
        figures |= {
            f"ms_batch_{batch}": timing.milliseconds,
            f"ms_batch_{batch}_low": timing.low,
            f"ms_batch_{batch}_high": timing.high,
            f"speedup_batch_{batch}": timing.speedup,
        }
    return figures
