"""Time per sequence of a compacted LSTM against dense rivals, in one interleaved run.

Rivals: the dense nn.LSTM, the same with three quarters of its neurons zeroed but not cut, a dense LSTM of a quarter of
the units (the size of the compacted one), and torch's dynamic int8 of the dense
one. Outputs of the compacted network must equal those of the zeroed one within 1e-6; otherwise no figure is printed.

    python benchmarks/compaction_speed.py [--units 256 512] [--batches 1 32] [--time 100] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn import compact, set_flush_denormal, sparsify
from sparsernn.compaction.files import file_of
from sparsernn.measure import latency
from sparsernn.methods.magnitude import Magnitude

SPARSITY = 0.75
INPUTS, CLASSES = 64, 10
TOLERANCE = 1e-6


class Network(nn.Module):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(INPUTS, units, batch_first=True)
        self.head = nn.Linear(units, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[1][0][-1])


def rivals(units: int, time: int) -> dict[str, nn.Module]:
    """The networks by name, the dense one first; raises SystemExit if compaction changed an output."""
    torch.manual_seed(0)
    dense = Network(units).eval()
    x = torch.randn(4, time, INPUTS)
    zeroed = copy.deepcopy(dense)
    masks = sparsify(zeroed, Magnitude(SPARSITY, granularity="neuron"), example=(x,))
    compacted, _ = compact(zeroed, masks, example=(x,))
    with torch.no_grad():
        difference = (compacted(x) - zeroed(x)).abs().max().item()
    left = compacted.rnn.hidden_size
    if difference > TOLERANCE or left != round((1 - SPARSITY) * units):
        sys.exit(f"no figure for {units} units: {left} are left and outputs differ by {difference:.2e}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        int8 = torch.ao.quantization.quantize_dynamic(copy.deepcopy(dense), {nn.LSTM, nn.Linear}, torch.qint8)
    return {
        "dense": dense,
        f"{SPARSITY:.0%} of neurons zero, not cut": zeroed,
        "compacted": compacted,
        f"dense with {left} units": Network(left).eval(),
        "dense, torch dynamic int8": int8,
    }


def compare(units: int, batches: list[int], time: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    models = rivals(units, time)
    generator = torch.Generator().manual_seed(1)
    timings = latency.latency(
        models,
        lambda batch: torch.randn(batch, time, INPUTS, generator=generator),
        batches=batches,
        rounds=rounds,
        seconds=seconds,
    )
    rows = []
    for name, model in models.items():
        file_bytes = None if "int8" in name else len(file_of(model)[0])
        rows.append({"units": units, "network": name, "bytes": file_bytes, **latency.numbers(timings, name)})
    return rows


def show(row: dict[str, Any], batches: list[int]) -> str:
    times = "   ".join(
        f"batch {batch}: {row[f'ms_batch_{batch}']:8.3f} ms "
        f"({row[f'ms_batch_{batch}_low']:.3f}-{row[f'ms_batch_{batch}_high']:.3f}) "
        f"{row[f'speedup_batch_{batch}']:6.2f}x"
        for batch in batches
    )
    return f"H {row['units']:4} {row['network']:32} {times}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, nargs="*", default=[256, 512])
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 32])
    parser.add_argument("--time", type=int, default=100, help="steps of a sequence")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seconds", type=float, default=60.0, help="upper bound for each number of units")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    set_flush_denormal()
    rows = []
    for units in arguments.units:
        for row in compare(units, arguments.batches, arguments.time, arguments.rounds, arguments.seconds):
            rows.append(row)
            print(show(row, arguments.batches), flush=True)
    if arguments.out:
        about = {"benchmark": "compaction_speed", "torch": torch.__version__, "threads": 1, "time": arguments.time}
        arguments.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
