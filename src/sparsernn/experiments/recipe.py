"""Recipes: experiments written down as rows, at three sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sparsernn import folders, typed
from sparsernn.errors import UserError
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import Paper, Scaled

Size = Literal["full", "cpu", "quick"]
SIZES: tuple[Size, ...] = get_args(Size)


@dataclass(frozen=True)
class Recipe:
    """An experiment: rows that share a table. Its name is the name of its file.

    Arguments:
        title: one line for lists and pages.
        source: where the figures it compares with come from.
        rows: the rows at a size: "full" is the source's own, "cpu" fits two cores, "quick" takes seconds.
        default_size: the size that runs when none is asked for.
        paper: what the rows at "full" are compared with; None: they are our own.
        scaled: what differs between "full" and "cpu".
    """

    title: str
    source: str
    rows: Callable[[Size], Sequence[AnyRow]]
    default_size: Size = "cpu"
    paper: Paper | None = None
    scaled: tuple[Scaled, ...] = ()

    def at(self, size: Size) -> list[AnyRow]:
        """Rows at `size`, checked: names are distinct and every row needs only rows of the same list."""
        rows = list(self.rows(size_of(size)))
        names = [row.name for row in rows]
        repeated = sorted({name for name in names if names.count(name) > 1})
        missing = sorted({need for row in rows for need in row.needs} - set(names))
        if repeated or missing:
            raise UserError(
                f"the recipe repeats rows {repeated} and refers to unknown rows {missing}",
                "distinct names, and only rows of the same recipe in sources",
                "Correct the recipe's file",
            )
        return rows


def size_of(text: str) -> Size:
    """The size of this name. Raises: UserError if there is none."""
    for size in SIZES:
        if text == size:
            return size
    raise UserError(f"{text!r} is not a size", "one of " + ", ".join(SIZES), "Pass --size with one of them")


def read_recipe(name: str) -> Recipe:
    """The recipe of this name."""
    return folders.find("recipes", name)


def select(rows: Sequence[AnyRow], names: Sequence[str] | None) -> list[AnyRow]:
    """The rows named, with those they need, in an order in which each comes after what it needs."""
    by_name = {row.name: row for row in rows}
    ordered: dict[str, AnyRow] = {}

    def add(name: str, waiting: tuple[str, ...]) -> None:
        if name not in by_name:
            raise typed.unknown("row", name, list(by_name), "--rows")
        if name in waiting:
            raise UserError(
                f"row {name!r} needs itself, by way of {', '.join(waiting)}", "no circles", "Correct the recipe's file"
            )
        for need in by_name[name].needs:
            add(need, (*waiting, name))
        ordered.setdefault(name, by_name[name])

    for name in names or list(by_name):
        add(name, ())
    return list(ordered.values())
