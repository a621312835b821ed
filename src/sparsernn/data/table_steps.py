"""The rows of a user's file with a row a step: grouped by series, standardised, and read again for predictions."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sparsernn.data.patches import running
from sparsernn.data.preparation import Columns, Preparation, numbered
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_rows import Progress, Rows, column_names, read_rows
from sparsernn.errors import UserError

ROWS_AT_ONCE = 1 << 16


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
    path: str, columns: Columns, writer: StoreWriter, progress: Progress, fitted: Preparation | None = None
) -> Steps:
    """Append the features to the array "raw" in file order and group the rows by series; times must not fall."""
    features = columns.get("series", [])
    name_column, time_column, label_column = (columns.get("id"), columns.get("time"), columns.get("label"))
    names: dict[str, int] = {}
    seen: dict[str, int] = {}
    codes, times, places, labels = array("q"), array("d"), array("q"), array("q")
    unit = "row"
    present = filter(None, (name_column, time_column, label_column))
    for rows in read_rows(path, [*present, *features], progress, "reading series"):
        writer.append("raw", rows.matrix(features))
        ids = rows.texts(name_column) if name_column else [""] * len(rows)
        codes.extend(names.setdefault(name, len(names)) for name in ids)
        places.extend(rows.places)
        unit = rows.unit
        if time_column:
            times.extend(rows.times(time_column))
        if label_column:
            labels.extend(_label_codes(rows, label_column, seen, fitted))
    grouped = np.argsort(np.frombuffer(codes, np.int64), kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(np.frombuffer(codes, np.int64)))])
    if times:
        early = _earlier(np.frombuffer(times), grouped, offsets)
        if early is not None:
            series, row = early
            raise _out_of_order(f"{unit} {places[row]} of {path}", list(names)[series])
    steps = Steps(grouped, offsets, list(names))
    if not label_column:
        return steps
    numbers = np.frombuffer(labels, np.int64)
    if fitted:
        return replace(steps, labels=numbers, label_names=fitted.labels)
    label_names, numbers = numbered(seen, numbers, label_column)
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


def write_scaled(
    writer: StoreWriter, preparation: Preparation, order: np.ndarray | None, offsets: np.ndarray | None = None
) -> None:
    """Turn the array "raw" into standardised "values", series after series, with their running figures if it says so.

    Arguments:
        order: [rows] file rows; None: as they are.
        offsets: [series + 1] where each series starts in `order`, for running figures.
    """
    raw = writer.array("raw")
    starts = range(0, len(raw) + ROWS_AT_ONCE, ROWS_AT_ONCE)
    borders = np.minimum(starts, len(raw)) if offsets is None or not preparation.windows else offsets
    for start, end in zip(borders[:-1], borders[1:], strict=True):
        rows = slice(start, end)
        values = preparation.scaled(raw[rows] if order is None else raw[order[rows]])
        writer.append("values", running(values, preparation.windows) if preparation.windows else values)
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


def pieces(offsets: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut every series into even pieces of at most `length` steps: their offsets, and the series of each piece."""
    counts = -(-np.diff(offsets) // length)
    sizes = -(-np.diff(offsets) // counts)
    series = np.repeat(np.arange(len(counts)), counts)
    first = np.concatenate([[0], np.cumsum(counts)])[series]
    starts = offsets[series] + (np.arange(len(series)) - first) * sizes[series]
    return np.append(starts, offsets[-1]), series


def series_names(store: Store) -> list[str]:
    """The ids that `write_new_series` stored."""
    return store.array("names").tobytes().decode().split("\n")


def steps_of(offsets: np.ndarray, series: np.ndarray) -> np.ndarray:
    """The positions of all steps of some series."""
    mask = np.zeros(len(offsets) - 1, bool)
    mask[series] = True
    return np.flatnonzero(np.repeat(mask, np.diff(offsets)))


def write_new_series(preparation: Preparation, path: str, writer: StoreWriter, progress: Progress) -> None:
    """Another file with a row a step; its labels are read where it has them."""
    columns = preparation.columns.copy()
    if columns.get("label") not in column_names(path):
        columns["label"] = ""
    steps = read_steps(path, columns, writer, progress, preparation)
    write_scaled(writer, preparation, steps.order, steps.offsets)
    length = preparation.length if preparation.per_step else 0
    writer.append("offsets", pieces(steps.offsets, length)[0] if length else steps.offsets)
    writer.append("series", steps.offsets)
    writer.append("order", steps.order)
    writer.append("names", np.frombuffer("\n".join(steps.names).encode(), np.uint8))
    if steps.labels is not None:
        grouped = steps.labels[steps.order]
        writer.append("targets", grouped if preparation.per_step else grouped[steps.offsets[:-1]])
