"""Peak memory of a masked training, as a ratio to the same training without masks.

A language model of two LSTM layers, vocabulary 10,000, batch 20, 35 steps of text, momentum SGD; all weight matrices
are masked, and every second step holds an event. Each training has a process of its own, whose largest resident set is
read at the end. Where an absent weight is not zero no figure is printed.

    python benchmarks/peak_memory.py [--units 650] [--steps 4] [--momentum 0.9] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sparsernn import Sparsifier, set_flush_denormal
from sparsernn.methods.method import Method
from sparsernn.methods.rigl import RigL
from sparsernn.methods.snfs import SNFS
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from sparsernn.models.language_model import LanguageModel

VOCABULARY, BATCH, TIME, SPARSITY = 10_000, 20, 35, 0.67

METHODS: dict[str, Callable[[], Method]] = {
    "static": lambda: Static(SPARSITY),
    "st_rnn": lambda: STRNN(SPARSITY, every=2),
    "set": lambda: SparseEvolutionaryTraining(SPARSITY, every=2),
    "rigl": lambda: RigL(SPARSITY, every=2, stop=1.0),
    "snfs": lambda: SNFS(SPARSITY, every=2),
}


def train(name: str, units: int, steps: int, momentum: float) -> int:
    """Train in this process; its largest resident set so far, in bytes."""
    torch.manual_seed(0)
    model = LanguageModel(VOCABULARY, units=units, dropout=0.65)
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0, momentum=momentum)
    run = None
    if name != "dense":
        run = Sparsifier(model, METHODS[name](), optimizer, steps=steps, where=("*weight*",))
    for _ in range(steps):
        ids = torch.randint(VOCABULARY, (TIME + 1, BATCH))
        optimizer.zero_grad()
        logits, _ = model(ids[:-1])
        nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        del logits
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if run is not None:
        if abs(run.masks.sparsity() - SPARSITY) > 1e-3:
            sys.exit(f"no figure for {name}: the sparsity is {run.masks.sparsity():.4f}")
        for tensor, kept in run.masks.kept.items():
            if bool(model.get_parameter(tensor)[~kept].any()):
                sys.exit(f"no figure for {name}: {tensor} has absent weights that are not zero")
    return peak * (1 if sys.platform == "darwin" else 1024)


def measure(name: str, units: int, steps: int, momentum: float) -> int:
    """The same in a process of its own."""
    options = ["--only", name, "--units", str(units), "--steps", str(steps), "--momentum", str(momentum)]
    done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, default=650)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--only", choices=["dense", *METHODS], help="train here and print the bytes")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    size = (arguments.units, arguments.steps, arguments.momentum)
    if arguments.only:
        set_flush_denormal()
        print(train(arguments.only, *size))
        return
    dense, rows = measure("dense", *size), []
    print(f"{'dense':7} {dense / 1e6:8.0f} MB", flush=True)
    for name in arguments.methods:
        peak = measure(name, *size)
        rows.append({"method": name, "peak_bytes": peak, "ratio": peak / dense})
        print(f"{name:7} {peak / 1e6:8.0f} MB   ratio {peak / dense:.3f}", flush=True)
    if arguments.out:
        about = {"benchmark": "peak_memory", "torch": torch.__version__, "units": size[0], "momentum": size[2]}
        arguments.out.write_text(json.dumps(about | {"dense_peak_bytes": dense, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
