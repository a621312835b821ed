"""What a run folder holds, read without running anything: results, curves and masks."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

import numpy as np

from sparsernn.errors import UserError
from sparsernn.reading import arrays, json_file, json_lines, parsed_as, readable
from sparsernn.reports.old_results import translated

OBJECTS = ("metrics", "published", "environment", "splits", "provenance")
"""Parts of a result, where it has them."""
BITS = ("|u1", "<i8")

Json = Mapping[str, Any]  # an object as it is read from JSON


class Described(TypedDict, total=False):
    """What a file of masks says of a tensor."""

    axes: list[str]
    gates: list[str]
    text: str


@dataclass(frozen=True)
class Mask:
    """Which weights of one tensor exist.

    Arguments:
        name: the parameter's name.
        kept: the bits as the tensor is stored, gates stacked along dimension 0.
        axes: names of the dimensions, the gate being one of its own: ("gate", "hidden", "input").
        gates: names of the gates; empty where there is none.
    """

    name: str
    kept: np.ndarray
    axes: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()

    @property
    def density(self) -> float:
        return float(self.kept.mean()) if self.kept.size else 0.0

    def by_gate(self) -> dict[str, np.ndarray]:
        """The matrix of each gate [units sources]; a tensor without gates is one entry with an empty name."""
        matrix = self.kept.reshape(len(self.kept), -1)
        if not self.gates or len(matrix) % len(self.gates):
            return {"": matrix}
        return dict(zip(self.gates, np.split(matrix, len(self.gates)), strict=True))


@dataclass(frozen=True)
class Run:
    """One run folder.

    Arguments:
        folder: where it lies.
        result: the content of result.json, empty if the run has not ended.
        recipe: the content of recipe.json.
        environment: the content of environment.json.
        records: the lines of metrics.jsonl.
        masks: the masks by tensor name.
        confusion: {"labels": [...], "matrix": [[...]]} of the test split, from confusion.json or the metrics.
        label: what to call it in tables and figures.
        events: what the masks did: step, births, deaths, densities.
        explanation: the content of explanation.json, empty if the run was not explained.
        spectra: step Jacobians' spectra and connections, before and after training, from spectra.json.
        structure: units, gates and words that live, from structure.json.
        lags: norms of gradients by lag, from lags.json.
    """

    folder: Path
    result: Json
    recipe: Json
    environment: Json
    records: tuple[Json, ...]
    masks: Mapping[str, Mask]
    confusion: Json
    label: str
    events: tuple[Json, ...] = ()
    spectra: Json = field(default_factory=dict)
    explanation: Json = field(default_factory=dict)
    structure: Json = field(default_factory=dict)
    lags: Json = field(default_factory=dict)

    @property
    def metrics(self) -> Json:
        metrics = self.result.get("metrics")
        return metrics if isinstance(metrics, Mapping) else {}

    @property
    def goal(self) -> str:
        """The metric that the task names as its own; empty if it names none."""
        data = self.recipe.get("data")
        return str(data.get("metric", "")) if isinstance(data, Mapping) else ""

    @property
    def is_trained_dense(self) -> bool:
        return not any(self.recipe.get(part) for part in ("method", "start", "zeros", "baseline"))

    def curve(self, key: str) -> tuple[list[float], list[float]]:
        """Steps and values of one quantity; epochs where it is absent or not finite are left out."""
        records = [each for each in self.records if is_number(each.get("step")) and is_number(each.get(key))]
        steps = [float(record["step"]) for record in records]
        return steps, [float(record[key]) for record in records]


def read_run(folder: Path | str) -> Run:
    """Read a run folder, finished or not.

    Raises: UserError if it is no run folder or a file in it is damaged.
    """
    folder = Path(folder)
    if not (folder / "result.json").is_file() and not (folder / "recipe.json").is_file():
        raise UserError(
            f"{folder} is not a run folder",
            "a folder with recipe.json or result.json, as `sparsernn run` writes them",
            "give the folder of one run, or of each row of a recipe",
        )
    recipe = _object(folder / "recipe.json")
    data = recipe.get("data")
    metric = str(data.get("metric", "")) if isinstance(data, Mapping) else ""
    result = translated(read_result(folder / "result.json"), metric)
    environment = _object(folder / "environment.json") or result.get("environment")
    masks = folder / "masks.npz"
    metrics = result.get("metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    confusion = _object(folder / "confusion.json") or metrics.get("confusion")
    return Run(
        folder=folder,
        result=result,
        recipe=recipe,
        environment=environment if isinstance(environment, Mapping) else {},
        records=_records(folder / "metrics.jsonl"),
        masks=read_masks(masks) if _exists(masks) else {},
        confusion=confusion if isinstance(confusion, Mapping) else {},
        label=str(result.get("row") or folder.resolve().name),
        events=_records(folder / "events.jsonl"),
        explanation=_object(folder / "explanation.json"),
        spectra=_object(folder / "spectra.json"),
        structure=_object(folder / "structure.json"),
        lags=_object(folder / "lags.json"),
    )


def read_runs(folders: Iterable[Path | str]) -> list[Run]:
    """Read several run folders; runs that would share a label also show their size and seed, or their folder.

    A folder that is no run but holds runs stands for all of them: first those without a network, then those trained
    dense, then in order of name.
    """
    runs = [run for folder in folders for run in _runs_in(Path(folder))]
    labels = [run.label for run in runs]
    return [run if labels.count(run.label) == 1 else _told_apart(run, runs) for run in runs]


def _runs_in(folder: Path) -> list[Run]:
    inside = sorted({path.parent for name in ("recipe.json", "result.json") for path in folder.glob(f"*/{name}")})
    if not inside or (folder / "recipe.json").is_file() or (folder / "result.json").is_file():
        return [read_run(folder)]
    runs = map(read_run, inside)
    return sorted(runs, key=lambda run: ((run.folder / "recipe.json").is_file(), not run.is_trained_dense))


def _told_apart(run: Run, runs: list[Run]) -> Run:
    same = [other for other in runs if other.label == run.label]
    for words in (("recipe",), ("size",), ("seed",), ("recipe", "size"), ("size", "seed"), ("recipe", "size", "seed")):
        names = {tuple(map(other.result.get, words)) for other in same}
        if len(names) == len(same):
            parts = [f"seed {run.result[word]}" if word == "seed" else str(run.result.get(word)) for word in words]
            return replace(run, label=f"{run.label}, {', '.join(parts)}")
    return replace(run, label=f"{run.label}, {run.folder}")


def read_masks(path: Path | str) -> dict[str, Mask]:
    """Read a file of masks saved as bits; nothing in it is ever executed.

    Raises: UserError if the file is truncated, too large or does not fit its own description.
    """
    with readable(path, expected="a masks.npz as a run writes it", do="take it from the run folder again"):
        stored = arrays(path, BITS)
        layouts = parsed_as(stored["layouts"].tobytes(), dict[str, Described]) if "layouts" in stored else {}
        names = [key.removesuffix(".bits") for key in stored if key.endswith(".bits")]
        return {name: _mask(name, stored, layouts.get(name, {})) for name in names}


def _mask(name: str, stored: Mapping[str, np.ndarray], layout: Described) -> Mask:
    bits, shape = stored[f"{name}.bits"], tuple(int(size) for size in stored[f"{name}.shape"])
    count = math.prod(shape)
    if bits.dtype != np.uint8 or min(shape, default=0) < 0 or bits.size != -(-count // 8):
        raise ValueError(f"{name} has {bits.size} bytes of bits for shape {shape}")
    kept = np.unpackbits(bits.reshape(-1), count=count, bitorder="little").astype(bool).reshape(shape)
    return Mask(name, kept, tuple(layout.get("axes", ())), tuple(layout.get("gates", ())))


def read_result(path: Path) -> Json:
    """What is in a result file; {} without a file.

    Raises: UserError for a damaged file, or one whose parts are not objects.
    """
    result = _object(path)
    for name in OBJECTS:
        if not isinstance(result.get(name, {}), dict):
            raise UserError(f"{name} in {path} is {result[name]!r:.80}", "an object", "run its row again")
    return result


def _object(path: Path, kind: type[Json] = dict) -> Json:
    return json_file(path, kind) if _exists(path) else {}


def _records(path: Path) -> tuple[Json, ...]:
    return tuple(json_lines(path)) if _exists(path) else ()


def _exists(path: Path) -> bool:
    """Whether there is anything of this name, if only a link that leads nowhere."""
    return os.path.lexists(path)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
