"""Tables from run folders and result files, and the tables of the documentation, which are generated from them."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsernn.errors import UserError
from sparsernn.reports.reading import Mask, Run

MARKED = re.compile(r"^<!-- table: (?P<name>[\w./-]+) -->\n(?P<body>.*?)^<!-- end table -->$", re.DOTALL | re.MULTILINE)
OPENING = re.compile(r"^<!-- table: ", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts in columns; the first column is the row's name.

    Arguments:
        columns: titles.
        rows: as many texts each.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table for a Markdown file, numbers to the right."""
        lines = [self.columns, ("---", *("---:" for _ in self.columns[1:])), *self.rows]
        return "\n".join("| " + " | ".join(_markdown_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _markdown_cell(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return text.replace("&", "&amp;").replace("<", "&lt;")


def percent(value: float) -> str:
    """A fraction as a percentage that does not hide the last few weights."""
    digits = 1 if value >= 0.1 or value == 0 else 2
    return f"{100 * value:.{digits}f} %"


def whole(value: float) -> str:
    return f"{round(value):,}"


def size(value: float) -> str:
    """A number of bytes in kB or MB (powers of 1000)."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            return f"{significant(value / limit)} {unit}"
    return f"{round(value)} B"


def significant(value: float, digits: int = 3) -> str:
    """A number with three significant digits and no exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def times(value: float) -> str:
    return f"{value:.2f}×" if value < 10 else f"{significant(value)}×"


def score(value: float) -> str:
    """An accuracy as a percentage; given as a fraction, or as a percentage already."""
    return f"{100 * value if value <= 1 else value:.2f} %"


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One number of a result file: what to call it, how to write it, which way is better.

    Arguments:
        key: its name in the metrics.
        title: its name for people.
        write: from the value to text.
        better: "higher", "lower" or "" where neither is.
    """

    key: str
    title: str
    write: Callable[[float], str] = significant
    better: str = ""


GOALS = (
    Quantity("accuracy", "accuracy", score, "higher"),
    Quantity("perplexity", "perplexity", lambda value: f"{value:.2f}", "lower"),
    Quantity("bits_per_character", "bits per character", lambda value: f"{value:.3f}", "lower"),
    Quantity("f1", "F1", score, "higher"),
    Quantity("mse", "mean squared error", significant, "lower"),
    Quantity("mae", "mean absolute error", significant, "lower"),
    Quantity("loss", "loss", significant, "lower"),
)
COSTS = (
    Quantity("weights_kept", "weights kept", whole, "lower"),
    Quantity("sparsity", "sparsity", percent),
    Quantity("bytes", "bytes", size, "lower"),
    Quantity("macs_per_token", "multiply-adds per step", whole, "lower"),
    Quantity("ms_batch_1", "ms per sequence, batch 1", significant, "lower"),
    Quantity("speedup_batch_1", "against dense, batch 1", times, "higher"),
    Quantity("ms_batch_32", "ms per sequence, batch 32", significant, "lower"),
    Quantity("speedup_batch_32", "against dense, batch 32", times, "higher"),
)


def value_of(metrics: Mapping[str, Any], quantity: Quantity) -> float | None:
    """A metric under its own name or with `test_` before it; None if absent or not a finite number."""
    for key in (f"test_{quantity.key}", quantity.key):
        found = metrics.get(key)
        if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
            return float(found)
    return None


def goal(results: Iterable[Mapping[str, Any]], named: Iterable[str] = ()) -> Quantity | None:
    """The quantity that results compete on: the task's own, else a published one, else the first known one."""
    found = list(results)
    metrics = [result.get("metrics") or {} for result in found]
    candidates = [q for q in GOALS if any(value_of(each, q) is not None for each in metrics)]
    published = {q.key for q in candidates for each in found if value_of(each.get("published") or {}, q) is not None}
    wanted = [*named, *(q.key for q in candidates if q.key in published)]
    ranks = {key: rank for rank, key in reversed(list(enumerate(wanted)))}
    return min(candidates, key=lambda q: ranks.get(q.key, len(ranks) + len(wanted)), default=None)


def goal_of(runs: Iterable[Run]) -> Quantity | None:
    """The quantity that runs compete on."""
    known = list(runs)
    return goal([run.result for run in known], [run.goal for run in known])


def results(runs: Sequence[Run]) -> Table:
    """Quality, size and time of every run, one row each."""
    return _compare([(run.label, [run.result]) for run in runs], goal_of(runs))


def results_table(results_folder: Path | str, recipe: str) -> str:
    """The Markdown table of a recipe's result files; several seeds become mean ± standard deviation.

    Arguments:
        results_folder: holds `<recipe>/<row>-<size>-seed<k>.json`.
        recipe: its name, or `name/size` for the results of one size.
    Raises: UserError if there is no result or a file is damaged.
    """
    name, _, wanted = recipe.partition("/")
    folder = Path(results_folder) / name
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        result = _result(path)
        if not wanted or result["size"] == wanted:
            found.setdefault((str(result["row"]), str(result["size"])), []).append(result)
    if not found:
        raise UserError(
            f"{folder} holds no result{f' of size {wanted}' if wanted else ''}",
            "files named <row>-<size>-seed<k>.json, as `sparsernn run` writes them",
            f"run `sparsernn run {name}` or correct the table's marker",
        )
    sizes = {size_name for _, size_name in found}
    groups = [
        (row if len(sizes) == 1 else f"{row} ({size_name})", group) for (row, size_name), group in found.items()
    ]
    groups.sort(key=_largest_first)
    return _compare(groups, goal(result for _, group in groups for result in group)).markdown()


def _largest_first(group: tuple[str, list[Mapping[str, Any]]]) -> tuple[float, str]:
    label, found = group
    weights = [value_of(result["metrics"], q) for result in found for q in COSTS if q.key in ("bytes", "weights_kept")]
    return -max((value for value in weights if value is not None), default=0.0), label


def _result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        complete = isinstance(result["metrics"], dict) and {"recipe", "row", "size", "seed"} <= set(result)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a result: {error!r}", "a file that a run wrote", "run its row again") from error
    if not complete:
        raise UserError(f"{path} is incomplete", "recipe, row, size, seed and metrics", "run its row again")
    return result


def _compare(groups: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], main: Quantity | None) -> Table:
    metrics = [[result.get("metrics") or {} for result in group] for _, group in groups]
    published = [[result.get("published") or {} for result in group] for _, group in groups]
    columns: list[tuple[str, list[str]]] = []
    if any(len(group) > 1 for group in metrics):
        columns.append(("seeds", [str(len(group)) for group in metrics]))
    for quantity in (*([main] if main else []), *COSTS):
        columns += _column(quantity.title, quantity, metrics)
        columns += _column(f"{quantity.title}, published", quantity, published)
    cells = zip(*(texts for _, texts in columns), strict=True) if columns else [() for _ in groups]
    rows = tuple((label, *row) for (label, _), row in zip(groups, cells, strict=True))
    return Table(("network", *(title for title, _ in columns)), rows)


def _column(
    title: str, quantity: Quantity, groups: Sequence[Sequence[Mapping[str, Any]]]
) -> list[tuple[str, list[str]]]:
    """The column, or nothing where no row has a value."""
    values = [[v for metrics in group if (v := value_of(metrics, quantity)) is not None] for group in groups]
    if not any(values):
        return []
    return [(title, [_mean(quantity, group) for group in values])]


def _mean(quantity: Quantity, values: Sequence[float]) -> str:
    if not values:
        return "–"
    text = quantity.write(statistics.fmean(values))
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    if spread == 0:
        return text
    if quantity.write is score:
        return f"{text.removesuffix(' %')} ± {100 * spread if max(values) <= 1 else spread:.2f} %"
    return f"{text} ± {quantity.write(spread)}"


def layers(run: Run) -> Table:
    """What is left of each masked tensor: by gate, units with a weight left, gates that became constant."""
    rows = []
    for layer, masks in by_layer(run.masks).items():
        alive, constant = _units(masks)
        for mask in masks:
            gates = [f"{gate} {percent(float(kept.mean()))}" for gate, kept in mask.by_gate().items() if gate]
            shape = " × ".join(map(str, mask.kept.shape))
            rows.append((layer, mask.name, shape, percent(mask.density), ", ".join(gates) or "–", alive, constant))
    titles = ("layer", "tensor", "shape", "kept", "kept by gate", "still connected", "gates that read nothing")
    return Table(titles, tuple(rows))


def by_layer(masks: Mapping[str, Mask]) -> dict[str, list[Mask]]:
    """Input and recurrent matrices of a layer together; vectors are left out."""
    found: dict[str, list[Mask]] = {}
    for name, mask in masks.items():
        if mask.kept.ndim < 2:
            continue
        module, _, parameter = name.rpartition(".")
        level = re.search(r"_(l\d+\w*)$", parameter)
        layer = f"{module} {level.group(1) if level else ''}".strip() or parameter
        found.setdefault(layer, []).append(mask)
    return found


def _units(masks: Sequence[Mask]) -> tuple[str, str]:
    """Rows that still read something, and gates of such units that read nothing and so are constant.

    A tensor of the layer without a mask is whole, so then every unit reads something.
    """
    axis = next((mask.axes[-2] for mask in masks if len(mask.axes) >= 2), "hidden")
    noun = {"hidden": "units", "word": "words"}.get(axis, "rows")
    kinds = {found.group(1) for mask in masks if (found := re.search(r"weight_(ih|hh)", mask.name))}
    reading = [np.stack([kept.any(axis=1) for kept in mask.by_gate().values()]) for mask in masks]
    if len(kinds) == 1:
        reading.append(np.ones_like(reading[0]))
    if len({array.shape for array in reading}) > 1:
        return "–", "–"
    gates = np.logical_or.reduce(reading)  # [gate unit]
    units = gates.any(axis=0)
    constant = f"{int((~gates & units).sum()):,}" if len(gates) > 1 else "–"
    return f"{int(units.sum()):,} of {units.size:,} {noun}", constant


def fill(text: str, results_folder: Path | str) -> str:
    """Write the generated tables between `<!-- table: NAME -->` and `<!-- end table -->`.

    Raises: UserError if a table has no end, or its recipe no result.
    """
    if len(OPENING.findall(text)) != len(MARKED.findall(text)):
        raise UserError(
            "a table's marker is not closed",
            "<!-- table: NAME --> and <!-- end table -->, each on a line of its own",
            "add the missing line",
        )
    return MARKED.sub(
        lambda found: (
            f"<!-- table: {found['name']} -->\n{results_table(results_folder, found['name'])}<!-- end table -->"
        ),
        text,
    )


def check(files: Iterable[Path | str], results_folder: Path | str = "results") -> list[str]:
    """One sentence for each file whose tables are not those of the result files; none if all are right."""
    differences = []
    for file in map(Path, files):
        text = file.read_text(encoding="utf-8")
        filled = fill(text, results_folder)
        pairs = zip(MARKED.finditer(text), MARKED.finditer(filled), strict=True)
        names = [old["name"] for old, new in pairs if old["body"] != new["body"]]
        if names:
            differences.append(f"{file}: the tables {', '.join(names)} differ from {results_folder}")
    return differences
