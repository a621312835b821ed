"""The verdict on a user's own file, as the page shows it: sentences, a table, and what they rest on as pictures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes

from sparsernn.reading import json_file
from sparsernn.reports import axes as scales
from sparsernn.reports.figures import INK, Picture, canvas, colour, finished, short
from sparsernn.reports.quantities import Table, significant, size
from sparsernn.reports.reading import Json, Run

VERDICT = "verdict.json"
ORDER = ("baseline", "dense", "small_dense", "sparse")
"""The networks in the order of their colours, which is that of the runs of the page."""
TITLES = {"accuracy": "accuracy", "rmse": "root mean squared error", "perplexity": "perplexity"}
MEANINGS = {
    "majority": "doing nothing: the class, value or words that are most frequent",
    "baseline": "the strongest cheap method for such a file: what a network has to beat",
    "other_baseline": "another cheap method, which is behind the first on validation rows",
    "kernels": "the random kernels of the saved network alone, without its recurrent layers",
    "linear": "the n-grams of the saved network alone, without its recurrent layers",
    "dense": "a network of the usual size, all its weights kept",
    "small_dense": "a dense network whose file is about as small as the sparse one's",
    "sparse": "what is saved and predicts",
}
MOST_CLASSES = 30


class Shown(NamedTuple):
    """A verdict: its sentences, the table of who answered, what each of them is, and pictures."""

    says: list[str]
    table: Table
    meanings: list[tuple[str, str]]
    pictures: list[Picture]


def verdicts(runs: Sequence[Run]) -> list[Shown]:
    """Those of the trainings whose runs these are."""
    folders = dict.fromkeys(run.folder.parent for run in runs)
    return [shown(json_file(folder / VERDICT)) for folder in folders if (folder / VERDICT).is_file()]


def shown(verdict: Json) -> Shown:
    """A verdict for the page."""
    evidence, metric = verdict.get("evidence", {}), verdict["metric"]
    pictures = [
        by_bytes(verdict),
        recalls(evidence.get("recalls") or {}),
        reliability(evidence.get("reliability") or {}),
    ]
    for column, part in (evidence.get("columns") or {"": evidence}).items():
        of = f" of {short(column)}" if column else ""
        pictures += [*forecasts(part.get("forecasts") or [], of), by_step(part.get("error_by_step") or {}, of)]
    meanings = [(title(name), MEANINGS[name]) for name in verdict["figures"] if name in MEANINGS]
    return Shown(verdict["sentences"], table(verdict, metric), meanings, [picture for picture in pictures if picture])


def table(verdict: Json, metric: str) -> Table:
    """Who answered, how well, at what cost, and what each is."""
    rows = []
    for name, figure in verdict["figures"].items():
        bytes, us = verdict["bytes"].get(name), verdict["microseconds"].get(name)
        rows.append(
            (
                name.replace("_", " "),
                f"{figure:.1f} %" if metric == "accuracy" else significant(figure, 4),
                size(bytes) if bytes else "–",
                f"{significant(us)} µs" if us else "–",
            )
        )
    return Table(("", f"{TITLES[metric]} on {verdict['test_rows']:,} test rows", "file", "one call"), tuple(rows))


def shade(name: str) -> str:
    """The colour of a network, everywhere on the page."""
    return colour(ORDER.index(name)) if name in ORDER else INK


def title(name: str) -> str:
    """A network's name for people."""
    return short(name.replace("_", " "))


def by_bytes(verdict: Json) -> Picture | None:
    """Quality against the bytes of the file that answers."""
    names = [name for name in verdict["figures"] if verdict["bytes"].get(name)]
    if len(names) < 2:
        return None
    metric = verdict["metric"]
    with canvas(height=3.9) as (figure, axes):
        for name in names:
            x, y = verdict["bytes"][name], verdict["figures"][name]
            around = {} if name in ORDER else {"ms": 14, "mfc": "none"}  # what may lie at the place of another
            axes.plot(x, y, "o", **{"ms": 9, "color": shade(name), "label": title(name), **around})
        axes.axhline(verdict["majority"], color=INK, lw=1, ls=":", label="doing nothing")
        scales.show_sizes(axes, [verdict["bytes"][name] for name in names], in_bytes=True)
        axes.set_xlabel("bytes of the file")
        percent(axes, metric)
        better = "higher" if metric == "accuracy" else "lower"
        caption = f"{better.capitalize()} and further left is better."
        return finished(figure, f"{TITLES[metric].capitalize()} against bytes", caption, legend=True)


def percent(axes: Axes, metric: str) -> None:
    """Write accuracies as per cent, and show none above 100."""
    if metric == "accuracy":
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0), min(high, 101))
        axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g} %"))


def recalls(by_name: Mapping[str, Mapping[str, float]]) -> Picture | None:
    """Of every class the share that each recognised."""
    classes = list(next(iter(by_name.values()), {}))
    if not 2 <= len(classes) <= MOST_CLASSES:
        return None
    with canvas(height=1.2 + 0.32 * len(classes)) as (figure, axes):
        width = 0.8 / len(by_name)
        for number, (name, shares) in enumerate(by_name.items()):
            places = np.arange(len(classes)) + (number - (len(by_name) - 1) / 2) * width
            axes.barh(places, [100 * shares[one] for one in classes], width * 0.9, color=shade(name), label=title(name))
        axes.set_yticks(range(len(classes)), [short(one) for one in classes])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("recognised, % of the class's test rows")
        caption = "A class with a short bar is mostly missed, however high the accuracy is."
        return finished(figure, "Class by class", caption, legend=True)


def reliability(by_name: Mapping[str, Sequence[Sequence[float]]]) -> Picture | None:
    """How often an answer is right against the probability that was said with it."""
    if not by_name:
        return None
    with canvas(height=3.9) as (figure, axes):
        axes.plot([0, 100], [0, 100], color=INK, lw=1, ls=":", label="as said")
        for name, bins in by_name.items():
            said, right, _ = (100 * np.array(column) for column in zip(*bins, strict=True))
            axes.plot(said, right, "-o", ms=5, lw=1.4, color=shade(name), label=title(name))
        axes.set_xlim(0, 101)
        axes.set_ylim(0, 101)
        axes.set_xlabel("probability that was said, %")
        caption = "Right answers in %. On the dotted line probabilities hold; below it they promise too much."
        return finished(figure, "Can the probabilities be trusted?", caption, legend=True)


def forecasts(windows: Sequence[Mapping[str, Sequence[float]]], of: str = "") -> list[Picture]:
    """What came and what was forecast, for some windows. of: the words for the column, where there are several."""
    if not windows or len(windows[0]["truth"]) < 2:
        return []
    pictures = []
    for words, window in zip(("A good", "A middling", "A bad"), windows, strict=False):
        with canvas(height=3.0) as (figure, axes):
            steps = np.arange(1, 1 + len(window["truth"]))
            axes.plot(steps, window["truth"], color=INK, lw=2, label="what came")
            for name, values in window.items():
                if name != "truth":
                    axes.plot(
                        steps,
                        values,
                        color=shade(name),
                        lw=1.6,
                        ls="-" if name != "baseline" else "--",
                        label=title(name),
                    )
            ahead(axes)
            caption = "At a quarter, half and three quarters of the saved network's errors."
            pictures.append(finished(figure, f"{words} forecast{of}", caption, legend=True))
    return pictures


def ahead(axes: Axes) -> None:
    """Count the steps of a forecast."""
    axes.set_xlabel("steps ahead")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))


def by_step(errors: Mapping[str, Sequence[float]], of: str = "") -> Picture | None:
    """The error of each step ahead. of: as in `forecasts`."""
    if not errors:
        return None
    with canvas(height=3.4) as (figure, axes):
        for name, values in errors.items():
            dotted = name == "majority"
            axes.plot(
                range(1, 1 + len(values)),
                values,
                color=shade(name),
                lw=1 if dotted else 1.6,
                ls=":" if dotted else "-",
                label="doing nothing" if dotted else title(name),
            )
        ahead(axes)
        caption = "Root mean squared error in the file's unit; lower is better."
        return finished(figure, f"Error by step ahead{of}", caption, legend=True)
