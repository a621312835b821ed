"""A user's labelled series with a row a step, as standardised features on disk."""

from dataclasses import replace
from typing import Any

import numpy as np

from sparsernn.data.patches import Patches, frame_steps, windows_for
from sparsernn.data.preparation import Columns, Encoded, Preparation, require_parts, targets_of, write_parts
from sparsernn.data.splits import SequenceSplit, cut
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_parts import cut_rows, row_groups
from sparsernn.data.table_rows import Progress
from sparsernn.data.table_steps import Steps, moments, pieces, read_steps, series_names, steps_of, write_scaled
from sparsernn.data.task import PARTS, Loaded
from sparsernn.errors import UserError

PIECE_STEPS = 250
LEAST_SERIES = 10


def build_series(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """A row a step, labelled by step or by series."""
    columns: Columns = {"id": task.id, "time": task.time, "series": list(task.series), "label": task.label}
    steps = read_steps(task.path, columns, writer, progress)
    labels = np.asarray(steps.labels)[steps.order]
    firsts = labels[steps.offsets[:-1]]
    mixed = np.flatnonzero(np.add.reduceat(labels != np.repeat(firsts, np.diff(steps.offsets)), steps.offsets[:-1]))
    per_step = len(mixed) > 0 if task.label_per == "auto" else task.label_per == "step"
    if len(mixed) and not per_step:
        raise UserError(
            f"Series {steps.names[mixed[0]][:40]!r} has more than one label",
            "one label for a series",
            "give --label-per step, or correct the labels",
        )
    groups = _series_groups(task, steps, progress)
    if per_step:
        offsets, parts, length = _parts_of_steps(task, steps, groups)
    else:
        offsets, parts, length = steps.offsets, cut_rows(task, firsts, groups), 0
    require_parts(parts, task.path, "series")
    means, deviations = moments(writer.array("raw"), steps.order[steps_of(offsets, parts[0])])
    preparation = Preparation("series", columns, steps.label_names, means, deviations, length=length, per_step=per_step)
    preparation = replace(preparation, **_reading(preparation, steps, labels, np.diff(offsets)[parts[0]]))
    write_scaled(writer, preparation, steps.order, steps.offsets)
    writer.append("offsets", offsets)
    writer.append("targets", labels if per_step else firsts)
    write_parts(writer, parts)
    return preparation


def _reading(preparation: Preparation, steps: Steps, labels: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """How much the network reads at once. lengths: of the training series."""
    if not preparation.per_step:
        return {"patch": Patches.for_lengths(lengths).steps}
    at_once = frame_steps(labels, steps.offsets)
    return {"patch": at_once if at_once > 1 else 0, "windows": windows_for(np.diff(steps.offsets))}


def _series_groups(task: TableOptions, steps: Steps, progress: Progress) -> np.ndarray | None:
    """The group of every series; a series in two of them is a UserError."""
    groups = row_groups(task, progress)
    if groups is None:
        return None
    groups = groups[steps.order]
    firsts = groups[steps.offsets[:-1]]
    mixed = np.flatnonzero(np.add.reduceat(groups != np.repeat(firsts, np.diff(steps.offsets)), steps.offsets[:-1]))
    if len(mixed):
        raise UserError(
            f"Series {steps.names[mixed[0]][:40]!r} belongs to more than one group of {task.groups!r}",
            "one group for a series",
            "correct the column, or choose another one",
        )
    return firsts


def _parts_of_steps(
    task: TableOptions, steps: Steps, groups: np.ndarray | None
) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Offsets of the pieces, their parts (by series, or by time where there are few series), and their length."""
    count, shortest = len(steps.names), int(np.diff(steps.offsets).min())
    by_time = groups is None and count < LEAST_SERIES
    length = task.length or PIECE_STEPS
    if by_time:
        length = max(1, min(length, shortest // LEAST_SERIES))
    offsets, series = pieces(steps.offsets, length)
    if not by_time:
        whole = cut(count, task.shares, task.seed) if groups is None else cut_rows(task, groups, groups)
        return offsets, [np.flatnonzero(np.isin(series, part)) for part in whole], length
    parts: list[list[np.ndarray]] = [[], [], []]
    for number in range(count):
        numbers = np.flatnonzero(series == number)
        for part, places in zip(parts, cut(len(numbers), task.shares, None), strict=True):
            part.append(numbers[places])
    return offsets, [np.concatenate(part) for part in parts], length


def load_series(task: TableOptions, store: Store, preparation: Preparation) -> Loaded:
    """The splits of prepared labelled series."""
    arrays = (store.array("values"), store.array("offsets"), store.array("targets"))
    per_step, how = preparation.per_step, {"bucketed": True, "patches": preparation.patches}
    splits = (SequenceSplit(*arrays, rows=store.array(part), per_step=per_step, **how) for part in PARTS)
    return Loaded.of_classes(splits, preparation.labels, inputs=preparation.inputs, per_step=per_step, note=task.note())


def new_series(preparation: Preparation, store: Store) -> Encoded:
    """The series of another file, in the order of their first rows."""
    offsets, values = store.array("offsets"), store.array("values")
    labelled, targets = targets_of(store, len(values) if preparation.per_step else len(offsets) - 1)
    split = SequenceSplit(values, offsets, targets, per_step=preparation.per_step, patches=preparation.patches)
    return Encoded(split, labelled, series_names(store), store.array("order") if preparation.per_step else None)
