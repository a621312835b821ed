"""A training step with random weights and variables of groups against nn.LSTM, interleaved in one run.

One layer of 256 units on 256 inputs, batch 64, 100 steps: forward of the model in training mode, as its Sparsifier has
it draw, and backward; the optimizer is left out of all rows. "with KL" adds the divergence's value and gradient. The
kernel with factors must agree with the plain loop over steps first; otherwise no figure is printed.

    python benchmarks/bayesian_step.py [--rounds 9] [--threads 1] [--clock wall] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn import Sparsifier, set_flush_denormal
from sparsernn.kernels.registry import using
from sparsernn.methods.sparse_variational_dropout import SparseVariationalDropout

STEPS, BATCH, INPUTS, UNITS = 100, 64, 256, 256
TOLERANCE = 1e-4
DENSE = "nn.LSTM"
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
WHOLE = ("weight", "gate", "neuron")
CONFIGURATIONS = {
    "W": {"levels": ("weight",)},
    "W+G+N per minibatch": {"levels": WHOLE, "sampled": "minibatch"},
    "W+G+N per sequence": {"levels": WHOLE, "sampled": "sequence"},
}


class Network(nn.Module):
    """One layer, of whose outputs a few sums are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(INPUTS, UNITS), nn.Linear(UNITS, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class Trained:
    """A network in training, dense or with a method."""

    def __init__(self, options: dict[str, Any] | None, x: Tensor):
        torch.manual_seed(0)
        self.model, self.x, self.run = Network(), x, None
        optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        if options is not None:
            method = SparseVariationalDropout(examples=10_000, **options)
            self.run = Sparsifier(self.model, method, optimizer, steps=1000, example=x)

    def step(self, divergence: bool = False) -> Tensor:
        """Forward and backward; returns what the model gave."""
        self.model.zero_grad()
        output = self.model(self.x)
        loss = output.square().mean()
        if divergence and self.run is not None:
            loss = loss + self.run.penalty()
        loss.backward()
        return output.detach()

    def gradients(self, provider: str) -> list[Tensor]:
        """Output and gradients with the same noise, by one kernel."""
        assert self.run is not None
        self.run.generator.manual_seed(7)
        with using(provider):
            output = self.step()
        owned = list(self.run.owned.values())
        gradients = [p.grad.clone() for p in (*self.model.parameters(), *owned) if p.grad is not None]
        for parameter in owned:
            parameter.grad = None
        return [output, *gradients]


def check(trained: Trained) -> None:
    """SystemExit if the kernel with factors is wrong."""
    pairs = zip(trained.gradients("lstm_with_factors"), trained.gradients("reference"), strict=True)
    difference = max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)
    if not difference <= TOLERANCE:
        sys.exit(f"no figure: the kernels differ by {difference:.1e}")


def compare(rounds: int, clock: Callable[[], float] = time.perf_counter) -> list[dict[str, Any]]:
    """Medians over alternating rounds; ratios are medians of a round's ratios."""
    torch.manual_seed(0)
    x = torch.randn(STEPS, BATCH, INPUTS)
    trained = {DENSE: Trained(None, x)} | {name: Trained(options, x) for name, options in CONFIGURATIONS.items()}
    check(trained["W+G+N per sequence"])
    steps: dict[str, Callable[[], Any]] = {name: one.step for name, one in trained.items()}
    steps |= {f"{name} with KL": lambda one=trained[name]: one.step(True) for name in CONFIGURATIONS}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name in list(steps) if turn % 2 else reversed(steps):
            begin = clock()
            steps[name]()
            taken[name].append(clock() - begin)
    rows = []
    for name, times in taken.items():
        ratios = [ours / dense for ours, dense in zip(times[2:], taken[DENSE][2:], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        row = {"configuration": name, "us": 1e6 * statistics.median(times[2:]), "ratio": middle}
        rows.append(row | {"ratio_low": low, "ratio_high": high, "rounds": rounds})
    return rows


def processor() -> str:
    """The processor's model name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds timed, after two that are not")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="processor: the time of this process alone, on a busy machine"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    set_flush_denormal()
    torch.set_num_threads(arguments.threads)
    rows = compare(arguments.rounds, CLOCKS[arguments.clock])
    about = {"benchmark": "bayesian_step", "processor": processor(), "torch": torch.__version__}
    about |= {
        "threads": arguments.threads,
        "clock": arguments.clock,
        "batch": BATCH,
        "steps": STEPS,
        "inputs": INPUTS,
        "units": UNITS,
    }
    if arguments.json:
        print(json.dumps(about | {"rows": rows}))
        return
    for row in rows:
        print("{configuration:28} {us:10,.0f} us {ratio:6.2f}x ({ratio_low:.2f}-{ratio_high:.2f})".format(**row))


if __name__ == "__main__":
    main()
