"""Formats of a recurrent layer's weights at inference: how they are laid out, what they take, in numpy alone.

Rows go sixteen at a time: a slice is sixteen units of one gate, and the slices of all gates of these units are
neighbours, so that a step has all gates of sixteen units together and writes none of them down.
"""

from dataclasses import dataclass

import numpy as np

from sparsernn.errors import UserError
from sparsernn.typed import choose

LANES = 16
MOST_PLACES = {"float32": 65536, "int8": 16384}
"""Places that a run can number: as 16 bits do, and as 32 bits hold the sums of whole numbers."""

Array = np.ndarray


@dataclass(frozen=True)
class Packed:
    """One weight as the extension reads it. An entry holds numbers of a slice's rows that read one place of a vector.

    A run is the entries of one slice, or those of them that read one place. Runs of equal length are neighbours, so
    that a processor foresees their ends; slices without entries have none. Where a vector is so wide that 16 bits do
    not number its places, a slice has several runs, each of which numbers them from its base.

    Attributes:
        layout: the extension's name for what an entry is.
        slices, columns: of the weight.
        outer_runs: runs of gates that do not wait for others; they come first.
        starts: where each run's entries begin, and their number. [run + 1]
        owners: the slice of each run. [run]
        bases: the first place that each run could read; None: 0 for all. [run]
        places: the place that an entry reads, counted from the base of its run: a column, or some neighbouring columns.
            [entry], or [run] where each number chooses its column
        values: the numbers of each entry. [entry bytes]
        indices: which columns of the place they read, where each reads its own. [entry bytes], or [0 0]
        scales: of int8 numbers, one a row. [slice 16], or [0 16]
    """

    layout: str
    slices: int
    columns: int
    outer_runs: int
    starts: Array
    owners: Array
    bases: Array | None
    places: Array
    values: Array
    indices: Array
    scales: Array


@dataclass(frozen=True)
class Format:
    """One way to lay out a weight.

    Attributes:
        layout: the extension's name for what an entry is.
        width: columns of a place.
        dtype: of the numbers: "float32" or "int8".
        slots: numbers of each row that an entry holds with columns of their own; 0: those of its place.
        dense: whether absent numbers are stored as well.
    """

    layout: str
    width: int
    dtype: str
    slots: int = 0
    dense: bool = False


FORMATS: dict[str, Format] = {
    "dense": Format("blocks", 1, "float32", dense=True),
    "rows": Format("rows", 64, "float32", slots=1),
    "blocks": Format("blocks", 1, "float32"),
    "int8_dense": Format("int8_blocks", 4, "int8", dense=True),
    "int8_lookup": Format("int8_lookup", 256, "int8", slots=4),
    "int8_blocks": Format("int8_blocks", 4, "int8"),
}
"""What a weight can be laid out as: every number ("dense"), only those that exist, whatever the pattern ("rows",
"lookup"), or wherever any of sixteen rows of a gate, or of these and four columns, exists ("blocks")."""


def sliced(array: Array, gates: int) -> Array:
    """Rows regrouped, with zeros where units do not fill sixteen. Shapes: [gate*hidden ..] -> [slice 16 ..]."""
    hidden, rest = len(array) // gates, array.shape[1:]
    groups = -(-hidden // LANES)
    padded = np.zeros((gates, groups * LANES, *rest), array.dtype)
    padded[:, :hidden] = array.reshape(gates, hidden, *rest)
    return np.ascontiguousarray(padded.reshape(gates, groups, LANES, *rest).swapaxes(0, 1)).reshape(-1, LANES, *rest)


def pack(weight: Array, kept: Array, gates: int, format: str, outer_gates: int | None = None) -> Packed:
    """A weight in a format of `FORMATS`.

    Arguments:
        weight: float32. [gate*hidden column]
        kept: which numbers exist, boolean. [gate*hidden column]
        outer_gates: gates, the first ones, whose products do not wait for other gates; None: all.
    Raises: UserError for an unknown format, or a number that is not finite where int8 is to hold it.
    """
    choose("format", format, FORMATS)
    entry = FORMATS[format]
    if entry.dtype == "int8" and not np.isfinite(weight[kept]).all():
        raise UserError(
            f'a weight that is not finite does not fit the format "{format}"',
            "finite numbers",
            "choose a format of float32, or look where the number comes from",
        )
    numbers = sliced(np.where(kept, weight, np.float32(0)), gates)
    kept = np.ones(numbers.shape, bool) if entry.dense else sliced(kept, gates)
    scales = np.zeros((0, LANES), np.float32)
    if entry.dtype == "int8":
        numbers, scales = quantised(numbers)
    numbers, kept = _in_places(numbers, entry.width), _in_places(kept, entry.width)
    inner = np.arange(len(numbers)) % gates >= (gates if outer_gates is None else outer_gates)
    most = MOST_PLACES[entry.dtype]
    runs = _chosen(numbers, kept, inner, entry.slots) if entry.slots else _whole(numbers, kept, inner, most)
    return Packed(entry.layout, len(numbers), weight.shape[1], scales=scales, **vars(runs))


def quantised(slices: Array) -> tuple[Array, Array]:
    """int8 numbers and the scale of each row: its largest number becomes 127."""
    scales = np.abs(slices).max(-1, initial=0).astype(np.float32) / np.float32(127)
    return np.rint(slices / np.where(scales > 0, scales, 1)[..., None]).astype(np.int8), scales


@dataclass(frozen=True)
class _Runs:
    """What `Packed` says of runs and entries."""

    outer_runs: int
    starts: Array
    owners: Array
    bases: Array | None
    places: Array
    values: Array
    indices: Array


def _whole(numbers: Array, kept: Array, inner: Array, most: int) -> _Runs:
    """Entries that hold all columns of their places; a run is a slice, or the part of it that reads `most` places."""
    present = np.count_nonzero(kept, (1, 3)) > 0
    parts = -(-present.shape[1] // most)
    if parts > 1:
        present = np.pad(present, ((0, 0), (0, -present.shape[1] % most))).reshape(-1, most)
    counts = np.count_nonzero(present, 1)
    order = np.lexsort((-counts, inner.repeat(parts)))
    order = order[counts[order] > 0]
    owners, bases = order // parts, order % parts * most
    run, places = np.nonzero(present[order])
    values = numbers[owners[run], :, bases[run] + places]
    none = np.zeros((0, 0), np.uint8)
    return _runs(inner, counts[order], (owners, bases, places), values, none)


def _chosen(numbers: Array, kept: Array, inner: Array, slots: int) -> _Runs:
    """Entries with so many numbers of each row, each with the column of its place; a run is a slice and a place."""
    count = np.count_nonzero(kept, -1)
    entries = -(-count.max(1) // slots)
    owners, places = np.nonzero(entries)
    order = np.lexsort((-entries[owners, places], places, inner[owners]))
    owners, places = owners[order], places[order]
    lengths = entries[owners, places]
    first, total = np.zeros(entries.shape, np.int64), int(lengths.sum())
    first[owners, places] = lengths.cumsum() - lengths
    owner, row, place, column = np.nonzero(kept)
    count = count.reshape(-1)
    rank = np.arange(len(column)) - (count.cumsum() - count).repeat(count)
    where = first[owner, place] + rank // slots, row, rank % slots
    values, indices = (np.zeros((total, LANES, slots), dtype) for dtype in (numbers.dtype, np.uint8))
    values[where], indices[where] = numbers[owner, row, place, column], column
    bases = places // MOST_PLACES["float32"] * MOST_PLACES["float32"]
    return _runs(inner, lengths, (owners, bases, places - bases), values, indices.reshape(total, LANES * slots))


def _runs(inner: Array, lengths: Array, where: tuple[Array, Array, Array], values: Array, indices: Array) -> _Runs:
    """Runs of so many entries, those of the outer gates first.

    Arguments:
        inner: whether a slice waits for others. [slice]
        where: owners, bases and places.
    """
    owners, bases, places = where
    starts = np.concatenate([[0], lengths.cumsum()]).astype(np.uint32)
    width = values.itemsize * int(np.prod(values.shape[1:]))
    entries = np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(len(values), width)
    outer = int(np.count_nonzero(~inner[owners]))
    based = bases.astype(np.uint32) if bases.any() else None
    return _Runs(outer, starts, owners.astype(np.uint16), based, places.astype(np.uint16), entries, indices)


def _in_places(array: Array, width: int) -> Array:
    """Shapes: [slice 16 column] -> [slice 16 place width]."""
    padded = np.pad(array, ((0, 0), (0, 0), (0, -array.shape[-1] % width)))
    return padded.reshape(*array.shape[:2], -1, width)
