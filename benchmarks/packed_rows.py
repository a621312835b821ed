"""The networks of quickstart and of one's own files at 90 % zeros: packed file and time of a step at batch 1.

Rivals are the same network dense: torch, and the quickest dense float32 format of the engine; its file has every
number. Granularities are those of `Magnitude`; patterns are those of first weights, so nothing here says what a network
can learn. Every format that `pack` times may be taken; "int8" allows those that round.

    python benchmarks/packed_rows.py         # results/benchmarks/packed_rows.json and packed_rows.md
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from sparsernn import runtime, set_flush_denormal, sparsify
from sparsernn.deploy.packing import pack
from sparsernn.methods.magnitude import Magnitude
from sparsernn.models.classifier import Classifier

FOLDER = Path(__file__).parents[1] / "results" / "benchmarks"
STEPS, SPARSITY, ROUNDS = 64, 0.9, 15
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "quickstart: GRU, 256 units": (lambda: Classifier(8, 10, cell="gru", units=256), 8),
    "own series: LSTM, 64 units, two directions": (
        lambda: Classifier(8, 5, cell="lstm", units=64, bidirectional=True, pool="mean"),
        8,
    ),
    "own text: LSTM, 64 units, two directions, 128 inputs": (
        lambda: Classifier(128, 5, cell="lstm", units=64, bidirectional=True, pool="max"),
        128,
    ),
}


def times_of(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median microseconds a step of each, in alternating rounds."""
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(3):
                call()
            rounds[name].append((time.perf_counter() - started) / (3 * STEPS) * 1e6)
    return {name: round(statistics.median(times), 3) for name, times in rounds.items()}


def measure(name: str, folder: Path) -> list[dict[str, Any]]:
    """Rows of one network: dense, and sparse by granularity."""
    make, inputs = NETWORKS[name]
    calls: dict[str, Callable[[], Any]] = {}
    rows: list[dict[str, Any]] = []
    x = torch.randn(1, STEPS, inputs)

    def add(what: str, network: nn.Module, int8: bool = False) -> None:
        path = folder / str(len(rows))
        choices = pack(path, network, steps=STEPS, int8=int8, dtype="int8" if int8 else None)
        formats = sorted({choice.format for choice in choices if choice.taken})
        loaded = runtime.load(path)
        calls[what] = lambda: loaded.run(x.numpy())
        rows.append({"network": name, "form": what, "bytes": path.stat().st_size, "formats": formats})

    torch.manual_seed(0)
    dense = make().eval()
    calls["torch"] = lambda: dense(x)
    add("dense", dense)
    for granularity in ("weight", "16x1", "16x4"):
        torch.manual_seed(0)
        network = make().eval()
        sparsify(network, Magnitude(SPARSITY, granularity=granularity), example=(x,)).apply_(network)
        add(granularity, network)
        add(f"{granularity}, int8", network, int8=True)
    times = times_of(calls)
    for row in rows:
        row |= {"us": times[row["form"]], "torch_us": times["torch"]}
        row |= {"smaller": round(rows[0]["bytes"] / row["bytes"], 1), "faster": round(times["dense"] / row["us"], 2)}
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| network | form | file, bytes | smaller | us a step | as fast as dense | formats |", "|" + " --- |" * 7]
    for row in rows:
        cells = (row["network"], row["form"], row["bytes"], row["smaller"], row["us"], row["faster"])
        lines.append("| " + " | ".join(map(str, cells)) + f" | {', '.join(row['formats'])} |")
    return "\n".join(lines) + "\n"


@torch.no_grad()
def main() -> None:
    set_flush_denormal()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        rows = [row for name in NETWORKS for row in measure(name, Path(folder))]
    (FOLDER / "packed_rows.json").write_text(json.dumps(rows, indent=2) + "\n")
    (FOLDER / "packed_rows.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
