"""Rows of CSV, TSV, JSON and Parquet files as a stream of chunks; wrong files become one clear error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsernn.data.csv_file import ROWS_AT_ONCE, CsvFile, Progress, RowFile, existing, no_progress, row_file
from sparsernn.data.numerals import numbers
from sparsernn.data.spelling import NATURAL, Spelling
from sparsernn.data.times import Clock, no_time
from sparsernn.errors import UserError, needs_package
from sparsernn.reading import FREE_BYTES, MOST_UNPACKED, Damaged, open_regular, readable

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

LARGEST_NUMBER = 1e100
"""What can be squared, and summed over all rows of a file, without overflow."""


def rows_of(count: int) -> str:
    """So many rows, in words."""
    return f"{count:,} row{'s' * (count != 1)}"


@dataclass(frozen=True)
class Rows:
    """A chunk of rows.

    Arguments:
        path: the file, for errors.
        unit: what `places` counts: "line" or "row".
        places: where each row starts in the file, counted from 1.
        columns: values by column name: strings, or what Parquet and JSON hold.
        decimal: the decimal mark of its numbers.
        faults: what is wrong with a row, by its number in the chunk; None where anything wrong is a UserError.
    """

    path: Path
    unit: str
    places: list[int]
    columns: dict[str, list[Any]]
    decimal: str = field(default="", kw_only=True)
    faults: dict[int, str] | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.places)

    def where(self, row: int) -> str:
        """The place of a row of this chunk, in words."""
        return f"{self.unit} {self.places[row]} of {self.path}"

    def texts(self, column: str) -> list[str]:
        """The column as strings; missing values are empty."""
        return ["" if value is None or value != value else str(value) for value in self.columns[column]]

    def labels(self, column: str, gaps: bool = False, of: str = "label") -> list[str]:
        """The column as names of classes, or of something else; an empty one is a UserError, unless there may be."""
        names = [name.strip() for name in self.texts(column)]
        if "" in names and not gaps:
            raise UserError(
                f"The {of} in column {column!r} is empty in {self.where(names.index(''))}",
                f"a {of} in every row",
                "fill it in" + (", or pass --missing drop to leave such rows out" if of == "label" else ""),
            )
        return names

    def numbers(self, column: str, gaps: bool = False) -> np.ndarray:
        """The column as finite numbers; anything else is a UserError that names the row, or a fault of it.

        Arguments:
            gaps: whether values may be missing, which are NaN then.
        """
        values = self.columns[column]
        try:
            made = numbers(values, self.decimal, None if self.faults is None else lambda row: self._fault(row, column))
        except UserError as error:
            raise UserError(f"Column {column!r} of {self.path}: {error.happened}", error.expected, error.do) from None
        except ValueError as error:
            raise self._no_number(error.args[0], column) from None
        for row in np.flatnonzero(np.abs(made) > LARGEST_NUMBER).tolist():
            if self.faults is None:
                raise UserError(
                    f"Column {column!r} holds {str(values[row])[:40]} ({self.where(row)})",
                    f"finite numbers, up to {LARGEST_NUMBER:g}",
                    "correct or delete the row, or give the column in a larger unit",
                )
            self._fault(row, column)
            made[row] = np.nan
        missing = np.flatnonzero(np.isnan(made))
        if len(missing) and not gaps and self.faults is None:
            raise UserError(
                f"Column {column!r} is empty ({str(values[missing[0]])!r}) in {self.where(int(missing[0]))}",
                "a number in every row",
                "pass --missing interpolate (or forward, zero, drop), or fill the gap",
            )
        return made

    def _no_number(self, row: int, column: str) -> UserError:
        if str(self.columns[column][row]).startswith("["):
            raise _holds(column, self.path, "lists")
        cell = str(self.columns[column][row])
        marks = ", or pass --decimal , or --decimal ." if any(map(str.isdigit, cell)) else ""
        return UserError(
            f"{cell[:40]!r} in column {column!r} is not a number ({self.where(row)})",
            f"a number with a decimal {'comma' if self.decimal == ',' else 'point'}",
            "correct the row, or leave the column out" + marks,
        )

    def _fault(self, row: int, column: str) -> None:
        if self.faults is not None:
            value = str(self.columns[column][row])[:40]
            self.faults.setdefault(row, f"{value!r} in column {column!r} is not a number ({self.where(row)})")

    def matrix(self, columns: Sequence[str], gaps: bool = False) -> np.ndarray:
        """The columns as finite numbers, [rows columns]."""
        return np.stack([self.numbers(column, gaps) for column in columns], 1)

    def joined(self, columns: Sequence[str]) -> list[Any]:
        """The values of a column, or of several with a blank between them."""
        if len(columns) == 1:
            return self.columns[columns[0]]
        return [" ".join(cells) for cells in zip(*(self.texts(column) for column in columns), strict=True)]

    def times(self, *columns: str, clock: Clock | None = None) -> np.ndarray:
        """The column as seconds or plain numbers: numbers stay, dates are converted."""
        cells = self.joined(columns)
        try:
            return (clock or Clock()).seconds(cells)
        except ValueError as error:
            raise no_time(cells[error.args[0]], ", ".join(columns), self.where(error.args[0])) from None


class Table:
    """A file of rows.

    Arguments:
        path: the file.
        spelling: how it is written, as far as its user says.
        progress: called as progress(what, done, total), first and after each chunk.
        strict: whether a row that cannot be read is a UserError, or noted as a fault of its chunk.
    """

    def __init__(
        self,
        path: Path | str,
        spelling: Spelling = NATURAL,
        progress: Progress = no_progress,
        strict: bool = True,
    ):
        self.path, self.spelling, self.strict = existing(path), spelling, strict
        self.remarks: dict[str, None] = {}
        self._progress = progress

    @cached_property
    def names(self) -> list[str]:
        """The columns, in order."""
        if is_parquet(self.path):
            with _parquet(self.path) as file:
                return list(file.schema_arrow.names)
        return row_file(self.path, self.spelling).names

    def rows(self, columns: Sequence[str], what: str = "reading") -> Iterator[Rows]:
        """Stream the chosen columns in chunks; what is to be said of the file is among the remarks afterwards."""
        size, names = self.path.stat().st_size, tuple(dict.fromkeys(columns))
        told = partial(self._progress, what)
        told(0, size)
        if is_parquet(self.path):
            with _parquet(self.path) as file:
                yield from _parquet_batches(file, _Chunks(self.path, names, self.spelling.decimal, self.strict), told)
        else:
            source = row_file(self.path, self.spelling)
            chunks = _Chunks(self.path, names, self.spelling.decimal, self.strict)
            yield from _field_rows(source, chunks, told)
            self.remarks |= dict.fromkeys(source.remarks)
        told(size, size)


def read_rows(
    path: Path | str,
    columns: Sequence[str],
    progress: Progress = no_progress,
    what: str = "reading",
    spelling: Spelling = NATURAL,
) -> Iterator[Rows]:
    """Stream the chosen columns of a file in chunks; see `Table`."""
    yield from Table(path, spelling, progress).rows(columns, what)


PUBLISHED = Spelling(encoding="utf-8", quotes="doubled")


def csv_records(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file one by one, as a dictionary of the chosen columns."""
    for rows in read_rows(path, columns, spelling=PUBLISHED):
        for values in zip(*rows.columns.values(), strict=True):
            yield dict(zip(rows.columns, values, strict=True))


def csv_fields(path: Path) -> Iterator[list[str]]:
    """The rows of a comma-separated file without a header, one by one."""
    for _, row in CsvFile(path, replace(PUBLISHED, delimiter=",", header=False)):
        yield row


def require_columns(path: Path, columns: Sequence[str], present: Sequence[str]) -> None:
    """One UserError for all columns that are absent, naming the nearest ones, or there twice."""
    wrong = [name for name in columns if present.count(name) != 1]
    if not wrong:
        return
    faults = [f"{'no' if name not in present else 'more than one'} column {name!r}" for name in wrong]
    nearest = {name: difflib.get_close_matches(name, present, n=1, cutoff=0.4) for name in wrong}
    pairs = [(near[0], name) for name, near in nearest.items() if near and near[0] != name]
    corrections = [repr(near) + (f" for {name!r}" if len(wrong) > 1 else "") for near, name in pairs]
    listed = ", ".join(map(repr, present[:20])) + (", ..." if len(present) > 20 else "")
    do = f"write {' and '.join(corrections)}, the nearest" if corrections else "give the name of a column"
    do += ", or pass --no-header if the first row has no names"
    if all(name in present for name in wrong):
        do = "give each column a name of its own in the first row"
    raise UserError(f"{path} has {' and '.join(faults)}", f"one of {listed}", do)


def _holds(column: str, path: Path, what: str) -> UserError:
    return UserError(
        f"Column {column!r} of {path} holds {what}",
        "text, numbers or times",
        "write one plain value a row: a series is a column a step for --series-columns, or a row a step with --id",
    )


def is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet file, by how it begins."""
    with readable(f"The file {path}"), open_regular(path) as file:
        return file.read(4) == b"PAR1"


Told = Callable[[int, int], None]


def _field_rows(file: RowFile, chunks: _Chunks, told: Told) -> Iterator[Rows]:
    path, columns = chunks.path, chunks.columns
    require_columns(path, columns, file.names)
    picked, width, total = [file.names.index(name) for name in columns], len(file.names), path.stat().st_size
    empty = True
    for line, row in file:
        fault = "" if len(row) == width else _ragged(row, width, f"Line {line} of {path}")
        if width > 1 and not any(value not in ("", None) for value in row):
            continue
        if fault and chunks.strict:
            raise UserError(
                fault,
                "as many in every row",
                "correct or delete the line, quote fields that hold the delimiter, or pass --delimiter",
            )
        chunks.add(line, [row[place] if place < len(row) else None for place in picked], fault)
        if len(chunks) == ROWS_AT_ONCE:
            yield chunks.take()
            told(file.done, total)
            empty = False
    if len(chunks):
        yield chunks.take()
    elif empty:
        raise UserError(f"The file {path} has a header and no rows", "at least one row", "give a file with rows")


def _ragged(row: Sequence[Any], width: int, where: str) -> str:
    """What is wrong with a row of another width than the header; nothing, where only empty fields are too many."""
    if len(row) > width and not any(row[width:]):
        return ""
    return f"{where} has {len(row)} field{'s' * (len(row) != 1)} and the header has {width}"


class _Chunks:
    """Rows that are being read, a chunk at a time."""

    def __init__(self, path: Path, columns: tuple[str, ...], decimal: str, strict: bool):
        self.path, self.columns, self.strict, self.decimal = path, columns, strict, decimal
        self._begin()

    def _begin(self) -> None:
        self._places: list[int] = []
        self._values: list[list[Any]] = [[] for _ in self.columns]
        self._faults: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, line: int, values: Sequence[Any], fault: str) -> None:
        """Add a row, or what is wrong with it."""
        if fault:
            self._faults[len(self)] = fault
        self._places.append(line)
        for column, value in zip(self._values, values, strict=True):
            column.append(value)

    def take(self) -> Rows:
        """What was added since the last time."""
        values = dict(zip(self.columns, self._values, strict=True))
        faults = None if self.strict else self._faults
        rows = Rows(self.path, "line", self._places, values, decimal=self.decimal, faults=faults)
        self._begin()
        return rows


@contextmanager
def _parquet(path: Path) -> Iterator[ParquetFile]:
    """A Parquet file whose pages are not said to be larger than it can hold."""
    with needs_package("A Parquet file cannot be read"):
        import pyarrow
        import pyarrow.parquet
    expected, do = "a complete Parquet file", "write it again"
    with (
        readable(f"The file {path}", pyarrow.ArrowException, expected=expected, do=do),
        open_regular(path) as opened,
        pyarrow.parquet.ParquetFile(opened) as file,
    ):
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if not 0 <= sum(group.total_byte_size for group in groups) <= MOST_UNPACKED * path.stat().st_size + FREE_BYTES:
            raise Damaged("it unpacks to more bytes than it may")
        yield file


def _parquet_batches(file: ParquetFile, chunks: _Chunks, told: Told) -> Iterator[Rows]:
    path, columns = chunks.path, chunks.columns
    total, schema = path.stat().st_size, file.schema_arrow
    require_columns(path, columns, schema.names)
    for name in columns:
        kind = str(schema.field(name).type)
        if kind.startswith(("list", "large_list", "struct", "map", "binary", "large_binary", "fixed_size")):
            raise _holds(name, path, kind)
    done, rows = 0, file.metadata.num_rows
    if not rows:
        raise UserError(f"The file {path} has no rows", "at least one row", "give a file with rows")
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns)):
        places = list(range(done + 1, done + len(batch) + 1))
        values = {name: batch.column(name).to_pylist() for name in columns}
        yield Rows(path, "row", places, values, decimal=chunks.decimal, faults=None if chunks.strict else {})
        done += len(batch)
        told(total * done // rows, total)
