"""A user's series as standardised features on disk: a row a step, a row a series, or to be forecast."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sparsernn.data.preparation import Encoded, Preparation, numbered, require_parts
from sparsernn.data.splits import SequenceSplit, WindowSplit, cut, cut_by_label
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_rows import Progress, Rows, column_names, read_rows, require_columns
from sparsernn.data.task import Loaded
from sparsernn.errors import UserError

if TYPE_CHECKING:
    from sparsernn.data.table_file import TableFile

PARTS = ("train", "valid", "test")
ROWS_AT_ONCE = 1 << 16
PIECE_STEPS = 250
LEAST_SERIES = 10


@dataclass(frozen=True)
class Steps:
    """The rows of a file with a row a step, grouped by series.

    Arguments:
        order: [rows] file rows, series after series in the order of their first row.
        offsets: [series + 1] where each series starts in `order`.
        names: [series] their ids.
        labels: [rows] class numbers in file order, or None.
        label_names: in the order of the numbers.
    """

    order: np.ndarray
    offsets: np.ndarray
    names: list[str]
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()


def read_steps(
    path: str, columns: dict[str, object], writer: StoreWriter, progress: Progress, fitted: Preparation | None = None
) -> Steps:
    """Append the features to the array "raw" in file order and group the rows by series; times must not fall."""
    wanted = [str(columns[name]) for name in ("id", "time", "label") if columns.get(name)]
    names: dict[str, int] = {}
    seen: dict[str, int] = {}
    codes, times, places, labels = array("q"), array("d"), array("q"), array("q")
    unit = "row"
    for rows in read_rows(path, [*wanted, *columns["series"]], progress, "reading series"):
        writer.append("raw", np.stack([rows.numbers(name) for name in columns["series"]], 1))
        ids = rows.texts(str(columns["id"])) if columns.get("id") else [""] * len(rows)
        codes.extend(names.setdefault(name, len(names)) for name in ids)
        places.extend(rows.places)
        unit = rows.unit
        if columns.get("time"):
            times.extend(rows.times(str(columns["time"])))
        if columns.get("label"):
            labels.extend(_label_codes(rows, str(columns["label"]), seen, fitted))
    grouped = np.argsort(np.frombuffer(codes, np.int64), kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(np.frombuffer(codes, np.int64)))])
    if times:
        early = _earlier(np.frombuffer(times), grouped, offsets)
        if early is not None:
            series, row = early
            raise _out_of_order(f"{unit} {places[row]} of {path}", list(names)[series])
    steps = Steps(grouped, offsets, list(names))
    if not columns.get("label"):
        return steps
    numbers = np.frombuffer(labels, np.int64)
    if fitted:
        return replace(steps, labels=numbers, label_names=fitted.labels)
    label_names, numbers = numbered(seen, numbers, str(columns["label"]))
    return replace(steps, labels=numbers, label_names=tuple(label_names))


def _label_codes(rows: Rows, column: str, seen: dict[str, int], fitted: Preparation | None) -> Iterator[int]:
    if fitted:
        return iter(fitted.class_numbers(rows).tolist())
    return (seen.setdefault(name, len(seen)) for name in rows.labels(column))


def _earlier(times: np.ndarray, order: np.ndarray, offsets: np.ndarray) -> tuple[int, int] | None:
    """Series and file row of the first row whose time is earlier than that of the row before it in its series."""
    inside = np.ones(len(order), bool)
    inside[offsets[:-1]] = False
    wrong = np.flatnonzero(inside[1:] & (np.diff(times[order]) < 0)) + 1
    if not len(wrong):
        return None
    first = wrong[np.argmin(order[wrong])]
    return int(np.searchsorted(offsets, first, "right")) - 1, int(order[first])


def _out_of_order(where: str, series: str) -> UserError:
    of_series = f" of series {series[:40]!r}" if series else ""
    return UserError(
        f"The time in {where} is earlier than the one before it{of_series}",
        "the rows of a series in the order of time",
        "sort the file by id and time, and check for ids used twice",
    )


def write_scaled(writer: StoreWriter, preparation: Preparation, order: np.ndarray | None) -> None:
    """Turn the array "raw" into standardised "values", series after series."""
    raw = writer.array("raw")
    for start in range(0, len(raw), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        writer.append("values", preparation.scaled(raw[rows] if order is None else raw[order[rows]]))
    writer.drop("raw")


def moments(raw: np.ndarray, rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of every feature over some rows, in blocks; a constant feature has deviation 1."""
    total, square = np.zeros(raw.shape[1]), np.zeros(raw.shape[1])
    for start in range(0, len(rows), ROWS_AT_ONCE):
        total += raw[rows[start : start + ROWS_AT_ONCE]].sum(0)
    mean = total / len(rows)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        square += ((raw[rows[start : start + ROWS_AT_ONCE]] - mean) ** 2).sum(0)
    deviation = np.sqrt(square / len(rows))
    deviation[deviation <= 1e-12 * np.maximum(1, np.abs(mean))] = 1
    return tuple(mean.tolist()), tuple(deviation.tolist())


def _ranges(offsets: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """All positions of the chosen series."""
    mask = np.zeros(len(offsets) - 1, bool)
    mask[chosen] = True
    return np.flatnonzero(np.repeat(mask, np.diff(offsets)))


def pieces(offsets: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut every series into even pieces of at most `length` steps: their offsets, and the series of each piece."""
    counts = -(-np.diff(offsets) // length)
    sizes = -(-np.diff(offsets) // counts)
    series = np.repeat(np.arange(len(counts)), counts)
    first = np.concatenate([[0], np.cumsum(counts)])[series]
    starts = offsets[series] + (np.arange(len(series)) - first) * sizes[series]
    return np.append(starts, offsets[-1]), series


def build_series(task: TableFile, writer: StoreWriter, progress: Progress) -> Preparation:
    """A row a step, labelled by step or by series."""
    columns = {"id": task.id, "time": task.time, "series": list(task.series), "label": task.label}
    steps = read_steps(task.path, columns, writer, progress)
    labels = steps.labels[steps.order]
    firsts = labels[steps.offsets[:-1]]
    mixed = np.flatnonzero(np.add.reduceat(labels != np.repeat(firsts, np.diff(steps.offsets)), steps.offsets[:-1]))
    per_step = len(mixed) > 0 if task.label_per == "auto" else task.label_per == "step"
    if len(mixed) and not per_step:
        raise UserError(
            f"Series {steps.names[mixed[0]][:40]!r} has more than one label",
            "one label for a series",
            "give --label-per step, or correct the labels",
        )
    if per_step:
        offsets, parts, length = _parts_of_steps(task, steps)
    else:
        offsets, parts, length = steps.offsets, cut_by_label(firsts, task.shares, task.seed), 0
    require_parts(parts, task.path, "series")
    means, deviations = moments(writer.array("raw"), steps.order[_ranges(offsets, parts[0])])
    preparation = Preparation("series", columns, steps.label_names, means, deviations, length=length, per_step=per_step)
    write_scaled(writer, preparation, steps.order)
    writer.append("offsets", offsets)
    writer.append("targets", labels if per_step else firsts)
    for name, part in zip(PARTS, parts, strict=True):
        writer.append(name, part)
    return preparation


def _parts_of_steps(task: TableFile, steps: Steps) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Offsets of the pieces, their parts (by series, or by time where there are few series), and their length."""
    count, shortest = len(steps.names), int(np.diff(steps.offsets).min())
    by_time = count < LEAST_SERIES
    length = task.length or PIECE_STEPS
    if by_time:
        length = max(1, min(length, shortest // LEAST_SERIES))
    offsets, series = pieces(steps.offsets, length)
    if not by_time:
        return offsets, [np.flatnonzero(np.isin(series, part)) for part in cut(count, task.shares, task.seed)], length
    parts: list[list[np.ndarray]] = [[], [], []]
    for number in range(count):
        mine = np.flatnonzero(series == number)
        for part, chosen in zip(parts, cut(len(mine), task.shares, None), strict=True):
            part.append(mine[chosen])
    return offsets, [np.concatenate(part) for part in parts], length


def build_wide(task: TableFile, writer: StoreWriter, progress: Progress) -> Preparation:
    """A row a series: the cells of the columns are its steps; cells may be missing at the end."""
    present = column_names(task.path)
    require_columns(Path(task.path), [task.label, *named(task.series_columns)], present)
    columns = {"series": expand(task.series_columns, present), "label": task.label}
    seen: dict[str, int] = {}
    lengths, codes = [np.zeros(1, np.int64)], []
    for rows in read_rows(task.path, [task.label, *columns["series"]], progress, "reading series"):
        codes += [seen.setdefault(name, len(seen)) for name in rows.labels(task.label)]
        values, counts = cells(rows, columns["series"])
        writer.append("raw", values[:, None])
        lengths.append(counts)
    labels, targets = numbered(seen, np.array(codes), task.label)
    parts = cut_by_label(targets, task.shares, task.seed)
    require_parts(parts, task.path, "rows")
    offsets = np.cumsum(np.concatenate(lengths))
    means, deviations = moments(writer.array("raw"), _ranges(offsets, parts[0]))
    preparation = Preparation("wide", columns, tuple(labels), means, deviations)
    write_scaled(writer, preparation, None)
    writer.append("offsets", offsets)
    writer.append("targets", targets)
    for name, part in zip(PARTS, parts, strict=True):
        writer.append(name, part)
    return preparation


def expand(described: str, present: list[str]) -> list[str]:
    """Column names written as "A,B" or "A:Z", a range in the order of the file; all those named are present."""
    chosen: list[str] = []
    for piece in described.split(","):
        first, last = named(piece)[0], named(piece)[-1]
        start, end = present.index(first), present.index(last)
        if start > end:
            raise UserError(
                f"Column {first!r} comes after {last!r}", "FIRST:LAST in the order of the file", "swap the two"
            )
        chosen += present[start : end + 1]
    return list(dict.fromkeys(chosen))


def named(described: str) -> list[str]:
    """The column names in "A,B" or "A:Z"."""
    return [name.strip() for name in re.split("[,:]", described)]


def cells(rows: Rows, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The values of all rows one after the other, and how many each row has; a gap inside a row is a UserError."""
    empty = np.array([[value is None or value == "" for value in rows.columns[name]] for name in columns]).T
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
    whole = replace(rows, columns={name: [value or "0" for value in rows.columns[name]] for name in columns})
    matrix = np.stack([whole.numbers(name) for name in columns], 1)
    return matrix[~after], (~after).sum(1)


def build_forecast(task: TableFile, writer: StoreWriter, progress: Progress) -> Preparation:
    """Series whose next values are forecast; the last rows of every series are held back."""
    others = [name for name in task.series if name != task.forecast]
    columns = {"id": task.id, "time": task.time, "series": [task.forecast, *others]}
    steps = read_steps(task.path, columns, writer, progress)
    counts = np.diff(steps.offsets)
    bounds = np.rint(np.outer(counts, np.concatenate([[0], np.cumsum(task.shares) / sum(task.shares)]))).astype(int)
    window = task.window or int(max(1, min(max(96, 2 * task.horizon), bounds[:, 1].max() // 4)))
    parts = [_window_starts(steps.offsets, bounds, part, window, task.horizon) for part in range(3)]
    require_parts(parts, task.path, f"rows for windows of {window} + {task.horizon}")
    place = np.arange(counts.sum()) - np.repeat(steps.offsets[:-1], counts)
    learned = steps.order[place < np.repeat(bounds[:, 1], counts)]
    means, deviations = moments(writer.array("raw"), learned)
    preparation = Preparation(
        "forecast", columns, means=means, deviations=deviations, window=window, horizon=task.horizon
    )
    write_scaled(writer, preparation, steps.order)
    for name, part in zip(PARTS, parts, strict=True):
        writer.append(name, part)
    return preparation


def _window_starts(offsets: np.ndarray, bounds: np.ndarray, part: int, window: int, horizon: int) -> np.ndarray:
    """First rows of the windows whose forecast lies in one part of its series."""
    starts = [
        start + np.arange(max(0, ends[part] - window), ends[part + 1] - window - horizon + 1)
        for start, ends in zip(offsets[:-1], bounds, strict=True)
    ]
    return np.concatenate(starts).astype(np.int64)


def load_series(task: TableFile, store: Store, preparation: Preparation) -> Loaded:
    """The splits of prepared labelled series."""
    arrays = (store.array("values"), store.array("offsets"), store.array("targets"))
    splits = (
        SequenceSplit(*arrays, rows=store.array(part), bucketed=True, per_step=preparation.per_step) for part in PARTS
    )
    return Loaded(
        *splits,
        "tagging" if preparation.per_step else "classification",
        inputs=len(preparation.means),
        tokens=False,
        outputs=len(preparation.labels),
        metric="accuracy",
        labels=preparation.labels,
        note=task.note(),
    )


def load_forecast(task: TableFile, store: Store, preparation: Preparation) -> Loaded:
    """The windows of a prepared forecast."""
    splits = (
        WindowSplit(store.array("values"), store.array(part), preparation.window, preparation.horizon, 0)
        for part in PARTS
    )
    return Loaded(
        *splits,
        "forecasting",
        inputs=len(preparation.means),
        tokens=False,
        outputs=preparation.horizon,
        metric="mse",
        labels=(task.forecast,),
        note=task.note(),
    )


def write_new_series(preparation: Preparation, path: str, writer: StoreWriter, progress: Progress) -> None:
    """Another file with a row a step; its labels are read where it has them."""
    columns = dict(preparation.columns)
    if columns.get("label") not in column_names(path):
        columns["label"] = ""
    steps = read_steps(path, columns, writer, progress, preparation)
    write_scaled(writer, preparation, steps.order)
    length = preparation.length if preparation.per_step else 0
    writer.append("offsets", pieces(steps.offsets, length)[0] if length else steps.offsets)
    writer.append("series", steps.offsets)
    writer.append("order", steps.order)
    writer.append("names", np.frombuffer("\n".join(steps.names).encode(), np.uint8))
    if steps.labels is not None:
        grouped = steps.labels[steps.order]
        writer.append("targets", grouped if preparation.per_step else grouped[steps.offsets[:-1]])


def new_series(preparation: Preparation, store: Store) -> Encoded:
    """The series of another file, in the order of their first rows."""
    offsets, values = store.array("offsets"), store.array("values")
    labelled = "targets" in store.names
    absent = np.zeros(len(values) if preparation.per_step else len(offsets) - 1, np.int64)
    targets = store.array("targets") if labelled else absent
    split = SequenceSplit(values, offsets, targets, per_step=preparation.per_step)
    names = store.array("names").tobytes().decode().split("\n")
    return Encoded(split, labelled, names, store.array("order") if preparation.per_step else None)


def write_new_wide(preparation: Preparation, path: str, writer: StoreWriter, progress: Progress) -> None:
    """Another file with a row a series."""
    column = preparation.columns["label"]
    labelled = column in column_names(path)
    lengths = [np.zeros(1, np.int64)]
    names = preparation.columns["series"]
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
    offsets, labelled = store.array("offsets"), "targets" in store.names
    targets = store.array("targets") if labelled else np.zeros(len(offsets) - 1, np.int64)
    return Encoded(SequenceSplit(store.array("values"), offsets, targets), labelled)


def new_forecast(preparation: Preparation, store: Store) -> Encoded:
    """The last window of every series of another file; what follows it is to be forecast."""
    offsets = store.array("series")
    names = store.array("names").tobytes().decode().split("\n")
    short = np.flatnonzero(np.diff(offsets) < preparation.window)
    if len(short):
        raise UserError(
            f"Series {names[short[0]][:40]!r} has {int(np.diff(offsets)[short[0]])} rows",
            f"at least {preparation.window}, the window the network reads",
            "give more rows",
        )
    starts = offsets[1:] - preparation.window
    return Encoded(WindowSplit(store.array("values"), starts, preparation.window, 0, 0), False, names)
