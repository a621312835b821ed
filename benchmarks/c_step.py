"""What a step of a GRU with zeros takes as C, by format, as a fraction of the same network's with every number.

    python benchmarks/c_step.py [--units 64 128] [--sparsity 0.9] [--rounds 15] [--out FILE.json]

One input; the zeros are of the recurrent matrix, anywhere or in blocks of sixteen rows of a column. Every form is
compiled by gcc with -O3 -march=native and has to give torch's outputs first; then all run in turn, and of each the
least time of a step counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bayesian_step import processor
from small_machines import STEPS, TOLERANCE, call, on_this, write_inputs

from sparsernn import export_c
from sparsernn.deploy.c_source import Source
from sparsernn.nn import GRU
from sparsernn.reports.quantities import Table

FORMS = {"dense": {}, "rows": {}, "blocks": {}, "lookup": {}, "int8": {"int8": True, "format": None}}
HEIGHTS = {"anywhere": 1, "in blocks of sixteen rows": 16}


def network(units: int, sparsity: float, height: int) -> GRU:
    """A GRU whose recurrent matrix has whole blocks of `height` rows of a column absent."""
    torch.manual_seed(0)
    gru = GRU(1, units)
    for name, weight in gru.named_parameters():
        if name.startswith("weight_hh"):
            with torch.no_grad():
                blocks = torch.rand(weight.shape[0] // height, weight.shape[1])
                weight *= (blocks >= sparsity).repeat_interleave(height, 0)
    return gru


def compiled(gru: GRU, name: str, folder: Path, x: np.ndarray) -> Source:
    """The C of a form, compiled. Raises: SystemExit where it does not give what torch gives."""
    folder.mkdir()
    write_inputs(folder, x)
    source = export_c(gru, folder, "g", **({"format": name} | FORMS[name]))
    with torch.no_grad():
        expected = gru(torch.from_numpy(x).unsqueeze(1))[0][-1, 0].numpy()
    difference = float(np.abs(on_this(folder, source).outputs - expected).max())
    if not difference <= (0.1 if name == "int8" else TOLERANCE):
        sys.exit(f"no figure: outputs of {name} differ by {difference:.3g}")
    return source


def compare(units: int, sparsity: float, height: int, rounds: int) -> list[dict[str, Any]]:
    """A line for each form: bytes of constants, microseconds of a step, and how many times the dense one's speed."""
    gru = network(units, sparsity, height)
    x = np.random.default_rng(0).normal(size=(STEPS, 1)).astype(np.float32)
    with tempfile.TemporaryDirectory() as place:
        folders = {name: Path(place) / name for name in FORMS}
        sources = {name: compiled(gru, name, folder, x) for name, folder in folders.items()}
        least = dict.fromkeys(FORMS, float("inf"))
        for _ in range(rounds):
            for name, folder in folders.items():
                count = float(call(folder / "host").split()[1])
                least[name] = min(least[name], count / 1000)
    return [
        {"form": name, "bytes": sources[name].constants, "us": us, "times_dense": least["dense"] / us}
        for name, us in least.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[64, 128], help="multiples of sixteen")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if any(units < 16 or units % 16 for units in arguments.units):
        parser.error("--units takes multiples of sixteen")
    if not 0 <= arguments.sparsity < 1 or arguments.rounds < 1:
        parser.error("--sparsity takes a number in [0, 1), and --rounds a whole number of at least 1")
    lines, rows = [], []
    for units in arguments.units:
        for zeros, height in HEIGHTS.items():
            one = compare(units, arguments.sparsity, height, arguments.rounds)
            lines += [{"units": units, "zeros": zeros} | line for line in one]
            cells = [f"{line['us']:.2f} us, {line['times_dense']:.1f}x, {line['bytes'] / 1000:.0f} kB" for line in one]
            rows.append((str(units), zeros, *cells))
    print(f"{processor()}, zeros: {arguments.sparsity:.0%}")
    print(Table(("units", "zeros", *FORMS), tuple(rows)).markdown())
    if arguments.out:
        about = {"processor": processor(), "sparsity": arguments.sparsity, "rounds": arguments.rounds}
        arguments.out.write_text(json.dumps(about | {"lines": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
