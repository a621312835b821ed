"""Axes of figures: whole numbers, percentages and powers of ten, without mathematical type."""

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator


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
