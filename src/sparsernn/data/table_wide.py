"""A user's labelled series with a row a series, as standardised features on disk."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sparsernn.data.labels import LabelReader, note_labels
from sparsernn.data.numerals import is_gap
from sparsernn.data.patches import Patches
from sparsernn.data.preparation import Columns, Encoded, Preparation, require_parts
from sparsernn.data.store import StoreWriter
from sparsernn.data.table_columns import listed, see
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_parts import check_series_copies, cut_rows, row_groups
from sparsernn.data.table_rows import Progress, Rows, Table, rows_of
from sparsernn.data.table_series import with_scale, write_targets
from sparsernn.data.table_steps import filled, moments, steps_of, write_scaled
from sparsernn.data.task import IGNORED
from sparsernn.errors import UserError


def build_wide(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """A row a series: the cells of the columns are its steps; cells may be missing at the end."""
    table = task.table(progress)
    steps = listed(task.series_columns, table, (task.label, task.id, task.groups))
    if task.label in steps:
        steps.remove(task.label)
    table.spelling, _ = see(table, [*steps, *([task.label] if task.labels == "numbers" else ())])
    columns: Columns = {"series": steps, "label": task.label, "id": task.id}
    draft = Preparation("wide", columns, missing=task.missing, spelling=table.spelling)
    reader = LabelReader(task.label, task.labels, table.spelling.decimal, gaps=task.missing == "drop")
    lengths = _write_cells(table, draft, writer, reader)
    labels, targets = finished = reader.finish()
    offsets = np.concatenate([[0], np.cumsum(np.abs(lengths))])
    targets = np.where(lengths > 0, targets, np.nan if targets.dtype.kind == "f" else IGNORED)
    remarks: dict[str, None] = {}
    if left_out := int((lengths <= 0).sum()):
        remarks[f"{rows_of(left_out)} with missing numbers left out"] = None
    note_labels(finished, remarks)
    parts = cut_rows(task, targets, row_groups(task, table))
    check_series_copies(writer.array("ordered"), offsets, parts, remarks)
    require_parts(parts, task.path, "rows", task.groups)
    means, deviations = moments(writer.array("ordered"), steps_of(offsets, parts[0]))
    fitted = replace(draft, labels=labels, means=means, deviations=deviations)
    patch = Patches.for_lengths(np.diff(offsets)[parts[0]]).steps
    fitted = replace(fitted, remarks=tuple({**table.remarks, **remarks}), patch=patch)
    preparation = with_scale(fitted, targets, parts[0])
    write_scaled(writer, preparation)
    write_targets(writer, preparation, targets, parts, offsets)
    return preparation


def _write_cells(
    table: Table,
    preparation: Preparation,
    writer: StoreWriter,
    reader: LabelReader | None,
    faults: dict[int, str] | None = None,
    more: list[Rows] | None = None,
) -> np.ndarray:
    """Append the cells of all rows to "ordered"; how many each row has, negative for a row that is to be left out.

    Arguments:
        faults: takes what is wrong with a row; None where that is a UserError.
        more: takes the chunks, without their cells.
    """
    steps, columns = preparation.columns.get("series", []), preparation.columns
    others = [name for name in (columns.get("label"), columns.get("id")) if name and name in table.names]
    lengths = [np.zeros(0, np.int64)]
    done = 0
    for rows in table.rows([*others, *steps], "reading series"):
        values, counts, wrong = cells(rows, steps, preparation.missing)
        writer.append("ordered", values[:, None])
        if reader:
            reader.add(rows)
        if faults is not None:
            faults |= {done + row: fault for row, fault in {**wrong, **(rows.faults or {})}.items()}
        if more is not None:
            more.append(replace(rows, columns={name: rows.columns[name] for name in others}))
        lengths.append(np.where([row in wrong for row in range(len(rows))], -counts, counts))
        done += len(rows)
    return np.concatenate(lengths)


def cells(rows: Rows, columns: Sequence[str], missing: str) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """The values of all rows one after the other, how many each row has, and the rows that are not to be used.

    A gap inside a row is filled as asked for, a reason not to use it, or a UserError; a row that is not to be used
    keeps one value.
    """
    empty = np.array([[is_gap(value) for value in rows.columns[name]] for name in columns]).T
    table = rows.matrix(columns, gaps=True)  # [rows columns]
    after = np.logical_and.accumulate(empty[:, ::-1], 1)[:, ::-1]  # nothing from here on
    gap = np.isnan(table) & ~after
    gap[:, 0] |= after[:, 0]
    wrong: dict[int, str] = {}
    for row in np.flatnonzero(gap.any(1)).tolist():
        column = int(gap[row].argmax())
        said = f"Column {columns[column]!r} is empty in {rows.where(row)}"
        if missing in ("error", "drop") or after[row, 0]:
            if missing != "drop" and rows.faults is None:
                raise UserError(
                    said,
                    "a number in every column up to the end of the series",
                    "pass --missing interpolate (or forward, zero, drop), fill the gap or delete the row",
                )
            wrong[row] = said
            table[row], after[row], after[row, 0] = 0, True, False
        else:
            used = ~after[row]
            table[row, used] = filled(table[row, used][:, None], missing)[:, 0]
    return table[~after], (~after).sum(1), wrong


def write_new_wide(preparation: Preparation, table: Table, writer: StoreWriter) -> Encoded:
    """Another file with a row a series."""
    label, name = preparation.columns.get("label", ""), preparation.columns.get("id", "")
    faults: dict[int, str] = {}
    chunks: list[Rows] = []
    lengths = np.abs(_write_cells(table, preparation, writer, None, faults, chunks))
    write_scaled(writer, preparation)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    targets = np.concatenate([preparation.class_numbers(rows) for rows in chunks]) if label in table.names else None
    names = [one for rows in chunks for one in rows.texts(name)] if name and name in table.names else []
    told = tuple(table.remarks)
    return Encoded("wide", np.zeros(0), offsets[:-1], offsets[1:], targets, names, faults=faults, remarks=told)
