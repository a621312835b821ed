"""Differences between the rows of a recipe and the paper that they are after, each declared with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.parts import plain

Stated = Mapping[str, object]
"""What a paper states of a row, by the path in `Row.to_json`: "settings.learning_rate", "model.options.units"."""
Facts = Callable[[AnyRow], Stated]
NOT_STATED = "not stated"
ABSENT = "none"
ROW = "row"
UNCOMPARED = ("name", "published", "measure", "threads")
"""Parts of a row that change no weight."""


@dataclass(frozen=True)
class Deviation:
    """One difference between a paper and rows at the size "full".

    Arguments:
        field: of the row, as `Stated` has it; "row" for rows that the paper lacks; words for what no field holds.
        published, ours: the two values, the first `NOT_STATED` where the paper leaves it open.
        why: the reason, in a sentence's words.
        rows: pattern of the rows' names.
    """

    field: str
    published: object
    ours: object
    why: str
    rows: str = "*"

    def covers(self, difference: Difference) -> bool:
        """Whether it declares this difference."""
        if self.field != difference.field or not fnmatchcase(difference.row, self.rows):
            return False
        return self.field == ROW or (alike(self.published, difference.published) and alike(self.ours, difference.ours))

    @property
    def is_checked(self) -> bool:
        """Whether it is about a field that can be compared."""
        return self.field == ROW or "." in self.field


@dataclass(frozen=True)
class Scaled:
    """What is smaller, or chosen otherwise, at the size "cpu" than at "full".

    Arguments:
        field: pattern of fields, as `Stated` has them.
        why: the reason.
        rows: pattern of the rows' names.
    """

    field: str
    why: str
    rows: str = "*"

    def covers(self, difference: Difference) -> bool:
        """Whether it declares this difference, whose `published` is the value at "full"."""
        return fnmatchcase(difference.field, self.field) and fnmatchcase(difference.row, self.rows)


@dataclass(frozen=True)
class Difference:
    """A field of a row with two values."""

    row: str
    field: str
    published: object
    ours: object


@dataclass(frozen=True)
class Paper:
    """What the rows of a recipe are compared with.

    Arguments:
        name: authors and year.
        place: the table or figure, and the title or the topic of its section.
        stated: what the paper states of a row at "full"; nothing: the paper has no such row.
        deviations: where the rows differ from it.
    """

    name: str
    place: str
    stated: Facts
    deviations: tuple[Deviation, ...] = ()

    @property
    def source(self) -> str:
        """The citation."""
        return f"{self.name}, {self.place}"

    def differences(self, row: AnyRow) -> Iterator[Difference]:
        """Where a row is not as the paper states it, or the paper states nothing."""
        stated, fields = self.stated(row), flat(row.to_json())
        if not stated:
            yield Difference(row.name, ROW, ABSENT, row.name)
        for field, published in flat(stated).items():
            ours = fields.get(field, ABSENT)
            if not alike(published, ours):
                yield Difference(row.name, field, published, ours)

    def undeclared(self, rows: list[AnyRow]) -> list[Difference]:
        """Differences that no deviation declares."""
        differences = (difference for row in rows for difference in self.differences(row))
        return [one for one in differences if not any(deviation.covers(one) for deviation in self.deviations)]

    def idle(self, rows: list[AnyRow]) -> list[Deviation]:
        """Deviations that declare a difference where there is none."""
        differences = [difference for row in rows for difference in self.differences(row)]
        checked = (deviation for deviation in self.deviations if deviation.is_checked)
        return [one for one in checked if not any(one.covers(difference) for difference in differences)]


def scalings(full: list[AnyRow], cpu: list[AnyRow]) -> list[Difference]:
    """Fields in which rows of the same name differ between two sizes."""
    counterparts = {row.name: flat(row.to_json()) for row in full}
    differences = []
    for row in cpu:
        after = flat(row.to_json())
        before = counterparts.get(row.name, after)
        for field in dict.fromkeys((*before, *after)):
            values = before.get(field, ABSENT), after.get(field, ABSENT)
            if field.partition(".")[0] not in UNCOMPARED and not alike(*values):
                differences.append(Difference(row.name, field, *values))
    return differences


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """The innermost values by their path; lists are values."""
    leaves: dict[str, object] = {}
    for name, value in values.items():
        path, value = f"{prefix}{name}", plain(value)
        leaves |= flat(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value}
    return leaves


def alike(one: object, other: object) -> bool:
    """Whether two values are equal, numbers up to the last digits."""
    one, other = plain(one), plain(other)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == other


def written(value: object) -> str:
    """A value as a reader of a page needs it."""
    value = plain(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(written, value)) or ABSENT
    return ABSENT if value is None or value == {} else str(value)
