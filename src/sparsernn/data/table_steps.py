"""The rows of a user's file with a row a step: grouped by series, in the order of time, gaps filled, standardised."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sparsernn.data.labels import LabelReader, Labels
from sparsernn.data.patches import running
from sparsernn.data.preparation import Preparation
from sparsernn.data.store import StoreWriter
from sparsernn.data.table_columns import listed
from sparsernn.data.table_rows import Rows, Table, rows_of
from sparsernn.data.timeline import Timeline
from sparsernn.data.times import Clock, no_time
from sparsernn.errors import UserError

ROWS_AT_ONCE = 1 << 16
SHOWN = 50
"""Times of a series that are kept as the file writes them."""


@dataclass
class Steps:
    """The rows of a file with a row a step, grouped by series.

    Arguments:
        order: [steps] file rows, series after series in the order of their first row; -1 for a time that was filled in.
        offsets: [series + 1] where each series starts in `order`.
        names: [series] their ids.
        line: the times of the rows; None without a column of times.
        clock: reads and writes times; shown: some times of each series as the file writes them, the last one last.
        labels: of the file rows, as training reads them; targets: as a prediction does.
        gaps: [rows] whether a number is missing in a file row.
        ahead: [series] rows at the end of each that hold only what is known ahead.
        faults: what is wrong with a file row.
    """

    order: np.ndarray
    offsets: np.ndarray
    names: list[str]
    line: Timeline | None = None
    clock: Clock = field(default_factory=Clock)
    shown: list[list[str]] = field(default_factory=list)
    labels: Labels | None = None
    targets: np.ndarray | None = None
    gaps: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    ahead: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    faults: dict[int, str] = field(default_factory=dict)


def unusable(path: object, faults: dict[int, str]) -> UserError:
    """The error for a file none of whose rows can be read."""
    return UserError(
        f"No row of {path} can be used: {next(iter(faults.values()))}", "rows as in training", "correct the file"
    )


def time_columns(table: Table, described: str) -> list[str]:
    """The column of times, or the columns that make a time together."""
    return listed(described, table) if described else []


def read_steps(table: Table, preparation: Preparation, writer: StoreWriter, reader: LabelReader | None = None) -> Steps:
    """Append the features to the array "raw" in file order and group the rows by series, in the order of time.

    Arguments:
        preparation: with the columns, their words and the spelling, whether it is fitted or begun.
        reader: takes the labels; None takes those that the preparation has learned, where the file has the column.
    """
    collected = _Collected(table, preparation, reader)
    for rows in table.rows(collected.columns, "reading series"):
        writer.append("raw", collected.add(rows))
    return collected.steps()


class _Collected:
    """What is kept of the rows of a file while they are read, but for their features."""

    def __init__(self, table: Table, preparation: Preparation, reader: LabelReader | None):
        columns = preparation.columns
        self._table, self._preparation, self._reader = table, preparation, reader
        self._clock = Clock(preparation.spelling.date_format)
        self._id, label = columns.get("id", ""), columns.get("label", "")
        self._label = label if reader or label in table.names else ""
        self._time = time_columns(table, columns.get("time", ""))
        self.columns = [*filter(None, (self._id, self._label)), *self._time, *columns.get("series", ())]
        self._names: dict[str, int] = {}
        self._codes, self._places, self._times, self._unit = array("q"), array("q"), array("d"), "row"
        self._gaps, self._targets = [np.zeros(0, bool)], [np.zeros(0)]
        self._shown: list[list[str]] = []
        self._faults: dict[int, str] = {}

    def add(self, rows: Rows) -> np.ndarray:
        """Take a chunk of rows; their features, NaN where a number is missing and may be."""
        if not _may_have_gaps(self._table, self._preparation):
            _refuse_gaps(rows, self._preparation)
        features = self._preparation.features(rows)
        self._gaps.append(np.asarray(np.isnan(features).any(1)))
        _repair(rows, [*filter(None, (self._id,)), *self._time])
        ids = rows.texts(self._id) if self._id else [""] * len(rows)
        numbers = [self._names.setdefault(name, len(self._names)) for name in ids]
        if self._time:
            self._times.extend(_times(rows, self._time, self._clock))
            self._show(numbers, rows.joined(self._time))
        if self._reader:
            self._reader.add(rows)
        elif self._label:
            self._targets.append(self._preparation.class_numbers(rows))
        self._faults |= {len(self._codes) + row: fault for row, fault in (rows.faults or {}).items()}
        self._codes.extend(numbers)
        self._places.extend(rows.places)
        self._unit = rows.unit
        return features

    def _show(self, numbers: Sequence[int], texts: Sequence[object]) -> None:
        """Keep the last times of every series as they are written."""
        self._shown += [[] for _ in range(len(self._names) - len(self._shown))]
        for number, text in zip(numbers, texts, strict=True):
            self._shown[number].append(str(text))
            del self._shown[number][:-SHOWN]

    def _where(self, row: int) -> str:
        return f"{self._unit} {self._places[row]} of {self._table.path}"

    def steps(self) -> Steps:
        """The rows, grouped by series."""
        if len(self._faults) >= len(self._codes):
            raise unusable(self._table.path, self._faults)
        codes = np.frombuffer(self._codes, np.int64)
        grouped = np.argsort(codes, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(codes))])
        gaps, names = np.concatenate(self._gaps), list(self._names)
        steps = Steps(grouped, offsets, names, gaps=gaps, faults=self._faults, clock=self._clock, shown=self._shown)
        steps.ahead = np.zeros(len(names), np.int64)
        if self._reader:
            steps.labels = self._reader.finish()
        elif self._label:
            steps.targets = np.concatenate(self._targets[1:])
        if self._time:
            steps.line = Timeline(grouped, offsets, np.frombuffer(self._times), self._clock.dates)
            steps.line.arrange(names, self._where)
            steps.order = steps.line.order
        return steps


def _repair(rows: Rows, columns: Sequence[str]) -> None:
    """Give rows that are no rows the id and the time of the row before them."""
    for row in sorted(rows.faults or ()):
        for name in columns:
            if rows.columns[name][row] is None and row:
                rows.columns[name][row] = rows.columns[name][row - 1]


def _times(rows: Rows, columns: Sequence[str], clock: Clock) -> np.ndarray:
    """The times of some rows; one that is none is a fault of its row, where faults are noted."""
    cells = rows.joined(columns)
    while rows.faults is not None:
        try:
            return clock.seconds(cells)
        except ValueError as error:
            row = error.args[0]
            if row == 0:
                break
            rows.faults.setdefault(row, no_time(cells[row], ", ".join(columns), rows.where(row)).happened)
            for name in columns:
                rows.columns[name][row] = rows.columns[name][row - 1]
            cells = rows.joined(columns)
    return rows.times(*columns, clock=clock)


def _may_have_gaps(table: Table, preparation: Preparation) -> bool:
    return not table.strict or preparation.missing != "error" or preparation.foreseen > 0


def _refuse_gaps(rows: Rows, preparation: Preparation) -> None:
    """Raises: UserError for a number that is missing."""
    for name in preparation.columns.get("series", ()):
        if name not in preparation.levels:
            rows.numbers(name)


def assemble(writer: StoreWriter, steps: Steps, preparation: Preparation, *, fills_times: bool = False) -> list[str]:
    """Turn the array "raw" into "ordered": series after series, gaps filled; what was filled in words.

    Arguments:
        fills_times: whether times that are missing are filled in as well.
    """
    raw, policy = writer.array("raw"), preparation.missing
    fills = fills_times and steps.line is not None and policy not in ("error", "drop")
    told = steps.line.remarks(fills_times, fills) if steps.line else []
    gaps = steps.gaps.any()
    if policy == "drop" and gaps:
        _keep(steps, ~steps.gaps[steps.order])
        told.append(f"{rows_of(int(steps.gaps.sum()))} with missing numbers left out")
    if not gaps and not fills and not preparation.foreseen:
        for start in range(0, len(raw), ROWS_AT_ONCE):
            writer.append("ordered", raw[steps.order[start : start + ROWS_AT_ONCE]])
    else:
        rows = _assemble_series(writer, steps, preparation, fills)
        if rows:
            how = "forward" if policy in ("error", "drop") else policy
            told.append(f"missing numbers of {rows_of(rows)} filled ({how})")
    writer.drop("raw")
    return told


def _keep(steps: Steps, kept: np.ndarray) -> None:
    """Leave out steps."""
    counts = np.add.reduceat(kept.astype(np.int64), steps.offsets[:-1])
    if counts.min() == 0:
        raise UserError(
            f"Every row of series {steps.names[int(counts.argmin())][:40]!r} has a missing number",
            "some rows without gaps",
            "pass --missing interpolate, or leave out the column that is empty",
        )
    steps.order, steps.offsets = steps.order[kept], np.concatenate([[0], np.cumsum(counts)])
    if steps.line:
        steps.line.order, steps.line.offsets = steps.order, steps.offsets


def _assemble_series(writer: StoreWriter, steps: Steps, preparation: Preparation, fills: bool) -> int:
    """Write every series to "ordered"; how many of its rows had missing numbers, but for those that are forecast."""
    raw, orders, count = writer.array("raw"), [], 0
    lead = sum(preparation.widths[len(preparation.widths) - preparation.foreseen :])
    for series in range(len(steps.names)):
        rows = steps.order[steps.offsets[series] : steps.offsets[series + 1]]
        values = np.array(raw[rows])
        steps.ahead[series] = _rows_ahead(values, preparation)
        count += int(np.isnan(values[: len(values) - steps.ahead[series]]).any(1).sum())
        grid = steps.line.grid(series) if fills and steps.line else None
        if grid is not None:
            steps.ahead[series] = grid[-1] - grid[len(grid) - 1 - steps.ahead[series]]
            wide = np.full((grid[-1] + 1, values.shape[1]), np.nan)
            wide[grid], at = values, np.full(grid[-1] + 1, -1)
            at[grid] = rows
            values, rows = wide, at
        values = filled(values, preparation.missing)
        if lead:
            later = np.minimum(np.arange(len(values)) + preparation.horizon, len(values) - 1)
            values[:, -lead:] = values[later, -lead:]
        writer.append("ordered", values)
        orders.append(rows)
    steps.order = np.concatenate(orders)
    steps.offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in orders])])
    if count and preparation.missing == "error" and not preparation.means:
        raise UserError(
            f"Numbers are missing in {rows_of(count)}",
            "numbers in every row but those after the last value to forecast",
            "pass --missing interpolate (or forward, zero), or fill the gaps",
        )
    return count


def _rows_ahead(values: np.ndarray, preparation: Preparation) -> int:
    """How many rows at the end of a series of a forecast have none of the values that are forecast."""
    if preparation.kind != "forecast":
        return 0
    some = np.flatnonzero(~np.isnan(values[:, : preparation.targets]).all(1))
    return len(values) - (int(some[-1]) + 1 if len(some) else 0)


def filled(values: np.ndarray, policy: str) -> np.ndarray:
    """A series with its gaps filled: [steps features]; a feature without any number is zero."""
    values = np.array(values, np.float64)
    places = np.arange(len(values))
    for column in values.T:
        gap = np.isnan(column)
        if not gap.any():
            continue
        if policy == "zero" or gap.all():
            column[gap] = 0
        elif policy == "interpolate":
            column[gap] = np.interp(places[gap], places[~gap], column[~gap])
        else:
            last = np.maximum.accumulate(np.where(gap, -1, places))
            column[:] = column[np.where(last < 0, places[~gap][0], last)]
    return values


def write_scaled(writer: StoreWriter, preparation: Preparation, offsets: np.ndarray | None = None) -> None:
    """Turn the array "ordered" into standardised "values", with running figures where the preparation has windows.

    Arguments:
        offsets: [series + 1] where each series starts, for running figures.
    """
    ordered, windows = writer.array("ordered"), preparation.windows
    blocks = np.minimum(range(0, len(ordered) + ROWS_AT_ONCE, ROWS_AT_ONCE), len(ordered))
    borders = offsets if windows and offsets is not None else blocks
    for start, end in zip(borders[:-1], borders[1:], strict=True):
        values = preparation.scaled(ordered[start:end])
        writer.append("values", running(values, windows) if windows else values)
    writer.drop("ordered")


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


def steps_of(offsets: np.ndarray, series: np.ndarray) -> np.ndarray:
    """The positions of all steps of some series."""
    mask = np.zeros(len(offsets) - 1, bool)
    mask[series] = True
    return np.flatnonzero(np.repeat(mask, np.diff(offsets)))


def note_faults(faults: Sequence[str]) -> list[str]:
    """That some values were filled in for others that are none, in words."""
    if not faults:
        return []
    return [f"what cannot be read in {rows_of(len(faults))} was filled from the row before: {faults[0]}"]
