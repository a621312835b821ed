"""Bytes of the files of sparse networks, against the dense network saved in the same way with nothing packed.

A file that does not give back the same outputs, bit for bit where it is exact, stops the run.

    python benchmarks/file_sizes.py [--units 256] [--words 20003] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsernn import compact, load_compact, save_compact, set_flush_denormal, sparsify
from sparsernn.compaction.files import file_of
from sparsernn.methods.magnitude import Magnitude
from sparsernn.models.classifier import Classifier

TYPES = (None, "float16", "int8")


def measure(name: str, make: Callable[[], nn.Module], method: Magnitude, where: str, folder: Path) -> dict[str, Any]:
    """The sizes of one network's files, and their largest errors."""
    torch.manual_seed(0)
    model = make().eval()
    ids = torch.randint(model.embedding.num_embeddings, (4, 20))
    row: dict[str, Any] = {"network": name, "dense": len(file_of(model, plain=True)[0])}
    masks = sparsify(model, method, example=(ids,), where=where)
    small, left = compact(model, masks, example=(ids,))
    row["cut"] = len(file_of(small, plain=True)[0])
    for dtype in TYPES:
        path, kind = folder / "small.safetensors", dtype or "exact"
        errors = save_compact(path, small, left, dtype)
        row[kind], row[f"{kind}_error"] = path.stat().st_size, max(errors.values(), default=0.0)
        loaded = load_compact(path, make()).eval()
        with torch.no_grad():
            if dtype is None and not torch.equal(loaded(ids), small(ids)):
                sys.exit(f"{name}: the network that was read computes something else")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--words", type=int, default=20_003)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    set_flush_denormal()

    def lstm() -> nn.Module:
        return Classifier(vocabulary=100, inputs=128, classes=4, units=arguments.units, cell="lstm")

    def texts() -> nn.Module:
        return Classifier(vocabulary=arguments.words, inputs=128, classes=2, units=64)

    networks = [
        ("90 % of single weights", lstm, Magnitude(0.9), "cell.*"),
        ("90 % in blocks 16x1", lstm, Magnitude(0.9, granularity="16x1"), "cell.*"),
        ("75 % of neurons", lstm, Magnitude(0.75, granularity="neuron"), "cell.*"),
        ("99.5 % of words", texts, Magnitude(0.995, granularity="word"), "embedding.*"),
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make, method, where in networks:
            rows.append(measure(name, make, method, where, Path(folder)))
            print("   ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if arguments.out:
        about = {"benchmark": "file_sizes", "torch": torch.__version__, "units": arguments.units}
        arguments.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
