"""What scoring before training costs: SNIP, the Jacobian spectrum per step of its horizon, GraSP, in one run.

A GRU (reset gate before the product) on 28 steps of 28 numbers, batch 64, with a linear layer on the last state. Each
round scores with every method in turn, in the same process. Before anything is timed, SNIP's scores are compared with
|w dL/dw| by plain autograd; if they differ no figure is printed. Figures are ratios to SNIP in the same round: medians
with quartiles. "jacobian / step" is the time of the score with horizon 4 and its normaliser, divided by 4.

    python benchmarks/one_shot_cost.py [--units 400] [--rounds 9] [--threads 2] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn import Sparsifier, set_flush_denormal
from sparsernn.cells.gru import GRU
from sparsernn.methods.grasp import GraSP
from sparsernn.methods.jacobian_spectrum import JacobianSpectrum
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.snip import SNIP

STEPS, INPUTS, BATCH, CLASSES, HORIZON = 28, 28, 64, 10, 4
METHODS: dict[str, SNIP | GraSP | JacobianSpectrum] = {
    "snip": SNIP(0.95),
    "snip normalised": SNIP(0.95, normaliser="released"),
    "jacobian": JacobianSpectrum(0.95, horizon=HORIZON),
    "jacobian raw": JacobianSpectrum(0.95, horizon=HORIZON, normaliser="none"),
    "grasp": GraSP(0.95),
}
PARTS = {"jacobian": HORIZON, "jacobian raw": HORIZON}


class Reader(nn.Module):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.rnn = GRU(INPUTS, units, reset="before")
        self.head = nn.Linear(units, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][-1])


def started(units: int) -> Sparsifier:
    """A dense network and the loss of one batch."""
    torch.manual_seed(0)
    model = Reader(units)
    x, labels = torch.rand(STEPS, BATCH, INPUTS), torch.randint(CLASSES, (BATCH,))

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(x), labels)

    return Sparsifier(model, RandomPruning(0.0), loss=loss, example=(x,))


def check(run: Sparsifier) -> str:
    """What is wrong with SNIP's scores, or nothing."""
    found = METHODS["snip"].importance(run)
    weights = [run.weights[name] for name in found]
    slopes = torch.autograd.grad(run.loss(), weights)
    for name, weight, slope in zip(found, weights, slopes, strict=True):
        if not torch.allclose(found[name], (weight * slope).abs(), rtol=1e-4, atol=1e-9):
            return f"the scores of {name} are not |w dL/dw|"
    return ""


def compare(units: int, rounds: int) -> dict[str, Any]:
    """Seconds of SNIP and ratios to it; raises SystemExit where a score is wrong."""
    run = started(units)
    if wrong := check(run):
        sys.exit(f"no figure for {units} units: {wrong}")
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for turn in range(rounds + 1):
        for name in list(METHODS) if turn % 2 else reversed(METHODS):
            begin = time.perf_counter()
            METHODS[name].importance(run)
            seconds[name].append((time.perf_counter() - begin) / PARTS.get(name, 1))
    rows = {}
    for name, taken in seconds.items():
        ratios = [one / snip for one, snip in zip(taken[1:], seconds["snip"][1:], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        rows[f"{name} / step" if name in PARTS else name] = {"ratio": middle, "ratio_low": low, "ratio_high": high}
    return {"units": units, "ms_snip": 1e3 * statistics.median(seconds["snip"][1:]), "methods": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, nargs="*", default=[400])
    parser.add_argument("--rounds", type=int, default=9, help="rounds timed, after one that is not")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    set_flush_denormal()
    torch.set_num_threads(arguments.threads)
    found = []
    for units in arguments.units:
        row = compare(units, arguments.rounds)
        found.append(row)
        print(f"GRU {units}, batch {BATCH}, {STEPS} steps: SNIP {row['ms_snip']:.0f} ms")
        for name, figures in row["methods"].items():
            print(
                f"  {name:16} {figures['ratio']:6.2f} x SNIP ({figures['ratio_low']:.2f}-{figures['ratio_high']:.2f})"
            )
    if arguments.out:
        about = {"benchmark": "one_shot_cost", "torch": torch.__version__, "threads": arguments.threads}
        arguments.out.write_text(
            json.dumps(about | {"batch": BATCH, "horizon": HORIZON, "rows": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
