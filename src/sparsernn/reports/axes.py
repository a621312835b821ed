"""Axes of figures: whole numbers, percentages and powers of ten, without mathematical type."""

import itertools
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator


def count_steps(axes: Axes, most: int) -> None:
    """Write whole numbers on the horizontal axis, about so many at the most."""
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def show_percent(axes: Axes) -> None:
    """Write the fractions of the vertical axis as percentages."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def show_powers(axes: Axes) -> None:
    """A logarithmic vertical axis whose labels need no mathematical type."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, numticks=6))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-").replace("-", "−"))
    )
    axes.yaxis.set_minor_locator(NullLocator())


def show_sizes(axes: Axes, values: Sequence[float], in_bytes: bool) -> None:
    """A logarithmic x axis with round numbers, no wider than the points and their names need."""
    low, high = min(values), max(values)
    margin = (high / low) ** 0.15 if high > low else 1.5
    low, high = low / margin, high * margin
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    choices = ((1, (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)), (1, (1, 2, 3, 5, 7)), (1, (1, 2, 5)), (1, (1, 3)))
    for stride, steps in (*choices, *((decades, (1,)) for decades in range(1, 300))):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1, stride)
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        gaps = [math.log(after / before) for before, after in itertools.pairwise(ticks)]
        if min(gaps, default=math.inf) > 0.13 * math.log(high / low):
            break
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _rounded(value, in_bytes)))


def _rounded(value: float, in_bytes: bool) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {letter}{'B' if in_bytes else ''}"
    return f"{value:g}{' B' if in_bytes else ''}"
