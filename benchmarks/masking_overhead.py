"""What a Sparsifier adds to a training step of a language model, as a ratio against the same step without one.

Two LSTM layers of 650 units, vocabulary 10,000, batch 20, 35 steps of text. Every round runs one step with and one
without, in turns, in the same process. After each step every absent weight must be exactly zero and the number of zeros
right; otherwise no figure is printed. A step at which a mask changes is timed on its own and shared out over `--every`.
Ratios are of the clock's time; those of the processor's time, which other programs disturb less, stand beside them.

    python benchmarks/masking_overhead.py [--rounds 15] [--threads 2] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsernn import Sparsifier, set_flush_denormal
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.method import Method
from sparsernn.methods.rigl import RigL
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static

VOCABULARY, UNITS, LAYERS, BATCH, TIME = 10_000, 650, 2, 20, 35
SPARSITY = 0.9
EVENT_EVERY = 4

METHODS: dict[str, Callable[[int], Method]] = {
    "static": lambda steps: Static(SPARSITY),
    "magnitude": lambda steps: Magnitude(SPARSITY, every=EVENT_EVERY, stop=1.0),
    "st_rnn": lambda steps: STRNN(SPARSITY, every=EVENT_EVERY),
    "rigl": lambda steps: RigL(SPARSITY, every=EVENT_EVERY, stop=1.0),
}


class LanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, UNITS)
        self.rnn = nn.LSTM(UNITS, UNITS, LAYERS)
        self.decoder = nn.Linear(UNITS, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        return self.decoder(self.rnn(self.embedding(ids))[0])


class Training(NamedTuple):
    """A model in training, with or without a sparsifier, and the seconds of its steps."""

    model: LanguageModel
    optimizer: torch.optim.Optimizer
    sparsifier: Sparsifier | None

    def step(self, ids: Tensor, targets: Tensor) -> tuple[float, float]:
        """One optimizer step; seconds of the clock and of the processor."""
        start = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(ids).flatten(0, 1), targets.flatten())
        if self.sparsifier is not None:
            loss = loss + self.sparsifier.penalty()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return time.perf_counter() - start[0], time.process_time() - start[1]


def start(optimizer: str, method: Method | None, steps: int) -> Training:
    torch.manual_seed(0)
    model = LanguageModel()
    rates = {"SGD": 1.0, "Adam": 1e-3}
    built = getattr(torch.optim, optimizer)(model.parameters(), lr=rates[optimizer])
    return Training(model, built, None if method is None else Sparsifier(model, method, built, steps=steps))


def check(training: Training, sparsity: float | None) -> str:
    """What is wrong with the zeros, or nothing."""
    parameters = dict(training.model.named_parameters())
    masks = training.sparsifier.masks
    if len(masks.kept) < 2 * LAYERS:
        return f"only {sorted(masks.kept)} are masked"
    for name, kept in masks.kept.items():
        if parameters[name][~kept].any():
            return f"{name} has absent weights that are not zero"
    if sparsity is not None and abs(masks.sparsity() - sparsity) > 1e-3:
        return f"the sparsity is {masks.sparsity():.4f}, not {sparsity}"
    return ""


def compare(optimizer: str, name: str, rounds: int, every: int) -> dict[str, Any]:
    """Medians of interleaved steps; raises SystemExit where a zero is wrong."""
    steps = rounds + 2
    rivals = [start(optimizer, None, steps), start(optimizer, METHODS[name](steps), steps)]
    generator = torch.Generator().manual_seed(1)
    ratios, with_event, seconds, processor = [], [], [], []
    for turn in range(steps):
        ids = torch.randint(VOCABULARY, (TIME + 1, BATCH), generator=generator)
        before = len(rivals[1].sparsifier.events)
        order = (0, 1) if turn % 2 else (1, 0)
        taken = {which: rivals[which].step(ids[:-1], ids[1:]) for which in order}
        wrong = check(rivals[1], None if name == "magnitude" and turn < steps - 1 else SPARSITY)
        if wrong:
            sys.exit(f"no figure for {name} with {optimizer}: after step {turn + 1}, {wrong}")
        if turn < 2:
            continue
        seconds.append(taken[0][0])
        if len(rivals[1].sparsifier.events) > before:
            with_event.append(taken[1][0] / taken[0][0])
        else:
            ratios.append(taken[1][0] / taken[0][0])
            processor.append(taken[1][1] / taken[0][1])
    low, quiet, high = statistics.quantiles(ratios, n=4, method="inclusive")
    event = statistics.median(with_event) if with_event else quiet
    return {
        "method": name,
        "optimizer": optimizer,
        "ms_dense_step": 1e3 * statistics.median(seconds),
        "ratio": quiet,
        "ratio_low": low,
        "ratio_high": high,
        "ratio_processor": statistics.median(processor),
        "ratio_step_with_event": event if with_event else None,
        "ratio_event_every": (quiet * (every - 1) + event) / every,
        "every": every,
        "steps_timed": len(ratios) + len(with_event),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="steps timed of each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--every", type=int, default=100, help="steps over which one event is shared out")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--optimizers", nargs="*", default=["SGD", "Adam"], choices=["SGD", "Adam"])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    set_flush_denormal()
    torch.set_num_threads(arguments.threads)
    rows = []
    for optimizer in arguments.optimizers:
        for name in arguments.methods:
            row = compare(optimizer, name, arguments.rounds, arguments.every)
            rows.append(row)
            event = "no event" if row["ratio_step_with_event"] is None else f"{row['ratio_step_with_event']:.3f}"
            print(
                f"{optimizer:5} {name:10} dense step {row['ms_dense_step']:7.1f} ms   with / without "
                f"{row['ratio']:.3f} ({row['ratio_low']:.3f}-{row['ratio_high']:.3f}), "
                f"processor {row['ratio_processor']:.3f}   step with an event {event}   "
                f"event every {arguments.every}: {row['ratio_event_every']:.3f}",
                flush=True,
            )
    if arguments.out:
        about = {"benchmark": "masking_overhead", "torch": torch.__version__, "threads": arguments.threads}
        arguments.out.write_text(json.dumps(about | {"sparsity": SPARSITY, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
