"""Training tokens a second of 24 four-gram automata against an LSTM and a loop over time, interleaved in one run.

A step is forward and backward of the layer, its input projection included, from the sum of squares of what it gives out
at the last token; inputs need no gradient, as frozen word vectors do. Rivals: nn.LSTM with 100 units, and the same
automata by the reference kernel, a plain torch loop over time. Outputs and gradients of the compiled kernel must equal
the reference's first; otherwise no figure is printed.

    python benchmarks/scan_speed.py [--inputs 100 300] [--threads 1] [--out FILE.json]
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

from sparsernn import native, set_flush_denormal
from sparsernn.cells.rational import Rational
from sparsernn.kernels.registry import using

PATTERNS, LENGTH, UNITS = 24, 4, 100
TOLERANCE = 1e-4


def train(layer: nn.Module, x: Tensor, provider: str) -> list[Tensor]:
    """One step without the optimizer: the output at the last token, and all gradients."""
    layer.zero_grad()
    if provider:
        with using(provider):
            output, _ = layer(x)
            last = output[-1]
            last.square().sum().backward()
    else:
        last = layer(x)[0][-1]
        last.square().sum().backward()
    return [last.detach(), *(parameter.grad.clone() for parameter in layer.parameters())]


def rivals(inputs: int, batch: int, tokens: int) -> dict[str, Callable[[], Any]]:
    """One step of each by name, the automata first; SystemExit if the compiled kernel is absent or wrong."""
    if native.module is None:
        sys.exit(f"no figure: {native.why_absent()}")
    torch.manual_seed(0)
    x = torch.randn(tokens, batch, inputs) / inputs**0.5
    automata, lstm = Rational(inputs, PATTERNS, lengths=LENGTH), nn.LSTM(inputs, UNITS)
    pairs = zip(train(automata, x, "cpu_native"), train(automata, x, "reference"), strict=True)
    difference = max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)
    if not difference <= TOLERANCE:
        sys.exit(f"no figure for {inputs} inputs: the compiled kernel differs from the reference by {difference:.1e}")
    return {
        "automata, compiled": lambda: train(automata, x, "cpu_native"),
        f"nn.LSTM of {UNITS} units": lambda: train(lstm, x, ""),
        "automata, torch loop over time": lambda: train(automata, x, "reference"),
    }


def compare(inputs: int, batch: int, tokens: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Medians over rounds that each run every rival once; ratios are medians of a round's ratios."""
    steps = rivals(inputs, batch, tokens)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while len(taken[next(iter(steps))]) < rounds and (time.perf_counter() < end or len(taken[next(iter(steps))]) < 5):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - start)
    own = taken[next(iter(steps))]
    return [
        {
            "inputs": inputs,
            "layer": name,
            "tokens_per_second": batch * tokens / statistics.median(times),
            "times_slower": statistics.median(theirs / ours for theirs, ours in zip(times, own, strict=True)),
            "rounds": len(times),
        }
        for name, times in taken.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, nargs="*", default=[100, 300])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=130)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each number of inputs")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    set_flush_denormal()
    torch.set_num_threads(arguments.threads)
    rows = []
    for inputs in arguments.inputs:
        for row in compare(inputs, arguments.batch, arguments.tokens, arguments.rounds, arguments.seconds):
            rows.append(row)
            print("E {inputs:4} {layer:32} {tokens_per_second:12,.0f} tokens/s {times_slower:7.2f}x".format(**row))
    if arguments.out:
        about = {"benchmark": "scan_speed", "torch": torch.__version__, "threads": arguments.threads}
        about |= {"instructions": native.module.instruction_sets()[-1], "batch": arguments.batch}
        arguments.out.write_text(json.dumps(about | {"tokens": arguments.tokens, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
