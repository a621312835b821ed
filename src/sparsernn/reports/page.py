"""One self-contained HTML page about some runs: works offline, holds no script, shows every name as text."""

import base64
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2 import TemplateError

from sparsernn import durable
from sparsernn.errors import UserError
from sparsernn.reading import readable
from sparsernn.reports import (
    automata,
    figures,
    gate_maps,
    lags,
    log_alpha,
    movement,
    quantities,
    spectra,
    sweeps,
    tables,
    verdicts,
)
from sparsernn.reports.comparison import paired
from sparsernn.reports.figures import Picture
from sparsernn.reports.quantities import Table
from sparsernn.reports.reading import Json, Run, read_runs

LARGEST_CONFUSION_TABLE = 20
AS_WRITTEN = "results, curves and masks as a run writes them"
NOTES = {
    "weights kept": "Weights kept are all numbers of the final network that exist, biases included.",
    "bytes": (
        "Bytes are those of the final network's file, which holds what is kept and where it stands; in results of "
        "earlier versions they are computed: kept values and one bit per weight, or the plain matrix where that is "
        "smaller. Zeros alone make nothing faster: the times say what does."
    ),
    "ms per sequence": (
        "Times are medians of interleaved rounds on one thread; “against dense” is the first network's time over this "
        "one's in the same run, so above 1 is faster."
    ),
}
ALONE = "The networks by themselves, as they were trained; the verdict is on what their files answer as a whole."
LAYER_NOTE = (
    "A unit is connected if any of its gates still reads something. A gate that reads nothing, of a unit that is "
    "connected, is constant."
)
AGREEMENT_NOTE = (
    "The correlation is over the gates of all layers, of the share of living units in which each gate varies. The "
    "distance is the total variation between the shares of the kinds of units, a mean over layers: 0 where they are "
    "the same, 1 where no kind is in both."
)


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each other: a table for few classes, a picture for many.

    Arguments:
        labels: names of the classes.
        rows: (label, [(count, share of the row)]) by true class; empty where there are too many.
        picture: the same as a picture where there are too many.
        worst: (true, predicted, count) of the most frequent mistakes.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]
    picture: Picture | None
    worst: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Section:
    """What the page shows of one run alone.

    Arguments:
        label: the run's name.
        summary: one line.
        pictures: its masks.
        density: how much was kept of each tensor and gate over training.
        layers: table of its layers.
        gates: maps of its gates; kinds: table of the kinds of units.
        words: a sentence for each embedding.
        lags: gradients by lag; log_alpha: histograms of a Bayesian method.
        confusion: its confusion matrix.
    """

    label: str
    summary: str
    pictures: tuple[Picture, ...]
    density: Picture | None
    layers: Table
    gates: tuple[Picture, ...]
    kinds: Table | None
    words: tuple[str, ...]
    lags: Picture | None
    log_alpha: Picture | None
    confusion: Confusion | None


def write(
    folders: Iterable[Path | str], path: Path | str, title: str | None = None, summary: str | None = None
) -> Path:
    """Write the page of some run folders (or of folders of runs) to `path`, at once or not at all.

    Raises: UserError if a folder is no run, or `path` cannot be written.
    """
    return save(read_runs(folders), path, title, summary)


def save(runs: Sequence[Run], path: Path | str, title: str | None = None, summary: str | None = None) -> Path:
    """Write the page of some runs. Raises: UserError if `path` cannot be written, or a run holds what no run writes."""
    text, path = render(runs, title, summary), Path(path)
    with durable.one_clear_error(path.name, path.parent, "nothing was lost"):
        path.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(path, text)
    return path


def render(runs: Sequence[Run], title: str | None = None, summary: str | None = None) -> str:
    """The page as text. Raises: UserError for no run, or one with files that no run writes."""
    if not runs:
        raise UserError("there is no run to report", "at least one run folder", "name the folders that a run wrote")
    what = "What is in " + ", ".join(str(run.folder) for run in runs[:3])
    with readable(what, TemplateError, expected=AS_WRITTEN, do="restore the files, or run again"):
        return _rendered(runs, title, summary)


def _rendered(runs: Sequence[Run], title: str | None, summary: str | None) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_uri"] = _data_uri
    recipes = _named(runs, "recipe")
    sections = [section for run in runs if (section := _section(run))]
    judged = verdicts.verdicts(runs)
    return environment.get_template("page.html").render(
        title=title or " and ".join(_named(runs, "title") or recipes) or runs[0].label,
        about=[*recipes, *(f"size {size}" for size in _named(runs, "size"))],
        summary=summary or " ".join(verdict.says[0] for verdict in judged) or summarize(runs),
        verdicts=judged,
        results=tables.results(runs),
        over_seeds=tables.over_seeds(runs),
        paired=paired(tables.by_row(runs)) if tables.over_seeds(runs) else None,
        sweeps=sweeps.sweeps(runs),
        notes=[*([ALONE] if judged else []), *_notes(runs)],
        trade_off=[] if judged else figures.trade_off(runs),
        curves=figures.training_curves(runs),
        movement=movement.pictures(runs),
        spectra=spectra.pictures(runs),
        agreements=gate_maps.agreements(runs),
        agreement_note=AGREEMENT_NOTE,
        explanations=[shown for run in runs if (shown := automata.explanation(run.explanation, run.label))],
        sections=sections,
        opened=next((section.label for section in sections if section.pictures), sections[0].label if sections else ""),
        layer_note=LAYER_NOTE,
        commands=list(dict.fromkeys(str(run.result["command"]) for run in runs if run.result.get("command"))),
        environments=_environments(runs),
    )


def _named(runs: Sequence[Run], key: str) -> list[str]:
    values = [run.recipe.get(key) or run.result.get(key) for run in runs]
    return [value for value in dict.fromkeys(values) if isinstance(value, str) and value]


def summarize(runs: Sequence[Run]) -> str:
    """One sentence: the best run, and the smallest of those, against the first."""
    main = tables.goal_of(runs)
    values = [] if main is None else [(run, quantities.value_of(run.metrics, main)) for run in runs]
    scored = [(run, value) for run, value in values if value is not None]
    if main is None or not scored:
        return f"{len(runs)} run{'s' if len(runs) > 1 else ''}, none with a result yet."
    if len(scored) == 1:
        run, value = scored[0]
        return f"{run.label}: {main.title} {main.write(value)}{_size(run)}."
    best, value = (max if main.better == "higher" else min)(scored, key=lambda pair: pair[1])
    text = f"{len(runs)} networks. Best {main.title}: {best.label}, {main.write(value)}{_size(best)}."
    weighed = [(size, run, value) for run, value in scored if (size := _bytes(run))]
    if len(weighed) > 1:
        _, small, value = min(weighed, key=lambda sized: sized[0])
        if small is not best:
            text += f" Smallest: {small.label}, {main.write(value)}{_size(small)}."
    return text


def _bytes(run: Run) -> float | None:
    return quantities.value_of(run.metrics, next(q for q in quantities.COSTS if q.key == "bytes"))


def _size(run: Run) -> str:
    size = _bytes(run)
    return f" with {quantities.size(size)}" if size else ""


def _notes(runs: Sequence[Run]) -> list[str]:
    """How the numbers of the table came about, for those that are there."""
    columns = tables.results(runs).columns
    notes = [text for word, text in NOTES.items() if word in "\n".join(columns)]
    data = [run.recipe.get("data") for run in runs]
    notes += dict.fromkeys(str(each["note"]) for each in data if isinstance(each, Mapping) and each.get("note"))
    unfinished = [run.label for run in runs if not run.result]
    if unfinished:
        notes.append(f"Not finished: {', '.join(unfinished)}.")
    return notes


def _section(run: Run) -> Section | None:
    with readable(f"What is in {run.folder}", expected=AS_WRITTEN, do="restore the files, or run again"):
        return _shown(run)


def _shown(run: Run) -> Section | None:
    weights = sum(mask.kept.size for mask in run.masks.values())
    kept = sum(int(mask.kept.sum()) for mask in run.masks.values())
    summary = "no weight masked"
    if weights:
        summary = f"{kept:,} of {weights:,} masked weights kept ({quantities.percent(kept / weights)})"
    section = Section(
        label=run.label,
        summary=summary,
        pictures=tuple(figures.mask_pictures(run)),
        density=movement.densities(run),
        layers=tables.layers(run),
        gates=tuple(gate_maps.pictures(run)),
        kinds=gate_maps.kinds(run),
        words=tuple(gate_maps.words(run)),
        lags=lags.picture(run),
        log_alpha=log_alpha.picture(run),
        confusion=_confusion(run),
    )
    shown = (section.pictures, section.gates, section.lags, section.log_alpha, section.confusion)
    return section if any(shown) else None


def _confusion(run: Run) -> Confusion | None:
    matrix, names = run.confusion.get("matrix"), run.confusion.get("labels")
    if not isinstance(matrix, list) or not matrix or any(len(row) != len(matrix) for row in matrix):
        return None
    labels = tuple(map(str, names if names and len(names) == len(matrix) else range(len(matrix))))
    pairs = [(i, j) for i, j in itertools.permutations(range(len(matrix)), 2) if matrix[i][j]]
    pairs.sort(key=lambda pair: -matrix[pair[0]][pair[1]])
    worst = tuple((labels[i], labels[j], f"{matrix[i][j]:,}") for i, j in pairs[:8])
    if len(labels) > LARGEST_CONFUSION_TABLE:
        return Confusion(labels, (), figures.confusion(matrix), worst)
    rows = tuple(
        (label, tuple((f"{count:,}", count / max(sum(row), 1)) for count in row))
        for label, row in zip(labels, matrix, strict=True)
    )
    return Confusion(labels, rows, None, worst)


def _environments(runs: Sequence[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each different environment once, with the runs it served."""
    groups: dict[str, tuple[list[str], list[tuple[str, str]]]] = {}
    for run in runs:
        if run.environment:
            facts = _facts(run.environment) + _origin(run)
            groups.setdefault(json.dumps(facts), ([], facts))[0].append(run.label)
    alone = len(groups) == 1
    return [("" if alone else ", ".join(labels), facts) for labels, facts in groups.values()]


def _origin(run: Run) -> list[tuple[str, str]]:
    """What a finished run says of the way to its figures; what an older one does not say is shown as such."""
    provenance, splits = run.result.get("provenance") or {}, run.result.get("splits") or {}
    stated = {name: provenance.get(name, "not stated") for name in ("commit", "precision", "test_in_sight")}
    named = {**stated, "rows scored": splits.get("scored", "not stated")}
    return _facts(named) if run.result else []


def _facts(values: Json, before: str = "") -> list[tuple[str, str]]:
    facts = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            facts += _facts(value, f"{before}{key} ")
        else:
            facts.append((f"{before}{key}".replace("_", " "), _words(value)))
    return facts


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def _data_uri(picture: Picture) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.svg.encode()).decode('ascii')}"
