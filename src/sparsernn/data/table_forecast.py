"""A user's series whose next values are forecast, as standardised features on disk."""

import re
from dataclasses import replace

import numpy as np

from sparsernn.data.preparation import Encoded, Preparation, write_parts
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_columns import listed
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_rows import Progress, Table, rows_of
from sparsernn.data.table_series import begun
from sparsernn.data.table_steps import Steps, assemble, moments, note_faults, read_steps, time_columns, write_scaled
from sparsernn.data.task import PARTS, Loaded
from sparsernn.errors import UserError

USUAL_WINDOW, SHARE_OF_WINDOW, SHARE_OF_FORECASTS = 96, 4, 20
LEAST_MARKS = 3
MARK = re.compile(r"-?(?:9{2,}(?:\.9+)?|[12]00)|-1|-?1e\+0[56]")
"""Numbers that often stand for a missing one, as they are printed."""
LONG_STANDING = 100  # rows


def build_forecast(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """Series whose next values are forecast; the last rows of every series are held back."""
    table = task.table(progress)
    targets = listed(task.forecast, table, (task.id,))
    foreseen = listed(task.foreseen, table)
    if both := [name for name in targets if name in foreseen]:
        raise UserError(
            f"Column {both[0]!r} is to be forecast and said to be known ahead",
            "columns of which one or the other is true",
            "take it out of --known or of --forecast",
        )
    used = {*targets, *foreseen, task.id, *time_columns(table, task.time)}
    others = [name for name in listed(task.series, table) if name not in used]
    draft = begun(task, table, [*targets, *others, *foreseen], tuple(targets), "")
    draft = replace(draft, horizon=task.horizon, targets=len(targets), foreseen=len(foreseen))
    steps = read_steps(table, draft, writer)
    remarks = dict.fromkeys(assemble(writer, steps, draft, fills_times=True))
    counts = np.diff(steps.offsets) - steps.ahead
    window = task.window or _window(counts, task)
    bounds = _bounds(counts, task, window)
    parts = [_window_starts(steps.offsets, bounds, part, window, task.horizon) for part in range(3)]
    _require_windows(parts, counts, task, window)
    ordered = writer.array("ordered")
    curious = [*_standing(ordered, targets), *_marks(ordered, targets)]
    remarks |= dict.fromkeys([*_short(steps, counts, window, task.horizon), *curious])
    places = np.arange(steps.offsets[-1]) - np.repeat(steps.offsets[:-1], np.diff(steps.offsets))
    learned = np.flatnonzero(places < np.repeat(bounds[:, 1], np.diff(steps.offsets)))
    means, deviations = moments(writer.array("ordered"), learned)
    told = tuple({**table.remarks, **remarks})
    preparation = replace(draft, means=means, deviations=deviations, window=window, remarks=told)
    write_scaled(writer, preparation)
    write_parts(writer, parts)
    return preparation


def _window(counts: np.ndarray, task: TableOptions) -> int:
    """How many rows are read: as suits the horizon, as far as the usual series is long enough."""
    usual = float(np.median(counts[counts >= np.median(counts)]))
    reserved = 2 * max(
        task.horizon + min(task.horizon, usual // SHARE_OF_FORECASTS), round(max(task.valid, task.test) * usual)
    )
    most = min(usual // SHARE_OF_WINDOW, (usual - reserved - task.horizon) // 2)
    return int(max(1, min(max(USUAL_WINDOW, 2 * task.horizon), most)))


def _bounds(counts: np.ndarray, task: TableOptions, window: int) -> np.ndarray:
    """Where train, validation and test of every series begin and end, each with a forecast where it can: [series 4]."""
    shares = np.array(task.shares) / sum(task.shares)
    bounds = np.rint(np.outer(counts, np.concatenate([[0], np.cumsum(shares)]))).astype(int)
    for several in (np.minimum(task.horizon, counts // SHARE_OF_FORECASTS), 0):
        test = np.maximum(bounds[:, 3] - bounds[:, 2], task.horizon + several)
        valid = np.maximum(bounds[:, 2] - bounds[:, 1], task.horizon + several)
        short = np.diff(bounds[:, 1:]).min(1) < task.horizon + several
        moved = short & (counts - test - valid >= window + task.horizon)
        bounds[moved, 2] = (counts - test)[moved]
        bounds[moved, 1] = (counts - test - valid)[moved]
    return bounds


def _require_windows(parts: list[np.ndarray], counts: np.ndarray, task: TableOptions, window: int) -> None:
    """A UserError where there are no windows to train, validate or test."""
    if min(map(len, parts)) > 0:
        return
    most = int(counts.max())
    raise UserError(
        f"{task.path} has too few rows for windows of {window} + {task.horizon}: the longest series has {most}",
        f"at least {window + 3 * task.horizon} rows in a series, some of which are held back",
        (f"pass --horizon {max(1, (most - 1) // 4)} or less, " if task.horizon > 1 else "")
        + ("pass a smaller --window, " if task.window else "")
        + (f"check that {task.id!r} tells series apart, and no rows, " if most == 1 and task.id else "")
        + "or give more rows",
    )


def _short(steps: Steps, counts: np.ndarray, window: int, horizon: int) -> list[str]:
    """What is to be said of series that are too short."""
    short = np.flatnonzero(counts < window + horizon)
    if not len(short):
        return []
    some = ", ".join(steps.names[one][:40] for one in short[:3]) + (", ..." if len(short) > 3 else "")
    need = f"{window} + {horizon}"
    return [f"{len(short):,} of {len(counts):,} series have fewer than {need} rows and are left out: {some}"]


def _marks(ordered: np.ndarray, names: list[str]) -> list[str]:
    """What is to be said of a number such as -999 that stands far from all others of its column, time and again."""
    told = []
    for place, name in enumerate(names):
        values, counts = np.unique(np.asarray(ordered[:, place]), return_counts=True)
        for mark, count, others in ((values[0], counts[0], values[1:]), (values[-1], counts[-1], values[:-1])):
            if count < LEAST_MARKS or len(others) < LEAST_MARKS or not MARK.fullmatch(f"{mark:g}"):
                continue
            if np.abs(others - mark).min() > np.ptp(others):
                told.append(
                    f"{name!r} is {mark:g} in {rows_of(int(count))}, far from all else; if that stands for a gap, empty"
                    " these cells and pass --missing interpolate"
                )
    return told


def _standing(ordered: np.ndarray, names: list[str]) -> list[str]:
    """What is to be said of columns whose value stands still for long, as where gaps were filled before."""
    told = []
    for place, name in enumerate(names):
        column = np.asarray(ordered[:, place])
        changes = np.flatnonzero(np.diff(column) != 0)
        longest = int(np.diff(np.concatenate([[-1], changes, [len(column) - 1]])).max())
        if longest >= max(LONG_STANDING, len(column) // 50):
            told.append(f"{name!r} keeps one value for {rows_of(longest)} on end; were gaps filled?")
    return told


def _window_starts(offsets: np.ndarray, bounds: np.ndarray, part: int, window: int, horizon: int) -> np.ndarray:
    """First rows of the windows whose forecast lies in one part of its series."""
    starts = [
        start + np.arange(max(0, ends[part] - window), ends[part + 1] - window - horizon + 1)
        for start, ends in zip(offsets[:-1], bounds, strict=True)
    ]
    return np.concatenate(starts).astype(np.int64)


def load_forecast(task: TableOptions, store: Store, preparation: Preparation) -> Loaded:
    """The windows of a prepared forecast."""
    from sparsernn.data.splits import WindowSplit

    splits = (
        WindowSplit(
            store.array("values"), store.array(part), preparation.window, preparation.horizon, 0, preparation.targets
        )
        for part in PARTS
    )
    names = preparation.columns.get("series", [])[: preparation.targets]
    features, horizon = len(preparation.means), preparation.horizon
    return Loaded.of_forecasts(splits, names, inputs=features, horizon=horizon, note=task.note())


def write_new_forecast(preparation: Preparation, table: Table, writer: StoreWriter) -> Encoded:
    """The last window of every series of another file; what follows it is to be forecast."""
    steps = read_steps(table, preparation, writer)
    told = assemble(writer, steps, preparation, fills_times=True)
    write_scaled(writer, preparation)
    ends = steps.offsets[1:] - steps.ahead
    if preparation.foreseen and steps.ahead.min() < preparation.horizon:
        told.append(f"of what is known ahead not all {preparation.horizon} rows are there: the last is repeated")
    starts = ends - preparation.window
    short = np.flatnonzero(starts < steps.offsets[:-1])
    rows = np.diff(steps.offsets)
    faults = {
        int(
            one
        ): f"series {steps.names[one][:40]!r} has {int(rows[one])} rows, fewer than the {preparation.window} that"
        " the network reads"
        for one in short
    }
    if len(short) == len(starts):
        which = f"Series {steps.names[short[0]][:40]!r}" if steps.names[short[0]] else "The series"
        raise UserError(
            f"{which} has {rows_of(int(rows[short[0]]))}",
            f"at least {preparation.window}, the window the network reads",
            "give more rows",
        )
    starts = np.maximum(starts, 0)
    told = (*table.remarks, *told, *note_faults(list(steps.faults.values())))
    times = [next_times(steps, series, preparation.horizon) for series in range(len(starts))] if steps.line else []
    encoded = Encoded("forecast", np.zeros(0), starts, starts + preparation.window, names=steps.names, times=times)
    return replace(encoded, faults=faults, window=preparation.window, remarks=told)


def next_times(steps: Steps, series: int, horizon: int) -> list[str]:
    """The times that follow the last values of a series, as the file writes them."""
    if steps.line is None:
        return []
    last, step = steps.line.last(series, int(steps.ahead[series])), steps.line.step(series)
    return [steps.clock.written(step.after(last, count), steps.shown[series]) for count in range(1, horizon + 1)]
