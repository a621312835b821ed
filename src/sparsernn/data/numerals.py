"""Numbers as people and programs write them: decimal marks, thousands, units, currencies, percent; and gaps."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import numpy as np

from sparsernn.errors import UserError

GAPS = frozenset(
    ("", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "nat", "null", "none", "nil", "missing", "-", "--", "?", ".", "..")
)
"""What stands where a number is missing, in lower case."""
TIMES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9, "T": 1e12}
_NUMBER = re.compile(
    r"(?P<minus>[-+(]?)\s*(?P<before>[A-Z]{3}|[A-Z]{0,3}[$\u00a2-\u00a5\u20a0-\u20c0\u0e3f]|Rs\.?|kr\.?|Fr\.?)?\s*(?P<sign>[-+]?)"
    r"(?P<digits>\d[\d.,]*|[.,]\d+)(?P<power>[eE][-+]?\d+)?(?P<blank>\s*)(?P<after>[^\d\s:/#_-].*)?"
)
_GROUPS = {
    ".": re.compile(r"(\d{1,3}(,\d{3})+|\d{1,2}(,\d{2})*,\d{3})(\.\d*)?|\d*\.?\d*"),
    ",": re.compile(r"\d{1,3}(\.\d{3})+(,\d*)?|\d*,?\d*"),
}
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Numeral(NamedTuple):
    """A number and what stands around it."""

    value: float
    unit: str


def is_gap(value: object) -> bool:
    """Whether a cell stands for a missing value."""
    if value is None or isinstance(value, float) and value != value:
        return True
    return isinstance(value, str) and value.strip().lower() in GAPS


def numeral(value: object, decimal: str = ".") -> Numeral | None:
    """The number that a cell spells, with its unit; None if it spells none.

    A K, M or B right after the digits multiplies; any other sign before or after them is a unit.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(float(value), "")
    text = str(value).strip().replace("\u2212", "-")
    if decimal == "." and _PLAIN.fullmatch(text):
        return _finite(float(text), "")
    matched = _NUMBER.fullmatch(_without_blanks(text))
    if matched is None:
        return None
    digits, after = matched["digits"], (matched["after"] or "").strip()
    if matched["minus"] == "(":
        if not after.endswith(")"):
            return None
        after = after[:-1].strip()
    if not _GROUPS[decimal].fullmatch(digits):
        return None
    number = float(digits.replace("," if decimal == "." else ".", "").replace(",", ".") + (matched["power"] or ""))
    unit = (matched["before"] or "").strip() + after
    if after in TIMES and not matched["blank"]:
        number, unit = number * TIMES[after], unit.removesuffix(after)
    negative = (matched["minus"] in ("-", "(")) != (matched["sign"] == "-")
    return _finite(-number if negative else number, unit)


def _finite(value: float, unit: str) -> Numeral | None:
    return Numeral(value, unit) if math.isfinite(value) else None


def _without_blanks(text: str) -> str:
    """A text whose digits stand together: blanks and apostrophes between groups of thousands are left out."""
    return re.sub(r"(?<=\d)[\s\u00a0\u2007\u2009\u202f'\u2019](?=\d{3}(?!\d))", "", text)


def decimal_mark(cells: Iterable[object]) -> str:
    """The decimal mark that some cells show: "." or ","; "?" where each could be either; "" where none has a comma.

    Only texts are looked at: a comma that is followed by other than three digits, or stands behind a point, is a
    decimal mark; one before a point, or one of several, marks thousands.
    """
    unsure = False
    for cell in cells:
        if not isinstance(cell, str) or "," not in cell:
            if isinstance(cell, str) and cell.count(".") > 1 and re.fullmatch(r"\D*\d{1,3}(\.\d{3}){2,}\D*", cell):
                return ","
            continue
        digits = re.search(r"\d[\d.,]*|[.,]\d+", _without_blanks(cell.strip()))
        if digits is None:
            continue
        text = digits[0].rstrip(".,")
        if "." in text:
            return "." if text.rfind(".") > text.rfind(",") else ","
        if text.count(",") > 1:
            return "."
        if "," in text and not re.fullmatch(r"[1-9]\d{0,2},\d{3}", text):
            return ","
        unsure |= "," in text
    return "?" if unsure else ""


def numbers(cells: Sequence[Any], decimal: str = "", wrong: Callable[[int], None] | None = None) -> np.ndarray:
    """Some cells as float64, NaN where one is a gap.

    Arguments:
        wrong: called with the place of a cell that is no number, which is then NaN; None raises ValueError(place).
    Raises: ValueError(place), and UserError for two different units.
    """
    if decimal != ",":
        try:
            return np.array(cells, np.float64)
        except (ValueError, TypeError, OverflowError):
            pass
    made = np.full(len(cells), np.nan)
    units: dict[str, int] = {}
    for place, cell in enumerate(cells):
        if is_gap(cell):
            continue
        number = numeral(cell, decimal or ".")
        if number is None:
            if wrong is None:
                raise ValueError(place)
            wrong(place)
            continue
        made[place] = number.value
        if number.unit:
            units.setdefault(number.unit, place)
    if len(units) > 1:
        one, two = list(units)[:2]
        raise UserError(
            f"Some numbers of a column have the unit {one!r} and others {two!r}, as {str(cells[units[two]])[:40]!r}",
            "one unit in a column",
            "convert them to one unit",
        )
    return made


def class_key(name: str) -> str:
    """What the spellings of one class have in common: 1, 1.0 and +1 are the same class."""
    if _PLAIN.fullmatch(name):
        try:
            number = Decimal(name).normalize()
        except InvalidOperation:
            return name
        return f"{number:f}" if number else "0"
    return name
