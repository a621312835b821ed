"""Labels of a user's file: classes in any spelling, or numbers that are learned as numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sparsernn.data.numerals import Numeral, class_key, is_gap, numeral
from sparsernn.data.table_rows import LARGEST_NUMBER, Rows, rows_of
from sparsernn.data.task import IGNORED, are_known
from sparsernn.errors import UserError

MOST_CLASSES = 1000
MOST_WHOLE, MOST_BROKEN = 100, 10
"""Different numbers up to which whole ones, and others, are taken for classes without asking."""


class Labels(NamedTuple):
    """The labels of a file.

    Attributes:
        names: of the classes in the order of their numbers; none for a regression.
        targets: [rows] class numbers, IGNORED where a label is missing; or the numbers themselves, NaN there.
    """

    names: tuple[str, ...]
    targets: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """Which rows have a label."""
        return are_known(self.targets)


def note_labels(labels: Labels, remarks: dict[str, None]) -> None:
    """Add remarks on rows without a label, and on the names of classes."""
    count = int((~labels.usable).sum())
    if count:
        remarks[f"{rows_of(count)} without a label left out"] = None
    note_names(labels.names, remarks)


def note_names(labels: Sequence[str], remarks: dict[str, None]) -> None:
    """Add remarks on classes that may be one, and on those that may be none."""
    spellings: dict[str, list[str]] = {}
    for name in labels:
        spellings.setdefault("".join(name.casefold().split()), []).append(name)
    alike = "; ".join(" and ".join(map(repr, names[:4])) for names in spellings.values() if len(names) > 1)
    if alike:
        remarks[f"labels that differ in capitals or blanks alone are classes of their own: {alike}"] = None
    if gaps := [repr(name) for name in labels if is_gap(name)]:
        remarks[f"the label {', '.join(gaps)} is taken for a class; if it stands for none, empty these cells"] = None


class LabelReader:
    """Collects the labels of a file.

    Arguments:
        column: its name.
        kind: "classes", "numbers" or "auto", as in `TableOptions`.
        decimal: mark of numbers.
        gaps: whether labels may be missing.
    """

    def __init__(self, column: str, kind: str, decimal: str = ".", gaps: bool = False):
        self.column, self.kind, self._decimal, self._gaps = column, kind, decimal or ".", gaps
        self._places: dict[str, int] = {}
        self._names: list[str] = []
        self._codes: list[np.ndarray] = []

    def add(self, rows: Rows) -> None:
        """Take the labels of a chunk."""
        names = rows.labels(self.column, self._gaps)
        self._codes.append(np.fromiter(map(self._code, names), np.int64, len(names)))

    def _code(self, name: str) -> int:
        if not name:
            return -1
        key = class_key(name)
        code = self._places.setdefault(key, len(self._places))
        if code == len(self._names):
            self._names.append(name)
        return code

    def finish(self) -> Labels:
        """All that were added. Raises: UserError where they are not what is asked for, or could be either."""
        codes = np.concatenate([np.zeros(0, np.int64), *self._codes])
        numbers = [numeral(name, self._decimal) for name in self._names]
        if self.kind == "numbers":
            return Labels((), self._numbers(numbers)[codes])
        if self.kind == "auto" and all(one is not None and not one.unit for one in numbers) and _many(numbers):
            raise UserError(
                f"Column {self.column!r} holds {len(numbers):,} different labels, all of them numbers",
                "classes, or to be told that a number is to be learned",
                "pass --regression to learn the number, or --classes if each is a class",
            )
        order = self._order(numbers)
        place = np.empty(len(order) + 1, np.int64)
        place[order], place[-1] = np.arange(len(order)), IGNORED
        return Labels(tuple(self._names[code] for code in order), place[codes])

    def _numbers(self, numbers: Sequence[Numeral | None]) -> np.ndarray:
        if None in numbers:
            raise UserError(
                f"The label {self._names[numbers.index(None)][:40]!r} in column {self.column!r} is not a number",
                "numbers, for a regression",
                "correct it, pass --decimal , for decimal commas, or leave out --regression",
            )
        values = [number.value for number in numbers if number is not None]
        if max(map(abs, values), default=0) > LARGEST_NUMBER:
            raise UserError(
                f"Column {self.column!r} holds {max(values, key=abs):g}",
                f"numbers up to {LARGEST_NUMBER:g}",
                "give the labels in a larger unit",
            )
        if len(set(values)) < 2:
            raise UserError(
                f"Column {self.column!r} holds one number only", "different numbers", "choose another label column"
            )
        return np.array([*values, np.nan], np.float64)

    def _order(self, numbers: Sequence[Numeral | None]) -> list[int]:
        """The codes in the order of the classes."""
        names = self._names
        if len(names) < 2:
            raise UserError(
                f"Column {self.column!r} holds one class only, {names[0][:40]!r}" if names else "There are no labels",
                "at least two different labels",
                "choose another label column or add rows of other classes",
            )
        if len(names) > MOST_CLASSES:
            raise UserError(
                f"Column {self.column!r} holds {len(names):,} different labels",
                f"at most {MOST_CLASSES:,} classes",
                "check that it is the label column, or pass --regression if its numbers are to be learned",
            )
        values = [number.value for number in numbers if number is not None and not number.unit]
        if len(values) == len(names):
            return sorted(range(len(names)), key=values.__getitem__)
        return sorted(range(len(names)), key=names.__getitem__)


def _many(numbers: Sequence[Numeral | None]) -> bool:
    whole = all(number is not None and number.value.is_integer() for number in numbers)
    return len(numbers) > (MOST_WHOLE if whole else MOST_BROKEN)
