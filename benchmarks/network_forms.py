"""One trained network in every form: masked, compacted, on the engine, in 8 bits; dense and small dense beside it.

Each line has the bytes of a file, the microseconds of a step of a sequence (one thread, in alternating rounds) as a
ratio to the dense network, and the largest difference from the masked network's outputs over their largest number.
`small dense` has as many units as fit into the compacted file; it is untrained, as its time does not depend on that.

    python benchmarks/network_forms.py RUN [RUN ...] [--steps 100] [--batch 1] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsernn import runtime, set_flush_denormal
from sparsernn.compaction.files import file_of, plain_size
from sparsernn.deploy.packing import pack
from sparsernn.experiments import trained
from sparsernn.experiments.compacted import made_up_batch, output
from sparsernn.experiments.network import build, units_for
from sparsernn.experiments.packing import in_turns
from sparsernn.experiments.trained import read_final
from sparsernn.reports.quantities import Table, size, times


def forms(run: Path, steps: int, batch: int) -> list[dict[str, Any]]:
    """The rows of one run."""
    whole, final = trained.read(run), read_final(run).eval()
    masked = whole.network.eval()
    sequences = made_up_batch(whole.data, batch, steps)
    expected = torch_output(masked, sequences)
    dense = copy.deepcopy(masked)
    for parameter in dense.parameters():
        parameter.data.copy_(torch.randn_like(parameter) / 20)
    written = (run / "compact.safetensors").stat().st_size
    small = small_dense(whole, written)
    rows: list[tuple[str, int, Callable[[], Tensor], bool]] = [
        ("dense", plain_size(dense), partial(torch_output, dense, sequences), False),
        ("masked", len(file_of(masked, whole.masks)[0]), partial(torch_output, masked, sequences), True),
        ("compacted", written, partial(torch_output, final, sequences), True),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (("engine", {}), ("engine, int8", {"int8": True, "dtype": "int8"})):
            path = Path(folder) / name
            pack(path, final, steps=steps, batch=batch, **options)
            loaded = runtime.load(path)
            rows.append(
                (f"compacted, {name}", path.stat().st_size, partial(engine_output, loaded, sequences, whole), True)
            )
    rows.append(("small dense", plain_size(small), partial(torch_output, small, sequences), False))
    taken = in_turns({name: call for name, _, call, _ in rows}, steps)
    scale = float(expected.abs().max())
    return [
        {
            "run": run.name,
            "network": name,
            "bytes": length,
            "us": taken[name],
            "difference": float((call() - expected).abs().max()) / scale if same else None,
        }
        for name, length, call, same in rows
    ]


def small_dense(whole: trained.Trained, most: int) -> nn.Module:
    """The widest dense network of the same kind whose file is not larger."""
    options = {**whole.row.options, "units": units_for(whole.row, whole.data, most)}
    return build(dataclasses.replace(whole.row, options=options), whole.data).eval()


@torch.inference_mode()
def torch_output(network: nn.Module, sequences: Any) -> Tensor:
    return output(network, sequences)


def engine_output(loaded: runtime.Artifact, sequences: Any, whole: trained.Trained) -> Tensor:
    ids = sequences.inputs.numpy()
    turned = whole.data["objective"] == "language_model"
    result = torch.from_numpy(loaded.run(np.ascontiguousarray(ids.T if turned else ids)))
    return result.transpose(0, 1) if turned else result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    set_flush_denormal()
    rows = [row for run in options.runs for row in forms(run, options.steps, options.batch)]
    dense = {row["run"]: row["us"] for row in rows if row["network"] == "dense"}
    lines = [
        (
            f"{row['run']}: {row['network']}",
            size(row["bytes"]),
            times(dense[row["run"]] / row["us"]),
            "-" if row["difference"] is None else f"{row['difference']:.1e}",
        )
        for row in rows
    ]
    print(Table(("network", "bytes", "faster than dense", "difference"), tuple(lines)).markdown())
    if options.out:
        options.out.write_text(
            json.dumps({"rows": rows, "steps": options.steps, "batch": options.batch}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
