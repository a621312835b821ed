"""Figures from run folders, as SVG texts that need no font, script or file beside them."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from sparsernn.reports import axes as scales
from sparsernn.reports import quantities, statistics, tables
from sparsernn.reports.reading import Mask, Run

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK, PALE, PAPER = "#1f2933", "#d5dce3", "#ffffff"
COLOURS = ("#0b6e99", "#d1495b", "#3a8a4d", "#e08e1b", "#7a5195", "#8c6d46", "#2a9d8f", "#c05299", "#5c677d", "#9aa81c")
DASHES = ("-", "--", ":", "-.")
MOST_SQUARES = 128
LONGEST_NAME = 30

STYLE: dict[RcKeyType, object] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "sparsernn",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8995a1",
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e8ecf0",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "figure.facecolor": PAPER,
}


@dataclass(frozen=True)
class Picture:
    """A figure and what it says.

    Arguments:
        svg: the drawing.
        title: a heading.
        caption: how to read it.
    """

    svg: str
    title: str
    caption: str = ""


def training_curves(runs: Sequence[Run]) -> list[Picture]:
    """Loss, the metric of the task and sparsity over the steps of every run; only those that were recorded."""
    main = _recorded_goal(runs)
    pictures = [_curves(runs, "loss", "loss", "Solid: held-back data. Pale: training data.")]
    if main:
        caption = f"On held-back data; {main.better} is better."
        pictures.append(_curves(runs, main.key, main.title, caption, main.write is quantities.score))
    pictures.append(_curves(runs, "sparsity", "sparsity", "Fraction of masked tensors' weights that are zero.", True))
    return [picture for picture in pictures if picture]


def _recorded_goal(runs: Sequence[Run]) -> quantities.Quantity | None:
    """What the runs compete on, or without a result yet the first known metric of their curves."""
    main = tables.goal_of(runs)
    recorded = [goal for goal in quantities.GOALS if goal.key != "loss" and _is_recorded(runs, goal.key)]
    return main if main in recorded else next(iter(recorded), None)


def _is_recorded(runs: Sequence[Run], key: str) -> bool:
    return any(_curve(run, key)[0] for run in runs)


def _curve(run: Run, key: str) -> tuple[list[float], list[float]]:
    """The quantity on held-back data, else as recorded, else on training data."""
    for name in (f"valid_{key}", key, f"train_{key}"):
        steps, values = run.curve(name)
        if steps:
            return steps, values
    return [], []


def _curves(runs: Sequence[Run], key: str, title: str, caption: str, as_percent: bool = False) -> Picture | None:
    if not _is_recorded(runs, key):
        return None
    with canvas() as (figure, axes):
        for number, run in enumerate(runs):
            _draw_curve(axes, run, key, number)
        axes.set_xlabel("optimizer step")
        scales.count_steps(axes, 5)
        if key == "sparsity":
            axes.set_ylim(-0.03, 1.03)
        if as_percent:
            scales.show_percent(axes)
        return finished(figure, f"{title[:1].upper()}{title[1:]}", caption, legend=True)


def _draw_curve(axes: Axes, run: Run, key: str, number: int) -> None:
    steps, values = _curve(run, key)
    if not steps:
        return
    dash = DASHES[number // len(COLOURS) % len(DASHES)]
    marker = "o" if len(steps) < 3 else None
    drawn = "steps-post" if key == "sparsity" else "default"
    axes.plot(steps, values, dash, color=colour(number), marker=marker, drawstyle=drawn, lw=1.8, label=short(run.label))
    if key == "loss" and run.curve("valid_loss")[0]:
        axes.plot(*run.curve("train_loss"), dash, color=colour(number), lw=1.2, alpha=0.35)


def colour(number: int) -> str:
    """That of a run, by its number."""
    return COLOURS[number % len(COLOURS)]


def short(name: str) -> str:
    """A name that fits a legend."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


class Point(NamedTuple):
    """One row of a trade-off: a figure of each seed on both axes, its name, and the number of its colour."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    name: str
    number: int

    @property
    def place(self) -> tuple[float, float]:
        """The mean over seeds."""
        return statistics.mean(self.xs), statistics.mean(self.ys)

    @property
    def spread(self) -> tuple[float, float]:
        """The sample deviation over seeds."""
        return statistics.sample_deviation(self.xs), statistics.sample_deviation(self.ys)


def trade_off(runs: Sequence[Run]) -> list[Picture]:
    """Quality against stored bytes, kept weights and the transitions of automata: every row by name."""
    main = tables.goal_of(runs)
    if main is None:
        return []
    pictures = []
    for key, title in (("bytes", "bytes stored"), ("weights_kept", "weights kept"), ("transitions", "transitions")):
        against = next(q for q in quantities.COSTS if q.key == key)
        points = []
        for number, (label, row) in enumerate(tables.seeds_together(runs)):
            both = [(quantities.value_of(run.metrics, against), quantities.value_of(run.metrics, main)) for run in row]
            pairs = [(x, y) for x, y in both if x and y is not None]
            if pairs:
                xs, ys = zip(*pairs, strict=True)
                points.append(Point(xs, ys, label, number))
        if len(points) > 1:
            corner = "upper left" if main.better == "higher" else "lower left"
            caption = f"{main.better.capitalize()} and further left is better: the {corner} corner wins."
            if any(len(point.xs) > 1 for point in points):
                caption += " A point is the mean over seeds, its bars are the sample deviations."
            pictures.append(Picture(_scatter(points, title, main, against), f"{main.title} against {title}", caption))
    return pictures


def _scatter(points: Sequence[Point], title: str, main: quantities.Quantity, against: quantities.Quantity) -> str:
    with canvas(height=3.9) as (figure, axes):
        for point in points:
            (x, y), (across, up), shade = point.place, point.spread, colour(point.number)
            axes.errorbar(x, y, up or None, across or None, fmt="none", ecolor=shade, elinewidth=1.2, zorder=2)
            axes.plot(x, y, "o", ms=8, color=shade, mec=PAPER, mew=1.2, zorder=3)
        scales.show_sizes(
            axes, [end for point in points for end in _ends(point, 0) if end > 0], against.write is quantities.size
        )
        values = [end for point in points for end in _ends(point, 1)]
        room = 0.22 * (max(values) - min(values)) or 0.02 * abs(max(values)) or 1.0
        axes.set_ylim(min(values) - room, max(values) + room)
        if main.write is quantities.score:
            scale = 100 if max(values) <= 1 else 1
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{scale * value:g} %"))
        axes.set_xlabel(title)
        axes.set_ylabel(main.title)
        _label_points(figure, axes, points)
        return svg(figure)


def _ends(point: Point, axis: int) -> tuple[float, float]:
    """Of a point's bar."""
    return point.place[axis] - point.spread[axis], point.place[axis] + point.spread[axis]


def _label_points(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Write each point's name at the nearest free place; a thin line leads to a name that had to move away."""
    FigureCanvasAgg(figure).draw()
    frame = axes.get_window_extent()
    scale = figure.dpi / 72
    places = [axes.transData.transform(point.place) for point in points]
    taken = [Bbox.from_bounds(px - 5 * scale, py - 5 * scale, 10 * scale, 10 * scale) for px, py in places]
    figure.set_layout_engine("none")
    for (px, py), point in zip(places, points, strict=True):
        text = axes.annotate(
            short(point.name), point.place, textcoords="offset points", xytext=(0, 0), fontsize=9.5, zorder=4
        )
        extent = text.get_window_extent()
        box, radius = _free_place(px, py, extent.width, extent.height, scale, frame, taken)
        taken.append(box)
        text.set_position(((box.x0 - px) / scale, (box.y0 - py) / scale))
        if radius > 12:
            ends = axes.transData.inverted().transform([(px, py), _nearest(box, px, py)])
            axes.plot(*ends.T, color=colour(point.number), lw=0.8, zorder=2)


def _free_place(
    px: float, py: float, width: float, height: float, scale: float, frame: Bbox, taken: Sequence[Bbox]
) -> tuple[Bbox, float]:
    """The place for a name around a point that covers least of what is there and leaves the frame least."""
    least, best = math.inf, (frame, 0.0)
    for radius in (8, 12, 18, 26, 36, 48, 62):
        for turn in range(16):
            angle = 2 * math.pi * turn / 16
            cx = px + math.cos(angle) * (radius * scale + width / 2)
            cy = py + math.sin(angle) * (radius * scale + height / 2)
            box = Bbox.from_bounds(cx - width / 2, cy - height / 2, width, height)
            covered = sum(_overlap(box, other) for other in taken)
            outside = width * height - _overlap(box, frame)
            cost = covered + 4 * outside
            if cost < 1e-6:
                return box, radius
            if cost < least:
                least, best = cost, (box, radius)
    return best


def _overlap(one: Bbox, other: Bbox) -> float:
    shared = Bbox.intersection(one, other)
    return shared.width * shared.height if shared else 0.0


def _nearest(box: Bbox, px: float, py: float) -> tuple[float, float]:
    return min(max(px, box.x0), box.x1), min(max(py, box.y0), box.y1)


def mask_pictures(run: Run) -> list[Picture]:
    """One picture a layer: a row for each matrix, a panel for each gate."""
    return [_layer_picture(layer, masks) for layer, masks in tables.by_layer(run.masks).items()]


def _layer_picture(layer: str, masks: Sequence[Mask]) -> Picture:
    panels = [mask.by_gate() for mask in masks]
    squares = [dict(zip(row, map(_binned, row.values()), strict=True)) for row in panels]
    exact = all(step == (1, 1) for row in squares for _, step in row.values())
    top = max(float(values.max(initial=0)) for row in squares for values, _ in row.values()) or 1.0
    columns = max(map(len, panels))
    with style({"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
        size = (max(3.4, 1.25 + 1.95 * columns), 0.35 + 2.2 * len(panels))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(panels), columns, squeeze=False)
        for mask, row, line in zip(masks, squares, grid, strict=True):
            rows_are, columns_are = _axes_of(mask)
            for axes in line[len(row) :]:
                axes.set_axis_off()
            for column, (axes, (gate, (values, _))) in enumerate(zip(line, row.items(), strict=False)):
                kept = mask.by_gate()[gate]
                image = axes.imshow(values, cmap="Blues", vmin=0, vmax=top, interpolation="none", aspect="auto")
                axes.set_box_aspect(1)
                axes.set_title(f"{gate}  {quantities.percent(float(kept.mean()))}".strip())
                axes.set(xticks=(), yticks=(), xlabel=f"{kept.shape[1]:,} {columns_are}")
                if column == 0:
                    axes.set_ylabel(f"{kept.shape[0]:,} {rows_are}")
        if not exact:
            bar = figure.colorbar(image, ax=grid, shrink=0.8, pad=0.02, ticks=MaxNLocator(4))
            scales.show_percent(bar.ax)
            bar.set_label("kept")
        return Picture(svg(figure), layer, _reading(masks, [step for row in squares for _, step in row.values()]))


def _reading(masks: Sequence[Mask], steps: Sequence[tuple[int, int]]) -> str:
    names = " and ".join(mask.name for mask in masks)
    largest = max(steps, key=lambda step: step[0] * step[1])
    if largest == (1, 1):
        return f"{names}. One square is one weight; blue ones exist."
    return f"{names}. One square is {largest[0]} × {largest[1]} weights; the darker, the more of them exist."


def _binned(kept: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """The fraction kept in equal rectangles, at most 128 a side, and the rectangle's size."""
    rows, columns = (max(1, -(-side // MOST_SQUARES)) for side in kept.shape)
    if (rows, columns) == (1, 1) or not kept.size:
        return kept.astype(np.float32), (1, 1)
    starts = [np.arange(0, side, step) for side, step in zip(kept.shape, (rows, columns), strict=True)]
    sums = np.add.reduceat(np.add.reduceat(kept.astype(np.float32), starts[0], axis=0), starts[1], axis=1)
    counts = np.outer(*(np.diff([*start, side]) for start, side in zip(starts, kept.shape, strict=True)))
    return sums / counts, (rows, columns)


def _axes_of(mask: Mask) -> tuple[str, str]:
    """What the rows and the columns of a mask are, in the plural."""
    axes = mask.axes[-2:] if len(mask.axes) > 1 else ("row", *(mask.axes or ("column",)))
    rows, columns = ("units" if axis in ("hidden", "self", "memory") else f"{axis}s" for axis in axes)
    return rows, columns


def confusion(matrix: Sequence[Sequence[float]]) -> Picture:
    """A confusion matrix too large for a table: the share of each true class's examples, by predicted class."""
    counts = np.asarray(matrix, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with canvas(height=4.6, grid=False) as (figure, axes):
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="none")
        axes.set(xlabel="predicted class, by number", ylabel="true class, by number")
        bar = figure.colorbar(image, ax=axes, shrink=0.85)
        scales.show_percent(bar.ax)
        return finished(figure, "Confusion matrix", "Share of the examples of each true class.")


@contextlib.contextmanager
def style(changes: Mapping[RcKeyType, object] | None = None) -> Iterator[None]:
    """The pages' style; characters that matplotlib's font lacks show as boxes, the page's own text has them."""
    with matplotlib.rc_context({**STYLE, **(changes or {})}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


@contextlib.contextmanager
def canvas(height: float = 3.4, width: float = 5.4, grid: bool = True) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure in the pages' style, and its only axes."""
    with style({"axes.grid": grid}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


@contextlib.contextmanager
def panels(
    count: int, columns: int, size: tuple[float, float], room: tuple[float, float], sharey: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of so many axes in rows. size: of a panel; room: what is left beside and below all of them."""
    columns = min(columns, count)
    rows = -(-count // columns)
    width, height = columns * size[0] + room[0], rows * size[1] + room[1]
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    yield figure, grid[:count]


def legend_once(figure: Figure, grid: Sequence[Axes], columns: int) -> None:
    """The names of the lines of all axes below them, each once."""
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns, frameon=False)


def finished(figure: Figure, title: str, caption: str, *, legend: bool = False) -> Picture:
    """What was drawn, with the names of the lines of its first axes below it if asked for."""
    handles, labels = figure.axes[0].get_legend_handles_labels() if legend else ([], [])
    if handles:
        longest = max(map(len, labels))
        columns = 1 + (longest <= 24) + (longest <= 12)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return Picture(svg(figure), title, caption)


def svg(figure: Figure) -> str:
    """The drawing as text, the same at every run."""
    with io.StringIO() as text:
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return text.getvalue()
