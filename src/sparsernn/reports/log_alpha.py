"""Histograms of log alpha = log(variance / mean^2) of each tensor or group, where a Bayesian method left them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from sparsernn.reports import axes as scales
from sparsernn.reports import figures
from sparsernn.reports.figures import Picture
from sparsernn.reports.reading import Run, is_number

MOST_PANELS = 24


def picture(run: Run) -> Picture | None:
    """A panel a tensor or group, the threshold as a line; None where the run left no histogram."""
    event = next((each for each in reversed(run.events) if each.get("kind") == "finalize"), {})
    histograms = event.get("log_alpha")
    drawn: dict[str, tuple[list[float], list[float]]] = {}
    for name, histogram in histograms.items() if isinstance(histograms, Mapping) else ():
        if (read := _read(histogram)) is not None:
            drawn[str(name)] = read
    if not drawn:
        return None
    shown = dict(list(drawn.items())[:MOST_PANELS])
    threshold = event.get("threshold")
    small = figures.style({"axes.titlesize": 9, "xtick.labelsize": 9, "ytick.labelsize": 9})
    with small, figures.panels(len(shown), 3, (2.7, 1.7), (0.3, 0.5)) as (figure, grid):
        ends = [edge for edges, _ in shown.values() for edge in edges]
        for axes, (name, (edges, counts)) in zip(grid, shown.items(), strict=True):
            _draw(axes, edges, counts, float(threshold) if is_number(threshold) else None)
            axes.set(title=figures.short(name), xlim=(min(ends), max(ends)))
        figure.supxlabel("log alpha", fontsize=10)
        return Picture(figures.svg(figure), "Log alpha after training", _caption(len(drawn) - len(shown), threshold))


def _read(histogram: object) -> tuple[list[float], list[float]] | None:
    """Rising edges and a count between each two of them, or None."""
    if not isinstance(histogram, Mapping):
        return None
    edges, counts = histogram.get("edges"), histogram.get("counts")
    if not isinstance(edges, list) or not isinstance(counts, list) or not len(edges) == len(counts) + 1 > 1:
        return None
    rising = all(map(is_number, [*edges, *counts])) and all(low < high for low, high in pairwise(edges))
    return (edges, counts) if rising else None


def _draw(axes: Axes, edges: Sequence[float], counts: Sequence[float], threshold: float | None) -> None:
    """Bars as shares of all; those above the threshold are pale."""
    total = max(sum(counts), 1)
    shares = [count / total for count in counts]
    above = [threshold is not None and low >= threshold for low in edges[:-1]]
    colours = [figures.PALE if gone else figures.colour(0) for gone in above]
    widths = [high - low for low, high in pairwise(edges)]
    axes.bar(edges[:-1], shares, widths, align="edge", color=colours, edgecolor=colours, lw=0.3)
    if threshold is not None:
        axes.axvline(threshold, color=figures.INK, lw=1.0, ls="--")
    axes.grid(visible=False, axis="x")
    scales.show_percent(axes)


def _caption(left_out: int, threshold: object) -> str:
    text = "Share of the weights or groups of each name."
    if is_number(threshold):
        text += f" What lies above {threshold:g} (dashed) is more noise than signal and was removed."
    return text + (f" {left_out} more are left out." if left_out else "")
