"""Gradients of a loss at the last step by lag: how far back a network is trained, and by which kinds of units."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.axes import Axes

from sparsernn.reports import axes as scales
from sparsernn.reports import figures
from sparsernn.reports.figures import Picture
from sparsernn.reports.reading import Run, is_number

MOST_KINDS = 6
SMALLEST = 1e-12
CAPTION = (
    "Gradient of the loss at the last step with respect to the state so many steps before it, as root mean square over "
    "units. Black: all units. Colours: units by the gates of theirs that vary."
)


def picture(run: Run) -> Picture | None:
    """A panel a layer, a line for each of its most frequent kinds of units; None if it was not measured."""
    layers = run.lags.get("layers")
    by_layer = dict(_measured(layers)) if isinstance(layers, Mapping) else {}
    if not by_layer:
        return None
    names = list(dict.fromkeys(name for lines in by_layer.values() for name in lines if name != "all"))
    with figures.style(), figures.panels(len(by_layer), 2, (3.6, 2.6), (0.4, 0.8), sharey=True) as (figure, grid):
        for axes, (label, lines) in zip(grid, by_layer.items(), strict=True):
            _draw(axes, lines, names)
            axes.set_title(label)
        figures.legend_once(figure, grid, 2)
        return Picture(figures.svg(figure), "Gradient by lag", CAPTION)


def _measured(layers: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Of each layer the lines by name, as root mean squares over units; what does not fit is left out."""
    for label, layer in layers.items():
        if not isinstance(layer, Mapping):
            continue
        units, kinds = layer.get("units") or {}, layer.get("kinds") or {}
        frequent = sorted(kinds, key=lambda kind: -units.get(kind, 0))[:MOST_KINDS]
        norms = {"all": layer.get("all"), **{kind: kinds[kind] for kind in frequent}}
        lines = {}
        for name, values in norms.items():
            if isinstance(values, list) and all(map(is_number, values)) and units.get(name):
                lines[name] = [value / math.sqrt(units[name]) for value in values]
        if lines:
            yield label, lines


def _draw(axes: Axes, lines: Mapping[str, list[float]], names: list[str]) -> None:
    for name, values in lines.items():
        whole = name == "all"
        label = "all units" if whole else figures.short(f"varies: {name}" if name != "none" else "all constant")
        look = {"color": figures.INK, "lw": 2.0} if whole else {"color": figures.colour(names.index(name)), "lw": 1.4}
        lags = [lag for lag, value in enumerate(values) if value > SMALLEST]
        axes.plot(lags, [values[lag] for lag in lags], label=label, **look)
    scales.show_powers(axes)
    axes.set_xlabel("lag, steps")
    scales.count_steps(axes, 5)
