"""Maps of gates: which units of a layer were removed, which of their gates vary, and the value of constant ones."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from sparsernn.measure.gate_maps import GateMap, Kind, agreement, comparable
from sparsernn.reports import figures
from sparsernn.reports.figures import Picture
from sparsernn.reports.quantities import Table, percent
from sparsernn.reports.reading import Json, Run

VARIES, REMOVED = "#12304a", "#9aa5b1"
VALUES = LinearSegmentedColormap.from_list("constant", ["#fff9e0", "#f5cf6b", "#d9822b"], N=40)
MOST_WRITTEN = 16
MOST_OUTLINED = 80
FEWEST_NUMBERED = 0.04

State = float | str  # "varies", "removed", or the value of a constant gate


def maps_of(run: Run) -> list[GateMap]:
    """The maps of a run's layers; none where it left none, or something else."""
    layers = run.structure.get("layers")
    try:
        return [GateMap.from_json(layer) for layer in layers] if isinstance(layers, list) else []
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def pictures(run: Run) -> list[Picture]:
    """One map a layer; none of a network that has all its units and gates."""
    return [picture(one) for one in _pruned_maps(run) if one.alive]


def kinds(run: Run) -> Table | None:
    """Kinds of units with their counts, layer by layer; None where there is no map."""
    rows = []
    for one in _pruned_maps(run):
        for kind, units in one.kinds().items():
            rows.append((one.label, _named(one, kind), f"{len(units):,}", percent(len(units) / one.living)))
        if one.living < len(one.alive):
            rows.append((one.label, "removed", f"{len(one.alive) - one.living:,}", "–"))
    return Table(("layer", "gates that vary", "units", "of the living units"), tuple(rows)) if rows else None


def agreements(runs: Sequence[Run]) -> Table | None:
    """Every two runs with maps of the same layers, and how alike these are; None where there are no two."""
    rows = []
    mapped = [(run, maps) for run in runs if (maps := _pruned_maps(run))]
    for (run, maps), (other, its_maps) in itertools.combinations(mapped, 2):
        if comparable(maps, its_maps):
            alike = agreement(maps, its_maps)
            correlation = "–" if alike.correlation is None else f"{alike.correlation:.2f}".replace("-", "−")
            rows.append((run.label, other.label, correlation, f"{alike.distance:.2f}"))
    titles = ("network", "and", "correlation of gates that vary", "distance of kinds of units")
    return Table(titles, tuple(rows)) if rows else None


def words(run: Run) -> list[str]:
    """A sentence for each embedding that lost words: how many are left, and those with the longest vectors."""
    sentences = []
    for words in run.structure.get("words") or ():
        if not isinstance(words, Mapping) or not isinstance(words.get("largest"), list):
            continue
        if words.get("alive") == words.get("count"):
            continue
        text = f"{words.get('alive')} of {words.get('count')} words of {words.get('label')} are left"
        named = [f"{each['word']} ({each['norm']:.2f})" for each in words["largest"] if _is_word(each)]
        sentences.append(f"{text}; the longest vectors: {', '.join(named)}." if named else f"{text}.")
    return sentences


def _is_word(entry: Json) -> bool:
    return isinstance(entry, Mapping) and "word" in entry and isinstance(entry.get("norm"), int | float)


def _pruned_maps(run: Run) -> list[GateMap]:
    """A run's maps where any unit or gate is gone."""
    maps = maps_of(run)
    return maps if any(not all(one.alive) or set(one.kinds()) != {one.gates} for one in maps) else []


def _named(one: GateMap, kind: Kind) -> str:
    if kind == one.gates:
        return "all" if len(kind) > 1 else "".join(kind)
    return ", ".join(kind) or "none"


def picture(one: GateMap) -> Picture:
    """The map of a layer: a column a unit and a row a gate, constant ones in the colour of their value."""
    order = _order(one)
    states = {gate: [_state(one, gate, unit) for unit in order] for gate in one.gates}
    constants = [state for row in states.values() for state in row if isinstance(state, float)]
    low, high = -1.0 if min(constants, default=0.0) < 0 else 0.0, max([1.0, *constants])
    scale = ScalarMappable(Normalize(low, high), VALUES)
    with figures.style({"axes.grid": False, "hatch.linewidth": 0.8}):
        width = min(9.0, max(4.6, 2.0 + 0.42 * len(order)))
        figure = Figure(figsize=(width, 1.5 + 0.36 * len(one.gates)), layout="constrained")
        axes = figure.add_subplot()
        for row, gate in enumerate(one.gates):
            _draw_row(axes, row, states[gate], scale)
        _frame(axes, one, len(order))
        _legend(figure, axes, one, scale if constants else None)
        return Picture(figures.svg(figure), one.label, _caption(one))


def _order(one: GateMap) -> list[int]:
    """Living units kind by kind, each kind by the values of its constant gates; removed ones last."""

    def values(unit: int) -> list[float]:
        return [value for gate in one.gates if (value := one.constant[gate][unit]) is not None]

    living = [unit for units in one.kinds().values() for unit in sorted(units, key=values)]
    return living + [unit for unit, lives in enumerate(one.alive) if not lives]


def _state(one: GateMap, gate: str, unit: int) -> State:
    if not one.alive[unit]:
        return "removed"
    value = one.constant[gate][unit]
    return "varies" if value is None else value


def _stretches(states: Sequence[State]) -> Iterator[tuple[State, int, int]]:
    """Neighbours in the same state as one: (state, first place, how many)."""
    first = 0
    for state, group in itertools.groupby(states):
        count = len(list(group))
        yield state, first, count
        first += count


def _draw_row(axes: Axes, row: int, states: Sequence[State], scale: ScalarMappable) -> None:
    """One gate: a rectangle for each stretch of units; values are written where there is room."""
    boxes: dict[str, list[tuple[float, float]]] = {"varies": [], "removed": []}
    corners, values = [], []
    for state, first, count in _stretches(states):
        if isinstance(state, str):
            boxes[state].append((first, count))
            continue
        corners.append([(first, row), (first, row + 0.9), (first + count, row + 0.9), (first + count, row)])
        values.append(state)
        if len(states) <= MOST_WRITTEN:
            text = f"{round(state, 2) + 0.0:.2f}".replace("-", "−")
            for place in range(first, first + count):
                axes.text(place + 0.5, row + 0.45, text, ha="center", va="center", fontsize=8, color=figures.INK)
    if boxes["varies"]:
        axes.broken_barh(boxes["varies"], (row, 0.9), color=VARIES, lw=0)
    if boxes["removed"]:
        axes.broken_barh(boxes["removed"], (row, 0.9), fc=figures.PAPER, ec=REMOVED, hatch="////", lw=0)
    if corners:
        colours = scale.to_rgba(np.array(values))
        axes.add_collection(PolyCollection(corners, facecolors=colours, edgecolors=colours, linewidths=0.2))


def _frame(axes: Axes, one: GateMap, count: int) -> None:
    """Names of the gates, lines between units and kinds, and the number of units of each kind above it."""
    axes.set(xlim=(0, count), ylim=(len(one.gates), -0.1), xlabel="units, kind by kind")
    axes.set_yticks([row + 0.45 for row in range(len(one.gates))], one.gates)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if count <= MOST_OUTLINED:
        axes.vlines(range(1, count), 0, len(one.gates), color=figures.PAPER, lw=1.2)
    edge = 0
    sizes = [len(units) for units in one.kinds().values()]
    for size in [*sizes, count - one.living]:
        if size >= FEWEST_NUMBERED * count:
            axes.annotate(str(size), (edge + size / 2, -0.1), ha="center", va="bottom", fontsize=9)
        edge += size
        if 0 < edge < count and size:
            axes.vlines(edge, -0.1, len(one.gates), color=figures.INK, lw=1.0)


def _legend(figure: Figure, axes: Axes, one: GateMap, scale: ScalarMappable | None) -> None:
    handles = [Patch(fc=VARIES, label="varies")]
    if one.living < len(one.alive):
        handles.append(Patch(fc=figures.PAPER, ec=REMOVED, hatch="////", lw=0.4, label="removed"))
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False)
    if scale is not None:
        bar = figure.colorbar(scale, ax=axes, pad=0.02, aspect=12, fraction=0.06)
        bar.set_label("constant")
        if bar.solids is not None:
            bar.solids.set_edgecolor("face")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _caption(one: GateMap) -> str:
    varying = one.varying()
    by_gate = ", ".join(f"{gate} {count}" for gate, count in varying.items())
    return (
        f"{one.living} of {len(one.alive)} units live; {sum(varying.values())} of their "
        f"{len(one.gates) * one.living} gates vary ({by_gate})."
    )
