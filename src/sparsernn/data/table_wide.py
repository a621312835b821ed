"""A user's labelled series with a row a series, as standardised features on disk."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sparsernn.data.patches import Patches
from sparsernn.data.preparation import Columns, Encoded, Preparation, numbered, require_parts, targets_of, write_parts
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_parts import cut_rows, row_groups
from sparsernn.data.table_rows import Progress, Rows, column_names, read_rows, require_columns
from sparsernn.data.table_steps import moments, steps_of, write_scaled
from sparsernn.errors import UserError


def build_wide(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """A row a series: the cells of the columns are its steps; cells may be missing at the end."""
    present = column_names(task.path)
    require_columns(Path(task.path), [task.label, *named(task.series_columns)], present)
    steps = expand(task.series_columns, present)
    seen: dict[str, int] = {}
    lengths, codes = [np.zeros(1, np.int64)], []
    for rows in read_rows(task.path, [task.label, *steps], progress, "reading series"):
        codes += [seen.setdefault(name, len(seen)) for name in rows.labels(task.label)]
        values, counts = cells(rows, steps)
        writer.append("raw", values[:, None])
        lengths.append(counts)
    labels, targets = numbered(seen, np.array(codes), task.label)
    parts = cut_rows(task, targets, row_groups(task, progress))
    require_parts(parts, task.path, "rows")
    offsets = np.cumsum(np.concatenate(lengths))
    means, deviations = moments(writer.array("raw"), steps_of(offsets, parts[0]))
    columns: Columns = {"series": steps, "label": task.label}
    patch = Patches.for_lengths(np.diff(offsets)[parts[0]]).steps
    preparation = Preparation("wide", columns, tuple(labels), means, deviations, patch=patch)
    write_scaled(writer, preparation, None)
    writer.append("offsets", offsets)
    writer.append("targets", targets)
    write_parts(writer, parts)
    return preparation


def expand(described: str, present: list[str]) -> list[str]:
    """Column names written as "A,B" or "A:Z", a range in the order of the file; all those named are present."""
    names: list[str] = []
    for piece in described.split(","):
        first, last = named(piece)[0], named(piece)[-1]
        start, end = present.index(first), present.index(last)
        if start > end:
            raise UserError(
                f"Column {first!r} comes after {last!r}", "FIRST:LAST in the order of the file", "swap the two"
            )
        names += present[start : end + 1]
    return list(dict.fromkeys(names))


def named(described: str) -> list[str]:
    """The column names in "A,B" or "A:Z"."""
    return [name.strip() for name in re.split("[,:]", described)]


def _is_empty(values: Sequence[object]) -> list[bool]:
    return [value is None or value == "" for value in values]


def cells(rows: Rows, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The values of all rows one after the other, and how many each row has; a gap inside a row is a UserError."""
    empty = np.array([_is_empty(rows.columns[name]) for name in columns]).T
    after = np.logical_and.accumulate(empty[:, ::-1], 1)[:, ::-1]  # [rows columns], nothing from here on
    gap = empty & ~after
    gap[:, 0] |= after[:, 0]
    if gap.any():
        row, column = map(int, np.argwhere(gap)[0])
        raise UserError(
            f"Column {columns[column]!r} is empty in {rows.where(row)}",
            "a number in every column up to the end of the series",
            "fill the gap or delete the row",
        )
    filled = {name: _filled(rows.columns[name]) for name in columns}
    return replace(rows, columns=filled).matrix(columns)[~after], (~after).sum(1)


def _filled(values: Sequence[object]) -> list[object]:
    return [value or "0" for value in values]


def write_new_wide(preparation: Preparation, path: str, writer: StoreWriter, progress: Progress) -> None:
    """Another file with a row a series."""
    column, names = preparation.columns.get("label", ""), preparation.columns.get("series", [])
    labelled = column in column_names(path)
    lengths = [np.zeros(1, np.int64)]
    for rows in read_rows(path, [*([column] if labelled else []), *names], progress, "reading series"):
        values, counts = cells(rows, names)
        writer.append("raw", values[:, None])
        lengths.append(counts)
        if labelled:
            writer.append("targets", preparation.class_numbers(rows))
    write_scaled(writer, preparation, None)
    writer.append("offsets", np.cumsum(np.concatenate(lengths)))


def new_wide(preparation: Preparation, store: Store) -> Encoded:
    """The series of another file, a row each."""
    offsets = store.array("offsets")
    labelled, targets = targets_of(store, len(offsets) - 1)
    return Encoded(SequenceSplit(store.array("values"), offsets, targets, patches=preparation.patches), labelled)
