"""How masks moved while they were trained: births, deaths, densities, and what is left of the first mask."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from sparsernn.reports import axes as scales
from sparsernn.reports import figures
from sparsernn.reports.figures import Picture
from sparsernn.reports.reading import Json, Run

MOST_PANELS = 12
STILL = 1e-9

Series = list[tuple[float, float]]


def pictures(runs: Sequence[Run]) -> list[Picture]:
    """For all runs together: weights born and dead at each event, and how much of the first mask exists still."""
    moving = [run for run in runs if any(event.get("born") or event.get("died") for event in run.events)]
    if not moving:
        return []
    curves = []
    if any(_share(run, "born") for run in moving):
        caption = "Weights that came (solid) and went (dashed) at each event, in percent of those that exist."
        curves.append(
            _curves(moving, "Births and deaths", caption, tuple(partial(_share, key=key) for key in ("born", "died")))
        )
    if any(len(_overlap(run)) > 1 for run in moving):
        caption = "Weights of the first mask that exist, in percent of that mask."
        curves.append(_curves(moving, "Overlap with the first mask", caption, (_overlap,)))
    return curves


def densities(run: Run) -> Picture | None:
    """The fraction of weights kept after each event: a panel a tensor, a line a gate. None if it never changed."""
    last = next((event for event in reversed(run.events) if isinstance(event.get("density"), Mapping)), {})
    by_tensor = {name: _density(run, name, last) for name in last.get("density", {})}
    changing = {name: lines for name, lines in by_tensor.items() if any(map(_moves, lines.values()))}
    if not changing:
        return None
    shown = dict(list(changing.items())[:MOST_PANELS])
    with figures.style(), figures.panels(len(shown), 2, (3.6, 2.5), (0.4, 0.5)) as (figure, grid):
        gates = list(dict.fromkeys(gate for lines in shown.values() for gate in lines if gate))
        for axes, (name, lines) in zip(grid, shown.items(), strict=True):
            for gate, points in lines.items():
                colour = figures.colour(gates.index(gate)) if gate else figures.INK
                _draw(axes, points, color=colour, label=gate or None)
            axes.set_title(name)
            scales.count_steps(axes, 4)
            scales.show_percent(axes)
        figures.legend_once(figure, grid, 4)
        left_out = f" {len(changing) - len(shown)} more tensors are left out." if len(changing) > len(shown) else ""
        caption = f"Weights kept, in percent of each gate; in black of a tensor without gates.{left_out}"
        return figures.finished(figure, "Density after each event", caption)


def _density(run: Run, name: str, last: Json) -> dict[str, Series]:
    """By gate, or of the whole tensor where it has none in the last event."""
    gates = _at(last, "gate_density", name)
    if isinstance(gates, Mapping) and gates:
        return {str(gate): _series(run, lambda event, g=gate: _at(event, "gate_density", name, g)) for gate in gates}
    return {"": _series(run, lambda event: _at(event, "density", name))}


def _at(event: Json, *path: str) -> object:
    value: object = event
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _series(run: Run, value: Callable[[Json], object]) -> Series:
    points = [(event.get("step"), value(event)) for event in run.events]
    return [(float(x), float(y)) for x, y in points if isinstance(x, int | float) and isinstance(y, int | float)]


def _moves(points: Series) -> bool:
    values = [value for _, value in points]
    return len(values) > 1 and max(values) - min(values) > STILL


def _share(run: Run, key: str) -> Series:
    """Births or deaths over the weights that exist after the event; of masks whose size is known."""

    def share(event: Json) -> float | None:
        density = event.get("density")
        if not isinstance(density, Mapping) or not isinstance(event.get(key), int | float):
            return None
        kept = sum(run.masks[name].kept.size * float(value) for name, value in density.items() if name in run.masks)
        return event[key] / kept if kept else None

    return _series(run, share)


def _overlap(run: Run) -> Series:
    return _series(run, lambda event: event.get("overlap"))


def _curves(runs: Sequence[Run], title: str, caption: str, kinds: Sequence[Callable[[Run], Series]]) -> Picture:
    with figures.canvas() as (figure, axes):
        for number, run in enumerate(runs):
            for kind, dash in zip(kinds, ("-", "--"), strict=False):
                label = figures.short(run.label) if dash == "-" else None
                _draw(axes, kind(run), dash, color=figures.colour(number), label=label)
        scales.count_steps(axes, 4)
        scales.show_percent(axes)
        axes.set_xlabel("optimizer step")
        return figures.finished(figure, title, caption, legend=len(runs) > 1)


def _draw(axes: Axes, points: Series, dash: str = "-", *, color: str, label: str | None) -> None:
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, dash, lw=1.6, marker="o" if len(points) < 3 else None, color=color, label=label)
