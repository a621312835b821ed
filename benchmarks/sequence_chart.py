"""Chart of what `sequence.py` measured: how many times faster than ONNX Runtime's int8 and torch, by width.

python benchmarks/sequence_chart.py results/benchmarks/sequence_lstm.json docs/images/sequence-lstm.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sparsernn.reports import figures

PANELS = (
    ("whole sequences of 100 steps", 100, ("torch", "float32"), ("rows", "blocks")),
    ("whole sequences of 100 steps", 100, ("onnxruntime", "int8"), ("int8_lookup", "int8_blocks")),
    ("one step a call", 1, ("onnxruntime", "int8"), ("rows", "int8_lookup", "int8_blocks")),
)
COLOURS = {"rows": 0, "blocks": 1, "int8_lookup": 2, "int8_blocks": 3}
NAMES = {"torch": "torch, float32", "onnxruntime": "ONNX Runtime, int8"}


def speedups(rows: list[dict[str, Any]], steps: int, rival: tuple[str, str], format: str) -> dict[int, float]:
    """Width -> the rival's microseconds over ours, batch 1."""
    here = [row for row in rows if row["steps"] == steps and row["batch"] == 1]
    theirs = {
        row["hidden"]: row["us"]
        for row in here
        if (row["provider"], row["dtype"]) == rival and row["format"] == "dense"
    }
    ours = {row["hidden"]: row["us"] for row in here if (row["provider"], row["format"]) == ("cpu_native", format)}
    return {width: theirs[width] / us for width, us in sorted(ours.items())}


def draw(axes: Axes, rows: list[dict[str, Any]], panel: tuple[str, int, tuple[str, str], tuple[str, ...]]) -> None:
    title, steps, rival, formats = panel
    for format in formats:
        points = speedups(rows, steps, rival, format)
        axes.plot(
            list(points), list(points.values()), marker="o", ms=4, color=figures.colour(COLOURS[format]), label=format
        )
    axes.axhline(1, color="#8995a1", lw=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator([64, 128, 256, 512, 1024]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.yaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(f"{title}\nagainst {NAMES[rival[0]]}", loc="left", fontsize=10)
    axes.set_xlabel("units")
    axes.legend(frameon=False, fontsize=9)


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    content = json.loads(source.read_text(encoding="utf-8"))
    with figures.style():
        figure = Figure(figsize=(10.2, 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            draw(axes, content["rows"], panel)
        target.write_text(figures.svg(figure), encoding="utf-8")


if __name__ == "__main__":
    main()
