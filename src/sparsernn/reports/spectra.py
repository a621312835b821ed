"""What a step does to a small change of the state, before and after training, and which connections are left."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sparsernn.reports import axes as scales
from sparsernn.reports import figures
from sparsernn.reports.figures import Picture
from sparsernn.reports.reading import Json, Run

TIMES = {"start": ("before training", "--"), "trained": ("after training", "-")}
SIDES = {"input": "from the input", "recurrent": "from the state"}
SMALLEST = 1e-4


def pictures(runs: Sequence[Run]) -> list[Picture]:
    """Of the runs that measured them: singular values, eigenvalues, and connections by gate. One picture each."""
    measured = [run for run in runs if _layers(run, "start", "spectra") or _layers(run, "trained", "spectra")]
    shown = []
    if measured:
        caption = (
            "Share of the {} of the step Jacobians dh_t/dh_(t-1) above each size, all layers together; dashed before "
            "training, solid after. Test sequences, last steps."
        )
        shown.append(_shares(measured, _singular, "Singular values of a step", caption.format("singular values")))
        shown.append(_shares(measured, _moduli, "Eigenvalues of a step", caption.format("eigenvalues' magnitudes")))
    counted = [run for run in runs if _layers(run, "trained", "connections")]
    if counted:
        shown.append(_connections(counted))
    return shown


def _layers(run: Run, time: str, what: str) -> Json:
    measured = run.spectra.get(time)
    layers = measured.get(what) if isinstance(measured, Mapping) else None
    return layers if isinstance(layers, Mapping) else {}


def _singular(layer: Json) -> list[float]:
    return [float(value) for value in layer.get("singular_values", [])]


def _moduli(layer: Json) -> list[float]:
    return [math.hypot(*value) for value in layer.get("eigenvalues", [])]


def _shares(runs: Sequence[Run], values: Callable[[Json], list[float]], title: str, caption: str) -> Picture:
    """How large a share of the values lies above each size."""
    with figures.canvas() as (figure, axes):
        for number, run in enumerate(runs):
            for time, (_, dash) in TIMES.items():
                layers = map(values, _layers(run, time, "spectra").values())
                above = sorted(itertools.chain.from_iterable(layers), reverse=True)
                label = figures.short(run.label) if time == "trained" else None
                if above:
                    share = np.arange(1, len(above) + 1) / len(above)
                    sizes = np.maximum(above, SMALLEST)
                    axes.plot(sizes, share, dash, lw=1.6, label=label, color=figures.colour(number))
        axes.axvline(1.0, color=figures.INK, lw=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, numticks=6))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("size")
        scales.show_percent(axes)
        return figures.finished(figure, title, caption, legend=len(runs) > 1)


def _connections(runs: Sequence[Run]) -> Picture:
    """A bar a run for each gate of inputs and state."""
    by_run = [_densities(run) for run in runs]
    gates = list(dict.fromkeys(itertools.chain.from_iterable(by_run)))
    width = 0.8 / len(runs)
    with figures.canvas(width=max(5.4, 0.9 * len(gates) + 1.5)) as (figure, axes):
        for number, (run, densities) in enumerate(zip(runs, by_run, strict=True)):
            places = np.arange(len(gates)) + width * (number - (len(runs) - 1) / 2)
            heights = [densities.get(gate, 0.0) for gate in gates]
            axes.bar(places, heights, width, color=figures.colour(number), label=figures.short(run.label))
        names = [f"{gate}\n{SIDES[side]}" for side, gate in gates]
        axes.set_xticks(range(len(gates)), names, fontsize=8)
        axes.grid(visible=False, axis="x")
        scales.show_percent(axes)
        caption = "Weights kept after training, in percent of each gate, over all layers."
        return figures.finished(figure, "Connections left", caption, legend=len(runs) > 1)


def _densities(run: Run) -> dict[tuple[str, str], float]:
    """Kept share by ("input" or "recurrent", gate)."""
    kept: dict[tuple[str, str], list[int]] = {}
    for layer in _layers(run, "trained", "connections").values():
        for side in SIDES:
            for gate, entry in layer.get(side, {}).items():
                total = kept.setdefault((side, gate), [0, 0])
                total[0] += entry["kept"]
                total[1] += entry["dense"]
    return {key: one / whole for key, (one, whole) in kept.items() if whole}
