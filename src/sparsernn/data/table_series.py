"""A user's labelled series with a row a step, as standardised features on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsernn.data.cuts import cut
from sparsernn.data.labels import LabelReader, note_names
from sparsernn.data.patches import Patches, frame_steps, windows_for
from sparsernn.data.preparation import Columns, Encoded, Preparation, require_parts, write_parts
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_columns import listed, see
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_parts import check_series_copies, cut_rows, row_groups
from sparsernn.data.table_rows import Progress, Table, require_columns
from sparsernn.data.table_steps import (
    Steps,
    assemble,
    moments,
    note_faults,
    pieces,
    read_steps,
    steps_of,
    time_columns,
    write_scaled,
)
from sparsernn.data.task import PARTS, Loaded, are_known
from sparsernn.errors import UserError

if TYPE_CHECKING:
    from sparsernn.data.splits import SequenceSplit

PIECE_STEPS = 250
LEAST_SERIES = 10


def build_series(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """A row a step, labelled by step or by series."""
    table = task.table(progress)
    named = listed(task.series, table, (task.label, task.id, task.groups))
    others = {task.label, task.id, task.groups, *time_columns(table, task.time)}
    draft = begun(task, table, [name for name in named if name not in others], (), task.label)
    reader = LabelReader(task.label, task.labels, draft.spelling.decimal, gaps=task.missing == "drop")
    steps = read_steps(table, draft, writer, reader)
    remarks = dict.fromkeys(assemble(writer, steps, draft))
    labels, targets = _labels(steps)
    note_names(labels, remarks)
    per_step = _per_step(task, steps, targets)
    groups = _series_groups(task, steps, table)
    if per_step:
        offsets, parts, length = _parts_of_steps(task, steps, groups)
    else:
        targets = _first_labels(targets, steps.offsets)
        offsets, parts, length = steps.offsets, cut_rows(task, targets, groups), 0
        check_series_copies(writer.array("ordered"), offsets, parts, remarks)
    require_parts(parts, task.path, "series", task.groups)
    means, deviations = moments(writer.array("ordered"), steps_of(offsets, parts[0]))
    told = tuple({**table.remarks, **remarks})
    fitted = replace(draft, labels=labels, means=means, deviations=deviations, length=length, per_step=per_step)
    fitted = replace(fitted, remarks=told, **_reading(per_step, steps, targets, np.diff(offsets)[parts[0]]))
    preparation = with_scale(fitted, targets, parts[0])
    write_scaled(writer, preparation, steps.offsets)
    write_targets(writer, preparation, targets, parts, offsets)
    return preparation


def _reading(per_step: bool, steps: Steps, targets: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """How much the network reads at once. lengths: of the training series."""
    if not per_step:
        return {"patch": Patches.for_lengths(lengths).steps}
    at_once = frame_steps(targets, steps.offsets)
    return {"patch": at_once if at_once > 1 else 0, "windows": windows_for(np.diff(steps.offsets))}


def begun(task: TableOptions, table: Table, series: list[str], numbers: tuple[str, ...], label: str) -> Preparation:
    """What is known of a file with a row a step before it is read.

    Arguments:
        series: columns of the features; numbers: those of them that cannot be words.
        label: the column of the labels, or "".
    """
    times = time_columns(table, task.time)
    require_columns(table.path, [*filter(None, (task.id, label, task.groups))], table.names)
    words = [name for name in series if name not in numbers]
    targets = [label] if label and task.labels == "numbers" else []
    spelling, levels = see(table, [*numbers, *targets], words=words, times=times)
    table.spelling = spelling
    columns: Columns = {"id": task.id, "time": task.time, "series": series, "label": label}
    kind = "forecast" if task.forecast else "series"
    return Preparation(kind, columns, missing=task.missing, levels=levels, spelling=spelling)


def with_scale(preparation: Preparation, targets: np.ndarray, train: np.ndarray) -> Preparation:
    """With mean and deviation of the training labels, where numbers are learned."""
    if targets.dtype.kind != "f":
        return preparation
    learned = targets[train]
    deviation = float(learned.std())
    return replace(preparation, label_scale=(float(learned.mean()), deviation if deviation > 0 else 1.0))


def write_targets(
    writer: StoreWriter,
    preparation: Preparation,
    targets: np.ndarray,
    parts: Sequence[np.ndarray],
    offsets: np.ndarray | None = None,
) -> None:
    """Store targets as a network learns them, the rows of train, valid and test, and where each series begins.

    Classes stay as they are; numbers are standardised.
    """
    if offsets is not None:
        writer.append("offsets", offsets)
    if preparation.label_scale:
        targets = (targets - preparation.label_scale[0]) / preparation.label_scale[1]
    writer.append("targets", targets)
    write_parts(writer, parts)


def _labels(steps: Steps) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes, and the targets of all steps in their order."""
    if steps.labels is None:
        raise ValueError("the labels were not read")
    return steps.labels.names, steps.labels.targets[steps.order]


def _first_labels(targets: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The first label of each series that is not missing."""
    places = np.where(are_known(targets), np.arange(len(targets)), len(targets))
    first = np.minimum.reduceat(places, offsets[:-1])
    return np.where(first < len(targets), targets[np.minimum(first, len(targets) - 1)], targets[offsets[:-1]])


def _per_step(task: TableOptions, steps: Steps, targets: np.ndarray) -> bool:
    firsts = np.repeat(_first_labels(targets, steps.offsets), np.diff(steps.offsets))
    mixed = np.flatnonzero(np.add.reduceat((targets != firsts) & are_known(targets), steps.offsets[:-1]))
    per_step = len(mixed) > 0 if task.label_per == "auto" else task.label_per == "step"
    if len(mixed) and (not per_step or targets.dtype.kind == "f"):
        raise UserError(
            f"Series {steps.names[mixed[0]][:40]!r} has more than one label",
            "one label for a series" + (", where a number is learned" if per_step else ""),
            "leave out --regression, give --id for the column that tells series apart, or --forecast the column"
            if per_step
            else "give --label-per step, or correct the labels",
        )
    return per_step


def _series_groups(task: TableOptions, steps: Steps, table: Table) -> np.ndarray | None:
    """The group of every series; a series in two of them is a UserError."""
    groups = row_groups(task, table)
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
    from sparsernn.data.splits import SequenceSplit

    arrays = (store.array("values"), store.array("offsets"), store.array("targets"))
    per_step, how = preparation.per_step, {"bucketed": True, "patches": preparation.patches}
    splits = [SequenceSplit(*arrays, rows=store.array(part), per_step=per_step, **how) for part in PARTS]
    return loaded_examples(task, splits, preparation, inputs=preparation.inputs)


def loaded_examples(
    task: TableOptions,
    splits: list[SequenceSplit],
    preparation: Preparation,
    *,
    inputs: int,
    vocabulary: tuple[str, ...] | list[str] = (),
) -> Loaded:
    """Splits of examples with a class each, or a number."""
    if preparation.label_scale:
        unit, label = preparation.label_scale[1], preparation.columns.get("label", "")
        return Loaded.of_numbers(splits, label, unit=unit, inputs=inputs, vocabulary=vocabulary, note=task.note())
    return Loaded.of_classes(
        splits,
        preparation.labels,
        inputs=inputs,
        per_step=preparation.per_step,
        vocabulary=vocabulary,
        note=task.note(),
    )


def write_new_series(preparation: Preparation, table: Table, writer: StoreWriter) -> Encoded:
    """Another file with a row a step; its labels are read where it has them."""
    filling = replace(preparation, missing="forward") if preparation.missing == "drop" else preparation
    steps = read_steps(table, filling, writer)
    told = assemble(writer, steps, filling)
    write_scaled(writer, preparation, steps.offsets)
    length = preparation.length if preparation.per_step else 0
    offsets = pieces(steps.offsets, length)[0] if length else steps.offsets
    targets = None
    if steps.targets is not None:
        targets = steps.targets[steps.order]
        targets = targets if preparation.per_step else _first_labels(targets, steps.offsets)
    told = (*table.remarks, *told, *note_faults([] if preparation.per_step else list(steps.faults.values())))
    encoded = Encoded("series", np.zeros(0), offsets[:-1], offsets[1:], targets, steps.names, remarks=told)
    if not preparation.per_step:
        return encoded
    return replace(encoded, names=_row_names(steps), rows=steps.order, faults=steps.faults)


def _row_names(steps: Steps) -> list[str]:
    """The id of the series of every file row, where there are any."""
    if not any(steps.names):
        return []
    names = np.empty(len(steps.order), object)
    names[steps.order] = np.repeat(np.array(steps.names, object), np.diff(steps.offsets))
    return names.tolist()
