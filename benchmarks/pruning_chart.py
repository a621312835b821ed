"""Three frontiers of a language model's pruning in one picture: single weights, structure, and the whole model.

Empty points are what the source published.

python benchmarks/pruning_chart.py results/lobacheva2020_pruning_ptb_small docs/images/pruning-ptb-small.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from sparsernn.reports import figures

Figures = dict[str, Any]
MARKERS = "osD^"
Panel = tuple[str, str, Callable[[Figures], float | None]]
PANELS: tuple[Panel, ...] = (
    ("single weights", "LSTM weights, times fewer", lambda one: one.get("lstm_compression")),
    ("structure", "gates that vary, of 1600", lambda one: sum(one["gates"]) if "gates" in one else None),
    ("the whole model", "all weights, times fewer", lambda one: one.get("compression")),
)


def read(folder: Path) -> list[tuple[str, Figures, Figures]]:
    """Row, figures and published figures of every result file."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [(content["row"], content["metrics"], content["published"]) for content in contents]


def draw(axes: Axes, results: list[tuple[str, Figures, Figures]], panel: Panel) -> None:
    """A filled point of each row, and an empty one of what the source has of it."""
    title, label, measure = panel
    places = []
    rows = list(dict.fromkeys(row for row, _, _ in results))
    for row, metrics, published in results:
        colour, marker = figures.colour(rows.index(row)), MARKERS[rows.index(row) // len(figures.COLOURS)]
        for values, face, name in ((metrics, colour, row), (published, "none", "")):
            x = measure(values)
            if x is None or "test_perplexity" not in values:
                continue
            places.append(x)
            look = {"facecolors": face, "edgecolors": colour, "marker": marker}
            axes.scatter(x, values["test_perplexity"], s=34, label=name, **look)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sorted({tick for tick in (1, 2, 5, 10, 500, 1000, 1600) if tick <= max(places)}))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.margins(x=0.15, y=0.1)
    axes.set_xlabel(label)
    axes.set_title(title, loc="left", fontsize=10)


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    results = read(source)
    with figures.style():
        figure = Figure(figsize=(10.2, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(1, len(PANELS), sharey=True)
        for axes, panel in zip(grid, PANELS, strict=True):
            draw(axes, results, panel)
        figures.legend_once(figure, grid, 6)
        grid[0].set_ylabel("test perplexity")
        target.write_text(figures.svg(figure), encoding="utf-8")


if __name__ == "__main__":
    main()
