"""A user's series whose next values are forecast, as standardised features on disk."""

import numpy as np

from sparsernn.data.preparation import Columns, Encoded, Preparation, require_parts, write_parts
from sparsernn.data.splits import WindowSplit
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_rows import Progress
from sparsernn.data.table_steps import moments, read_steps, series_names, write_scaled
from sparsernn.data.task import PARTS, Loaded
from sparsernn.errors import UserError


def build_forecast(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """Series whose next values are forecast; the last rows of every series are held back."""
    others = [name for name in task.series if name != task.forecast]
    columns: Columns = {"id": task.id, "time": task.time, "series": [task.forecast, *others]}
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
    write_parts(writer, parts)
    return preparation


def _window_starts(offsets: np.ndarray, bounds: np.ndarray, part: int, window: int, horizon: int) -> np.ndarray:
    """First rows of the windows whose forecast lies in one part of its series."""
    starts = [
        start + np.arange(max(0, ends[part] - window), ends[part + 1] - window - horizon + 1)
        for start, ends in zip(offsets[:-1], bounds, strict=True)
    ]
    return np.concatenate(starts).astype(np.int64)


def load_forecast(task: TableOptions, store: Store, preparation: Preparation) -> Loaded:
    """The windows of a prepared forecast."""
    splits = (
        WindowSplit(store.array("values"), store.array(part), preparation.window, preparation.horizon, 0)
        for part in PARTS
    )
    features, horizon = len(preparation.means), preparation.horizon
    return Loaded.of_forecasts(splits, task.forecast, inputs=features, horizon=horizon, note=task.note())


def new_forecast(preparation: Preparation, store: Store) -> Encoded:
    """The last window of every series of another file; what follows it is to be forecast."""
    offsets = store.array("series")
    names = series_names(store)
    short = np.flatnonzero(np.diff(offsets) < preparation.window)
    if len(short):
        raise UserError(
            f"Series {names[short[0]][:40]!r} has {int(np.diff(offsets)[short[0]])} rows",
            f"at least {preparation.window}, the window the network reads",
            "give more rows",
        )
    starts = offsets[1:] - preparation.window
    return Encoded(WindowSplit(store.array("values"), starts, preparation.window, 0, 0), False, names)
