"""A training step of a GRU of few weights against the same GRU dense, and against nn.GRU, interleaved in one run.

28 steps of 28 numbers, batch 64. A step is forward and backward of the layer alone, from the sum of squares of its last
output; the optimizer, which works on dense tensors in all rows, is left out. "sparse" multiplies only the weights that
exist (GRU with the reset gate before the product, pruned at random), "masked" is the same network by the dense kernel.
nn.GRU has the reset gate after the product. Outputs and gradients of the two kernels must agree first; otherwise no
figure is printed.

    python benchmarks/sparse_training.py [--units 100 400] [--sparsity 0.9 0.95 0.98] [--threads 1] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn import Sparsifier, native, set_flush_denormal
from sparsernn.cells.gru import GRU
from sparsernn.kernels.registry import using
from sparsernn.methods.random_pruning import RandomPruning

STEPS, INPUTS, BATCH = 28, 28, 64
TOLERANCE = 1e-4
SPARSE, MASKED, TORCH = "sparse", "masked", "nn.GRU"


def step(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The last output, and the gradients of all weights."""
    layer.zero_grad()
    last = layer(x)[0][-1]
    last.square().sum().backward()
    return [last.detach(), *(parameter.grad for parameter in layer.parameters())]


def rivals(units: int, sparsity: float) -> dict[str, Callable[[], Any]]:
    """One step of each by name; SystemExit if the extension is absent or the kernels disagree."""
    if native.module is None:
        sys.exit(f"no figure: {native.why_absent()}")
    torch.manual_seed(0)
    x, layer, other = torch.randn(STEPS, BATCH, INPUTS), GRU(INPUTS, units, reset="before"), nn.GRU(INPUTS, units)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    run = Sparsifier(layer, RandomPruning(sparsity, per="kernel"), optimizer, steps=1, example=x)

    def of(provider: str) -> list[Tensor]:
        with using(provider):
            return step(layer, x)

    found = [part.clone() for part in of("sparse_layer")]
    expected = of("gru_reset_before")
    for (name, _), gradient in zip(layer.named_parameters(), expected[1:], strict=True):
        if name in run.masks.kept:
            gradient *= run.masks.kept[name]
    difference = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))
    if not difference <= TOLERANCE:
        sys.exit(f"no figure for {units} units: the kernels differ by {difference:.1e}")
    return {
        SPARSE: lambda: of("sparse_layer"),
        MASKED: lambda: of("gru_reset_before"),
        TORCH: lambda: step(other, x),
    }


def compare(units: int, sparsity: float, rounds: int) -> dict[str, Any]:
    """Ratios of a round's times to the sparse one's: medians with quartiles."""
    steps = rivals(units, sparsity)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name in list(steps) if turn % 2 else reversed(steps):
            begin = time.perf_counter()
            steps[name]()
            taken[name].append(time.perf_counter() - begin)
    own = 1e3 * statistics.median(taken[SPARSE][2:])
    row: dict[str, Any] = {"units": units, "sparsity": sparsity, "ms_sparse": own}
    for name in (MASKED, TORCH):
        ratios = [theirs / ours for theirs, ours in zip(taken[name][2:], taken[SPARSE][2:], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        row[name] = {"ratio": middle, "ratio_low": low, "ratio_high": high}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, nargs="*", default=[100, 400])
    parser.add_argument("--sparsity", type=float, nargs="*", default=[0.9, 0.95, 0.98])
    parser.add_argument("--rounds", type=int, default=31, help="rounds timed, after two that are not")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    set_flush_denormal()
    torch.set_num_threads(arguments.threads)
    rows = []
    for units in arguments.units:
        for sparsity in arguments.sparsity:
            row = compare(units, sparsity, arguments.rounds)
            rows.append(row)
            for name in (MASKED, TORCH):
                figures = row[name]
                print(
                    f"GRU {units}, {sparsity:.0%} zeros: {name:8} {figures['ratio']:6.2f} x the time "
                    f"({figures['ratio_low']:.2f}-{figures['ratio_high']:.2f})"
                )
    if arguments.out:
        about = {"benchmark": "sparse_training", "torch": torch.__version__, "threads": arguments.threads}
        about |= {"instructions": native.module.instruction_sets()[-1], "batch": BATCH, "steps": STEPS}
        arguments.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
