"""Picture of an analysis: the units of each recurrent layer by sensitivity, and the means of its gates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sparsernn.reports import axes as scales
from sparsernn.reports import figures

MOST_LAYERS = 24


def picture(analysis: Mapping[str, Any]) -> str:
    """An SVG from the JSON of `analyse`: a row of two panels for each layer, the first 24 of them."""
    layers = list(analysis["layers"])[:MOST_LAYERS]
    with figures.style():
        figure = Figure(figsize=(9.4, 2.4 * len(layers)), layout="constrained")
        FigureCanvasAgg(figure)
        for panels, layer in zip(figure.subplots(len(layers), 2, squeeze=False), layers, strict=True):
            _units(panels[0], layer)
            _gates(panels[1], layer["gates"])
            panels[0].set_title(f"{layer['label']} ({layer['cell']}, {layer['units']:,} units)", loc="left")
        return figures.svg(figure)


def _units(axes: Axes, layer: Mapping[str, Any]) -> None:
    """Sensitivities from the largest to the smallest, and how many units never change."""
    values = np.sort(np.asarray(layer["sensitivity"], dtype=float))[::-1]
    shown = values[values > 0]
    axes.plot(np.arange(1, len(shown) + 1), shown, color=figures.colour(0), lw=1.8)
    if len(shown):
        scales.show_powers(axes)
    axes.set_xlabel(f"units by sensitivity; {len(layer['constant']):,} never change")
    axes.set_ylabel("sensitivity")
    axes.set_xlim(0, max(len(values), 1) + 1)


def _gates(axes: Axes, gates: Sequence[Mapping[str, Any]]) -> None:
    """The mean of each gate in every unit, sorted; saturated ones as open circles."""
    for number, gate in enumerate(gates):
        means = np.asarray(gate["unit_means"], dtype=float)
        order = np.argsort(means, kind="stable")
        colour, places = figures.colour(number), np.arange(1, len(means) + 1)
        axes.plot(
            places, means[order], color=colour, lw=1.6, label=f"{gate['name']}, {len(gate['saturated']):,} saturated"
        )
        far = np.isin(order, [int(unit) for unit in gate["saturated"]])
        axes.plot(places[far], means[order][far], ls="", marker="o", ms=3.5, mfc="none", color=colour)
    axes.set_xlabel("units by the gate's mean")
    if gates:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
