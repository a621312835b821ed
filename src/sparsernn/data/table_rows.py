"""Rows of CSV, TSV and Parquet files, plain or gzipped, as a stream of chunks; wrong files become one clear error."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsernn.data.csv_file import ROWS_AT_ONCE, CsvFile, Progress, existing, no_progress
from sparsernn.errors import UserError
from sparsernn.reading import FREE_BYTES, MOST_UNPACKED, Damaged, open_regular, readable

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


@dataclass(frozen=True)
class Rows:
    """A chunk of rows.

    Arguments:
        path: the file, for errors.
        unit: what `places` counts: "line" or "row".
        places: where each row starts in the file, counted from 1.
        columns: values by column name: strings, or what Parquet holds.
    """

    path: Path
    unit: str
    places: list[int]
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.places)

    def where(self, row: int) -> str:
        """The place of a row of this chunk, in words."""
        return f"{self.unit} {self.places[row]} of {self.path}"

    def texts(self, column: str) -> list[str]:
        """The column as strings; missing values are empty."""
        return ["" if value is None else str(value) for value in self.columns[column]]

    def labels(self, column: str) -> list[str]:
        """The column as class names; an empty one is a UserError."""
        names = [name.strip() for name in self.texts(column)]
        if "" in names:
            raise UserError(
                f"The label in column {column!r} is empty in {self.where(names.index(''))}",
                "a label in every row",
                "fill it in or delete the row",
            )
        return names

    def numbers(self, column: str) -> np.ndarray:
        """The column as finite numbers; anything else is a UserError that names the row."""
        values = self.columns[column]
        try:
            array = np.array(values, np.float64)
        except (ValueError, TypeError, OverflowError):
            row = next(row for row, value in enumerate(values) if _number(value) is None)
            raise UserError(
                f"{str(values[row])[:40]!r} in column {column!r} is not a number ({self.where(row)})",
                "a number with a decimal point",
                "correct the row, or leave the column out",
            ) from None
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array))[0])
            raise UserError(
                f"Column {column!r} holds {values[row]} ({self.where(row)})",
                "finite numbers, no NaN and no infinity",
                "fill the gap or delete the row",
            )
        return array

    def matrix(self, columns: Sequence[str]) -> np.ndarray:
        """The columns as finite numbers, [rows columns]."""
        return np.stack([self.numbers(column) for column in columns], 1)

    def times(self, column: str) -> np.ndarray:
        """The column as seconds or plain numbers: numbers stay, ISO dates are converted."""
        values = self.columns[column]
        if values and _number(values[0]) is not None:
            return self.numbers(column)
        return np.array([self._seconds(column, row, value) for row, value in enumerate(values)], np.float64)

    def _seconds(self, column: str, row: int, value: object) -> float:
        try:
            date = datetime.datetime.fromisoformat(str(value).strip())
            return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()
        except (ValueError, OverflowError):
            raise UserError(
                f"{str(value)[:40]!r} in column {column!r} is not a time ({self.where(row)})",
                "numbers, or dates such as 2016-07-01 00:00:00",
                "correct the column",
            ) from None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return None


def column_names(path: Path | str) -> list[str]:
    """The columns of a file, in order."""
    path = existing(path)
    if _is_parquet(path):
        with _parquet(path) as file:
            return list(file.schema_arrow.names)
    return CsvFile(path).header()


def read_rows(
    path: Path | str, columns: Sequence[str], progress: Progress = no_progress, what: str = "reading"
) -> Iterator[Rows]:
    """Stream the chosen columns in chunks; `progress(what, done, total)` is called first and after each chunk."""
    path = existing(path)
    progress(what, 0, path.stat().st_size)
    yield from (_parquet_rows if _is_parquet(path) else _csv_rows)(path, tuple(dict.fromkeys(columns)), progress, what)
    progress(what, path.stat().st_size, path.stat().st_size)


def csv_records(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file one by one, as a dictionary of the chosen columns."""
    for rows in read_rows(path, columns):
        for values in zip(*rows.columns.values(), strict=True):
            yield dict(zip(rows.columns, values, strict=True))


def csv_fields(path: Path) -> Iterator[list[str]]:
    """The rows of a comma-separated file without a header, one by one."""
    for _, row in CsvFile(path, ","):
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
    raise UserError(
        f"{path} has {' and '.join(faults)}",
        f"one of {listed}",
        f"write {' and '.join(corrections)}, the nearest" if corrections else "give the name of a column",
    )


def _is_parquet(path: Path) -> bool:
    with readable(f"The file {path}"), open_regular(path) as file:
        return file.read(4) == b"PAR1"


def _csv_rows(path: Path, columns: tuple[str, ...], progress: Progress, what: str) -> Iterator[Rows]:
    file, total = CsvFile(path), path.stat().st_size
    names = file.header()
    require_columns(path, columns, names)
    picked = [names.index(name) for name in columns]
    places: list[int] = []
    values: list[list[str]] = [[] for _ in columns]
    empty = True
    for line, row in file:
        if len(row) != len(names):
            raise UserError(
                f"Line {line} of {path} has {len(row)} fields and the header has {len(names)}",
                "as many in every row",
                "correct the line, or put quotation marks around fields that hold the delimiter",
            )
        places.append(line)
        for column, place in zip(values, picked, strict=True):
            column.append(row[place])
        if len(places) == ROWS_AT_ONCE:
            yield Rows(path, "line", places, dict(zip(columns, values, strict=True)))
            progress(what, file.done, total)
            places, values, empty = [], [[] for _ in columns], False
    if places:
        yield Rows(path, "line", places, dict(zip(columns, values, strict=True)))
    elif empty:
        raise UserError(f"The file {path} has a header and no rows", "at least one row", "give a file with rows")


@contextmanager
def _parquet(path: Path) -> Iterator[ParquetFile]:
    """A Parquet file whose pages are not said to be larger than it can hold."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "A Parquet file cannot be read: pyarrow is not installed", "the train extra", "install sparsernn[train]"
        ) from error
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


def _parquet_rows(path: Path, columns: tuple[str, ...], progress: Progress, what: str) -> Iterator[Rows]:
    with _parquet(path) as file:
        yield from _parquet_batches(file, path, columns, progress, what)


def _parquet_batches(
    file: ParquetFile, path: Path, columns: tuple[str, ...], progress: Progress, what: str
) -> Iterator[Rows]:
    total, schema = path.stat().st_size, file.schema_arrow
    require_columns(path, columns, schema.names)
    for name in columns:
        kind = str(schema.field(name).type)
        if kind.startswith(("list", "large_list", "struct", "map", "binary", "large_binary", "fixed_size")):
            raise UserError(
                f"Column {name!r} of {path} holds {kind}", "text, numbers or times", "write one plain value a row"
            )
    done, rows = 0, file.metadata.num_rows
    if not rows:
        raise UserError(f"The file {path} has no rows", "at least one row", "give a file with rows")
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns)):
        places = list(range(done + 1, done + len(batch) + 1))
        yield Rows(path, "row", places, {name: batch.column(name).to_pylist() for name in columns})
        done += len(batch)
        progress(what, total * done // rows, total)
