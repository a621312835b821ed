"""Tables from run folders and result files, and the tables of the documentation, which are generated from them."""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sparsernn.errors import UserError
from sparsernn.reports.comparison import DENSE, Group, compare, paired, pooled
from sparsernn.reports.old_results import translated
from sparsernn.reports.quantities import (
    COSTS,
    Quantity,
    Table,
    goal,
    percent,
    score,
    significant,
    size,
    times,
    value_of,
)
from sparsernn.reports.reading import Json, Mask, Run, read_result

Published = Callable[[Json], Mapping[str, float]]
"""The source's figures for a row, given a result file of it."""
MARKED = re.compile(r"^<!-- table: (?P<name>[\w./-]+) -->\n(?P<body>.*?)^<!-- end table -->$", re.DOTALL | re.MULTILINE)
OPENING = re.compile(r"^<!-- table: ", re.MULTILINE)


def goal_of(runs: Iterable[Run]) -> Quantity | None:
    """The quantity that runs compete on."""
    runs = list(runs)
    goals = [run.goal for run in runs]
    return goal([run.result for run in runs], goals)


def results(runs: Sequence[Run]) -> Table:
    """Quality, size and time of every run, one row each."""
    return compare([(run.label, [run.result]) for run in runs], goal_of(runs))


BRIEF = ("bytes", "ms_batch_1")


def brief(runs: Sequence[Run]) -> Table:
    """The columns of `results` that matter most: quality, bytes and time."""
    table, main = results(runs), goal_of(runs)
    titles = [quantity.title for quantity in [*([main] if main else []), *(q for q in COSTS if q.key in BRIEF)]]
    places = [0, *(place for place, title in enumerate(table.columns) if title.partition(" ±")[0] in titles)]
    return Table(
        tuple(table.columns[place] for place in places),
        tuple(tuple(row[place] for place in places) for row in table.rows),
    )


def over_seeds(runs: Sequence[Run]) -> Table | None:
    """The same with the seeds of a row as mean ± sample deviation; None where every row was run once."""
    groups = by_row(runs)
    return compare(groups, goal_of(runs)) if any(len(results) > 1 for _, results in groups) else None


def by_row(runs: Iterable[Run]) -> list[tuple[str, list[Json]]]:
    """The results of finished runs that differ in their seed alone, together."""
    finished = [run for run in runs if run.result]
    return [(name, [run.result for run in row]) for name, row in seeds_together(finished)]


def seeds_together(runs: Iterable[Run]) -> list[tuple[str, list[Run]]]:
    """Runs that differ in their seed alone, by the row's name; each unfinished one by its own."""
    rows: dict[tuple[str, ...], list[Run]] = {}
    for number, run in enumerate(runs):
        words = (str(run.result.get(word, "")) for word in ("row", "recipe", "size"))
        rows.setdefault(tuple(words) if run.result else (run.label, str(number)), []).append(run)
    names = [name for name, *_ in rows]
    return [
        (key[0] if names.count(key[0]) == 1 or not row[0].result else ", ".join(key), row) for key, row in rows.items()
    ]


def as_run(result: Json) -> Mapping[str, float]:
    """The source's figures as the run wrote them."""
    return result.get("published") or {}


def results_table(results_folder: Path | str, recipe: str, published: Published = as_run) -> str:
    """The Markdown table of a recipe's result files; several seeds become mean ± sample deviation.

    Arguments:
        results_folder: holds `<recipe>/<row>-<size>-seed<k>.json`.
        recipe: its name, or `name/size` for the results of one size, or `name/size/paired` for every row of that size
            against the dense one, seed by seed; `name/size/paired/row` against PREFIX_row of the same prefix;
            `name/size/pooled/row` the same with all prefixes together.
        published: the source's figures, if they are not to be those of the files.
    Raises: UserError if there is no result or a file is damaged.
    """
    name, size, view, partner = (*recipe.split("/"), "", "", "")[:4]
    folder = Path(results_folder) / name
    by_row_and_size: dict[tuple[str, str], list[Json]] = {}
    for path in sorted(folder.glob("*.json")):
        result = _result(path)
        if not size or result["size"] == size:
            result = {**result, "published": published(result)}
            by_row_and_size.setdefault((str(result["row"]), str(result["size"])), []).append(result)
    if not by_row_and_size:
        raise UserError(
            f"{folder} holds no result{f' of size {size}' if size else ''}",
            "files named <row>-<size>-seed<k>.json, as `sparsernn run` writes them",
            f"run `sparsernn run {name}` or correct the table's marker",
        )
    results = list(itertools.chain.from_iterable(by_row_and_size.values()))
    if all(isinstance(result["metrics"].get("dense"), Mapping) for result in results):
        return side_by_side(results).markdown()
    one_size = len({size_name for _, size_name in by_row_and_size}) == 1
    groups = [
        (row if one_size else f"{row} ({size_name})", group) for (row, size_name), group in by_row_and_size.items()
    ]
    groups.sort(key=_largest_first)
    if view:
        return _against(groups, recipe, view, partner or DENSE).markdown()
    return compare(groups, goal(itertools.chain.from_iterable(group for _, group in groups))).markdown()


def _against(groups: Sequence[Group], recipe: str, view: str, partner: str) -> Table:
    table = {"paired": paired, "pooled": pooled}.get(view, lambda *_: None)(groups, partner)
    if table is None:
        raise UserError(
            f"there is no table {recipe}",
            "name/size/paired/row or name/size/pooled/row, the row being one of the results, dense if not given",
            "correct it",
        )
    return table


def side_by_side(results: Sequence[Json]) -> Table:
    """Results that hold the figures of several networks on one data set: a row a data set and seed.

    "saved" is what the one file holds, which may be a network, a linear model, or both; the time is of one core.
    """
    rows = []
    for result in sorted(results, key=lambda result: (result["row"], result["seed"])):
        verdict, metrics = result["metrics"]["verdict"], result["metrics"]
        saved = verdict["saved"]
        measure = goal([{"metrics": metrics["dense"]}])
        write = (lambda value: f"{value:.1f} %") if measure is None or measure.write is score else significant
        figures = [verdict["figures"].get(name) for name in ("majority", "baseline", "dense", "small_dense", saved)]
        sizes = [size(verdict["bytes"][name]) if verdict["bytes"].get(name) else "–" for name in ("baseline", saved)]
        faster = [verdict["microseconds"].get(name) or math.nan for name in ("baseline", saved)]
        rows.append(
            (
                f"{result['row'].replace('_', ' ')}, seed {result['seed']}",
                *("–" if value is None else write(value) for value in figures),
                *sizes,
                times(faster[0] / faster[1]),
                f"{metrics['processor_seconds'] / 60:.1f} min",
            )
        )
    titles = ("data set", "doing nothing", "baseline", "dense", "small dense", "saved")
    return Table((*titles, "bytes, baseline", "bytes, saved", "call, against baseline", "processor time"), tuple(rows))


def _largest_first(group: tuple[str, list[Json]]) -> tuple[float, str]:
    label, results = group
    costs = [quantity for quantity in COSTS if quantity.key in ("bytes", "weights_kept")]
    weights = [value_of(result["metrics"], cost) for result, cost in itertools.product(results, costs)]
    return -max((value for value in weights if value is not None), default=0.0), label


def _result(path: Path) -> Json:
    result = read_result(path)
    if not {"recipe", "row", "size", "seed", "metrics"} <= set(result) or type(result["seed"]) is not int:
        raise UserError(f"{path} is incomplete", "recipe, row, size, seed and metrics", "run its row again")
    return translated(result)


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
    layers: dict[str, list[Mask]] = {}
    for name, mask in masks.items():
        if mask.kept.ndim < 2:
            continue
        module, _, parameter = name.rpartition(".")
        level = re.search(r"_(l\d+\w*)$", parameter)
        layer = f"{module} {level.group(1) if level else ''}".strip() or parameter
        layers.setdefault(layer, []).append(mask)
    return layers


def _units(masks: Sequence[Mask]) -> tuple[str, str]:
    """Rows that still read something, and gates of such units that read nothing and so are constant.

    A tensor of the layer without a mask is whole, so then every unit reads something.
    """
    axis = next((mask.axes[-2] for mask in masks if len(mask.axes) >= 2), "hidden")
    noun = {"hidden": "units", "word": "words"}.get(axis, "rows")
    kinds = {match.group(1) for mask in masks if (match := re.search(r"weight_(ih|hh)", mask.name))}
    reading = [_reading_rows(mask) for mask in masks]
    if len(kinds) == 1:
        reading.append(np.ones_like(reading[0]))
    if len({array.shape for array in reading}) > 1:
        return "–", "–"
    gates = np.logical_or.reduce(reading)  # [gate unit]
    units = gates.any(axis=0)
    constant = f"{int((~gates & units).sum()):,}" if len(gates) > 1 else "–"
    return f"{int(units.sum()):,} of {units.size:,} {noun}", constant


def _reading_rows(mask: Mask) -> np.ndarray:
    """Which rows of each gate have a weight left, [gate unit]."""
    return np.stack([kept.any(axis=1) for kept in mask.by_gate().values()])


def fill(text: str, results_folder: Path | str, published: Published = as_run) -> str:
    """Write the generated tables between `<!-- table: NAME -->` and `<!-- end table -->`.

    Arguments:
        published: see `results_table`.
    Raises: UserError if a table has no end, or its recipe no result.
    """
    if len(OPENING.findall(text)) != len(MARKED.findall(text)):
        raise UserError(
            "a table's marker is not closed",
            "<!-- table: NAME --> and <!-- end table -->, each on a line of its own",
            "add the missing line",
        )

    def filled(match: re.Match[str]) -> str:
        table = results_table(results_folder, match["name"], published)
        return f"<!-- table: {match['name']} -->\n{table}<!-- end table -->"

    return MARKED.sub(filled, text)


def check(
    files: Iterable[Path | str], results_folder: Path | str = "results", published: Published = as_run
) -> list[str]:
    """One sentence for each file whose tables are not those of the result files; none if all are right."""
    differences = []
    for file in map(Path, files):
        text = file.read_text(encoding="utf-8")
        filled = fill(text, results_folder, published)
        pairs = zip(MARKED.finditer(text), MARKED.finditer(filled), strict=True)
        names = [old["name"] for old, new in pairs if old["body"] != new["body"]]
        if names:
            differences.append(f"{file}: the tables {', '.join(names)} differ from {results_folder}")
    return differences
