"""What a rewiring event costs, as a fraction of the epoch between two events.

A language model of two LSTM layers, 200 units, vocabulary 10,000, batch 20, 35 steps of text; all weight matrices are
masked. An epoch is the first third of the Penn Treebank: 442 steps. In one process every second step holds an event,
at the largest rates of a training, and the others are timed as they are. The number of weights must be the same after
each, and every absent weight zero; otherwise no figure is printed. --units 1500 is the model of 66 million weights.

    python benchmarks/rewiring_event.py [--units 200] [--rounds 5] [--epoch 442] [--threads 2] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsernn import Sparsifier, set_flush_denormal
from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.methods.rigl import RigL
from sparsernn.methods.snfs import SNFS
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN
from sparsernn.models.language_model import LanguageModel
from sparsernn.structure.choice import count

VOCABULARY, BATCH, TIME = 10_000, 20, 35
SPARSITY, TRAINING = 0.67, 1000

METHODS: dict[str, type[Rewiring]] = {
    "st_rnn": STRNN,
    "set": SparseEvolutionaryTraining,
    "rigl": RigL,
    "snfs": SNFS,
}


def timed(kind: type[Rewiring], taken: list[tuple[float, float]]) -> type[Rewiring]:
    """The same method; its events note the seconds that they took."""

    class Timed(kind):
        def rewire(self, run: Sparsifier, step: int) -> None:
            taken.append(seconds(partial(super().rewire, run, step)))

    return Timed


def train_step(run: Sparsifier, generator: torch.Generator) -> None:
    """One optimizer step on random text; gradients are left where they are."""
    ids = torch.randint(VOCABULARY, (TIME + 1, BATCH), generator=generator)
    run.optimizer.zero_grad()
    logits, _ = run.model(ids[:-1])
    nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten()).backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), 10.0)
    run.optimizer.step()


def seconds(action: Callable[[], Any]) -> tuple[float, float]:
    """Of the clock and of the processor."""
    start = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def wrong(run: Sparsifier, before: int) -> str:
    """What is wrong with the masks or the zeros, or nothing."""
    now = sum(count(kept) for kept in run.masks.kept.values())
    if now != before:
        return f"{before} weights became {now}"
    for name, kept in run.masks.kept.items():
        if bool(run.model.get_parameter(name)[~kept].any()):
            return f"{name} has absent weights that are not zero"
    return ""


def measure(name: str, units: int, rounds: int, epoch: int) -> dict[str, Any]:
    """Medians of events and steps; raises SystemExit where a mask is wrong."""
    torch.manual_seed(0)
    model = LanguageModel(VOCABULARY, units=units, dropout=0.65)
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0, momentum=0.9)
    steps: list[tuple[float, float]] = []
    events: list[tuple[float, float]] = []
    method = timed(METHODS[name], events)(SPARSITY, every=2)
    run = Sparsifier(model, method, optimizer, steps=TRAINING, where=("*weight*",))
    weights = sum(count(kept) for kept in run.masks.kept.values())
    generator = torch.Generator().manual_seed(1)
    while len(events) <= rounds:
        before, taken = len(events), seconds(partial(train_step, run, generator))
        if len(events) == before:
            steps.append(taken)
        if problem := wrong(run, weights):
            sys.exit(f"no figure for {name}: after step {run.step_count}, {problem}")
        if events and not run.events[-1]["born"]:
            sys.exit(f"no figure for {name}: the event of step {run.step_count} moved nothing")
    steps, events = steps[1:], events[1:]
    step, event = ([statistics.median(one) for one in zip(*taken, strict=True)] for taken in (steps, events))
    return {
        "method": name,
        "units": units,
        "weights": sum(kept.numel() for kept in run.masks.kept.values()),
        "ms_step": 1e3 * step[0],
        "ms_event": 1e3 * event[0],
        "event_of_epoch": event[0] / (epoch * step[0]),
        "event_of_epoch_processor": event[1] / (epoch * step[1]),
        "steps_per_epoch": epoch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5, help="steps and events timed of each method")
    parser.add_argument("--epoch", type=int, default=442, help="steps between two events")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    set_flush_denormal()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name in arguments.methods:
        rows.append(row := measure(name, arguments.units, arguments.rounds, arguments.epoch))
        print(
            f"{name:7} {row['weights']:,} weights   event {row['ms_event']:8.1f} ms   step {row['ms_step']:8.1f} ms   "
            f"event / epoch of {row['steps_per_epoch']} steps {100 * row['event_of_epoch']:.3f} % "
            f"(processor {100 * row['event_of_epoch_processor']:.3f} %)",
            flush=True,
        )
    if arguments.out:
        about = {"benchmark": "rewiring_event", "torch": torch.__version__, "threads": arguments.threads}
        arguments.out.write_text(json.dumps(about | {"sparsity": SPARSITY, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
