"""Columns of a user's file: found by their names, and what their first rows show of numbers, dates and words."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sparsernn.data.numerals import decimal_mark, is_gap, numeral
from sparsernn.data.spelling import Spelling, dialect
from sparsernn.data.table_rows import Table, is_parquet, require_columns
from sparsernn.data.times import Clock
from sparsernn.errors import UserError

LOOKED_AT = 50_000
MOST_LEVELS = 50


def listed(described: str | Sequence[str], table: Table, others: Sequence[str] = ()) -> list[str]:
    """The columns in "A", "A,B" or "A:Z", a range in the order of the file; names may hold commas and colons.

    Arguments:
        others: columns that have to be there as well; empty ones are none.
    Raises: UserError for names that are absent, or there twice.
    """
    present, others = table.names, list(filter(None, others))
    text = described if isinstance(described, str) else ",".join(described)
    names = _parsed(text.strip(), present) if text else []
    if names is None:
        pieces = [piece.strip() for part in text.split(",") for piece in _ends(part, present)]
        require_columns(table.path, [*others, *pieces], present)
        raise UserError(f"{text!r} names no columns", f"one of {', '.join(map(repr, present[:20]))}", "correct it")
    require_columns(table.path, [*others, *names], present)
    return list(dict.fromkeys(names))


def _ends(part: str, present: Sequence[str]) -> list[str]:
    return [part] if part.strip() in present else part.split(":")


def _parsed(text: str, present: Sequence[str]) -> list[str] | None:
    """The names in a text that lists columns, or None."""
    if text in present:
        return [text]
    if (between := _range(text, present)) is not None:
        return between
    for place in (place for place, character in enumerate(text) if character == ","):
        first = text[:place].strip()
        names = [first] if first in present else _range(first, present)
        if names is not None and (others := _parsed(text[place + 1 :].strip(), present)) is not None:
            return names + others
    return None


def _range(text: str, present: Sequence[str]) -> list[str] | None:
    for place in (place for place, character in enumerate(text) if character == ":"):
        first, last = text[:place].strip(), text[place + 1 :].strip()
        if first in present and last in present:
            start, end = present.index(first), present.index(last)
            if start > end:
                raise UserError(
                    f"Column {first!r} comes after {last!r}", "FIRST:LAST in the order of the file", "swap the two"
                )
            return list(present[start : end + 1])
    return None


def see(
    table: Table, numbers: Sequence[str], *, words: Sequence[str] = (), times: Sequence[str] = ()
) -> tuple[Spelling, dict[str, list[str]]]:
    """How the first rows of a file spell numbers and dates, and the words of columns that are none.

    Arguments:
        numbers: columns of numbers; words: columns of numbers or words.
        times: the columns that make a time together.
    Returns: the spelling, settled, and for each column of words all that occur.
    Raises: UserError where the first rows leave it open and an option has to say it.
    """
    columns = list(dict.fromkeys([*numbers, *words]))
    if not columns and not times:
        return table.spelling, {}
    cells: dict[str, list[Any]] = {name: [] for name in columns}
    dates: list[Any] = []
    for rows in table.rows([*columns, *times], "looking at the columns"):
        for name in columns:
            cells[name] += rows.columns[name]
        dates += rows.joined(times) if times else []
        if len(rows) + len(dates) + len(next(iter(cells.values()), ())) > LOOKED_AT:
            break
    spelling = table.spelling
    if not spelling.decimal:
        spelling = replace(spelling, decimal=_decimal(table, cells))
    order = Clock(spelling.date_format).unsure(dates)
    if order == "?":
        raise UserError(
            f"The dates in column {', '.join(times)!r}, such as {str(dates[0])[:40]!r}, could have the day or the month"
            " first",
            "dates that show it",
            "pass --date-format dayfirst or monthfirst",
        )
    spelling = replace(spelling, date_format=spelling.date_format or order)
    return spelling, {name: levels for name in words if (levels := _levels(name, cells[name], spelling.decimal))}


def _decimal(table: Table, cells: dict[str, list[Any]]) -> str:
    marks = {decimal_mark(column): name for name, column in cells.items()}
    if "," in marks and "." in marks:
        raise UserError(
            f"Column {marks[',']!r} seems to have decimal commas and {marks['.']!r} commas between thousands",
            "one way in a file",
            "pass --decimal , or --decimal .",
        )
    if "," in marks or "." in marks or "?" not in marks:
        return "," if "," in marks else "."
    if is_parquet(table.path) or dialect(table.path, table.spelling).delimiter != ",":
        raise UserError(
            f"The commas in column {marks['?']!r} could mark thousands or decimals",
            "numbers that show it",
            "pass --decimal , or --decimal .",
        )
    return "."


def _levels(name: str, cells: Sequence[Any], decimal: str) -> list[str]:
    """The words of a column that has no numbers."""
    values = [cell for cell in cells if not is_gap(cell)]
    spelled = sum(not isinstance(cell, bool) and numeral(cell, decimal) is not None for cell in values)
    if 2 * spelled >= len(values):
        return []
    words = sorted({str(cell).strip() for cell in values})
    if len(words) > MOST_LEVELS:
        raise UserError(
            f"Column {name!r} holds {len(words):,} different words",
            f"numbers, or at most {MOST_LEVELS} words",
            "leave the column out, or give it as --text",
        )
    return words


def widths(columns: Sequence[str], levels: dict[str, list[str]]) -> list[int]:
    """How many features each column makes: one, or one a word."""
    return [len(levels[name]) if name in levels else 1 for name in columns]
