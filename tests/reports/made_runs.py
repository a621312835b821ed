"""Run folders made by hand, with the files and keys that a run writes."""

import json
import math
from pathlib import Path

import numpy as np

GRU = ("reset", "update", "candidate")
ENVIRONMENT = {
    "python": "3.11.7",
    "torch": "2.13.0",
    "processor": "x86_64, 2 cores",
    "threads": 1,
    "flush_denormal": True,
    "packages": {"numpy": "2.4.6", "matplotlib": "3.11.2"},
}
ROWS = {
    "dense": {"accuracy": 0.9725, "weights_kept": 14_400, "bytes": 59_176, "ms_batch_1": 0.412, "ms_batch_32": 0.071},
    "smaller dense": {"accuracy": 0.945, "weights_kept": 3_700, "bytes": 15_560, "ms_batch_1": 0.301},
    "magnitude, neurons": {"accuracy": 0.965, "weights_kept": 3_702, "bytes": 15_570, "ms_batch_1": 0.302},
    "ST-RNN 90 %": {"accuracy": 0.9575, "weights_kept": 1_440, "bytes": 9_320, "ms_batch_1": 0.405},
    "group lasso": {"accuracy": 0.96, "weights_kept": 2_950, "bytes": 12_600, "ms_batch_1": 0.29},
    "RigL 90 %": {"accuracy": 0.9574, "weights_kept": 1_441, "bytes": 9_330, "ms_batch_1": 0.406},
}


def write_masks(path: Path, masks: dict[str, np.ndarray], gates: tuple[str, ...]) -> None:
    arrays = {}
    layouts = {}
    for name, kept in masks.items():
        arrays[f"{name}.bits"] = np.packbits(kept.reshape(-1), bitorder="little")
        arrays[f"{name}.shape"] = np.array(kept.shape, dtype=np.int64)
        source = "input" if "_ih" in name else "hidden"
        layouts[name] = {"axes": ["gate", "hidden", source], "gates": list(gates), "text": f"gate hidden <- {source}"}
    arrays["layouts"] = np.frombuffer(json.dumps(layouts).encode(), dtype=np.uint8)
    np.savez(path, **arrays)


def make_run(folder: Path, row: str, metrics: dict, *, masks=None, gates=GRU, steps=400, seed=0, **result) -> Path:
    folder.mkdir(parents=True)
    recipe = result.pop("recipe", "quickstart")
    record = {"recipe": recipe, "row": row, "size": "quick", "seed": seed, "metrics": metrics, "published": {}}
    record |= {"command": f"sparsernn run {recipe} --out runs/{recipe}", "seconds": 17.2}
    (folder / "result.json").write_text(json.dumps(record | {"environment": ENVIRONMENT} | result))
    (folder / "recipe.json").write_text(json.dumps({"name": row, "method": {"name": "magnitude"} if masks else None}))
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT))
    generator = np.random.default_rng(seed + len(row))
    lines = []
    for step in range(0, steps + 1, max(steps // 20, 1)):
        sparsity = min(0.9, step / steps * 1.2) if masks else 0.0
        loss = 2.3 * math.exp(-4 * step / steps) + 0.1 + 0.05 * generator.random()
        line = {"epoch": step // 20, "step": step, "sparsity": sparsity, "train_loss": loss, "valid_loss": loss + 0.08}
        lines.append(line | {"valid_accuracy": 0.98 - 0.85 * math.exp(-(4 + seed / 3) * step / steps)})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if masks:
        write_masks(folder / "masks.npz", masks, gates)
    return folder


def neuron_masks(units: int = 64, inputs: int = 8, alive: int = 24, seed: int = 1) -> dict[str, np.ndarray]:
    kept = np.zeros(units, dtype=bool)
    kept[np.random.default_rng(seed).permutation(units)[:alive]] = True
    rows = np.tile(kept, 3)
    return {
        "rnn.weight_ih_l0": np.repeat(rows[:, None], inputs, axis=1),
        "rnn.weight_hh_l0": rows[:, None] & kept[None, :],
    }


def scattered_masks(units: int, inputs: int, density: float, gates: int = 3, seed: int = 2) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "rnn.weight_ih_l0": generator.random((gates * units, inputs)) < density,
        "rnn.weight_hh_l0": generator.random((gates * units, units)) < density * np.linspace(0.2, 2, units),
    }


def confusion(labels: list[str], seed: int = 3) -> dict:
    generator = np.random.default_rng(seed)
    matrix = generator.poisson(0.6, (len(labels), len(labels))) + np.diag(generator.integers(30, 44, len(labels)))
    return {"labels": labels, "matrix": matrix.tolist()}


def make_recipe(folder: Path) -> list[Path]:
    """Six rows of one recipe, as the quick start writes them."""
    runs = []
    for number, (row, metrics) in enumerate(ROWS.items()):
        speed = {"ms_batch_32": 0.05 + 0.004 * number} | metrics
        speed |= {"speedup_batch_1": 0.412 / speed["ms_batch_1"], "speedup_batch_32": 0.071 / speed["ms_batch_32"]}
        masks = None
        if row.startswith("magnitude") or row.startswith("group"):
            masks = neuron_masks(seed=number)
        elif "%" in row:
            masks = scattered_masks(64, 8, 0.1, seed=number)
        runs.append(make_run(folder / f"{number}", row, speed, masks=masks, seed=number))
        (runs[-1] / "confusion.json").write_text(json.dumps(confusion(list("0123456789"))))
    return runs
