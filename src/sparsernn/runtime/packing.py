"""Formats of a recurrent layer's weights at inference: how they are laid out, what they take, in numpy alone.

Rows go sixteen at a time: a slice is sixteen units of one gate, and the slices of all gates of these units are
neighbours, so that a step has all gates of sixteen units together and writes none of them down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sparsernn.errors import UserError

LANES = 16
MOST_PLACES = 65536
"""Places of a vector that 16 bits can number."""

Array = np.ndarray


@dataclass(frozen=True)
class Packed:
    """One weight as the extension reads it. An entry holds numbers of a slice's rows that read one place of a vector.

    Attributes:
        layout: the extension's name for what an entry is.
        columns: of the weight.
        starts: where each slice's entries begin, and their number. [slice + 1]
        places: the place that each entry reads: a column, or some neighbouring columns. [entry]
        values: the numbers of each entry. [entry bytes]
        indices: which columns of the place they read, where each reads its own. [entry bytes], or [0 0]
        scales: of int8 numbers, one a row. [slice 16], or [0 16]
    """

    layout: str
    columns: int
    starts: Array
    places: Array
    values: Array
    indices: Array = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    scales: Array = field(default_factory=lambda: np.zeros((0, LANES), np.float32))

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.starts) - 1

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, and of the sums that int8 numbers start from."""
        arrays = (self.starts, self.places, self.values, self.indices, self.scales, self.scales)
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True)
class Format:
    """One way to lay out a weight.

    Attributes:
        pack: from slices [slice 16 column] and what exists of them to the packed weight.
        width: columns of a place.
        dtype: of the numbers: "float32" or "int8".
        dense: whether absent numbers are stored as well.
    """

    pack: Callable[[Array, Array], Packed]
    width: int
    dtype: str
    dense: bool = False


def sliced(array: Array, gates: int) -> Array:
    """Rows regrouped, with zeros where units do not fill sixteen. Shapes: [gate*hidden ..] -> [slice 16 ..]."""
    hidden, rest = len(array) // gates, array.shape[1:]
    groups = -(-hidden // LANES)
    padded = np.zeros((gates, groups * LANES, *rest), array.dtype)
    padded[:, :hidden] = array.reshape(gates, hidden, *rest)
    return np.ascontiguousarray(padded.reshape(gates, groups, LANES, *rest).swapaxes(0, 1)).reshape(-1, LANES, *rest)


def pack(weight: Array, kept: Array, gates: int, format: str) -> Packed:
    """A weight in a format of `FORMATS`.

    Arguments:
        weight: float32. [gate*hidden column]
        kept: which numbers exist, boolean. [gate*hidden column]
    Raises: UserError for an unknown format, or one that cannot have so many columns.
    """
    if format not in FORMATS:
        raise UserError(f'format is "{format}"', f"one of {', '.join(FORMATS)}", "choose one of them")
    entry = FORMATS[format]
    if weight.shape[1] > entry.width * MOST_PLACES:
        raise UserError(
            f'a weight of {weight.shape[1]} columns does not fit the format "{format}"',
            f"at most {entry.width * MOST_PLACES} columns",
            "choose a format with wider places, such as int8_blocks or int8_lookup",
        )
    kept = np.ones_like(kept) if entry.dense else kept
    return entry.pack(sliced(np.where(kept, weight, np.float32(0)), gates), sliced(kept, gates))


def quantised(slices: Array) -> tuple[Array, Array]:
    """int8 numbers and the scale of each row: its largest number becomes 127."""
    scales = np.abs(slices).max(-1, initial=0).astype(np.float32) / np.float32(127)
    return np.rint(slices / np.where(scales > 0, scales, 1)[..., None]).astype(np.int8), scales


def _in_blocks(slices: Array, kept: Array) -> Packed:
    places, starts = _places(kept.any(1))
    values = slices[_owners(starts), :, places]
    return Packed("blocks", slices.shape[-1], starts, places, _bytes(values))


def _in_int8_blocks(slices: Array, kept: Array) -> Packed:
    width = FORMATS["int8_blocks"].width
    numbers, scales = quantised(slices)
    numbers, kept = _in_tiles(numbers, width), _in_tiles(kept, width)
    places, starts = _places(kept.any((1, 3)))
    values = numbers[_owners(starts), :, places]
    return Packed("int8_blocks", slices.shape[-1], starts, places, _bytes(values), scales=scales)


def _in_rows(slices: Array, kept: Array) -> Packed:
    starts, places, values, indices = _looked_up(slices, kept, FORMATS["rows"].width, 1)
    return Packed("rows", slices.shape[-1], starts, places, values, indices)


def _in_int8_lookup(slices: Array, kept: Array) -> Packed:
    numbers, scales = quantised(slices)
    starts, places, values, indices = _looked_up(numbers, kept, FORMATS["int8_lookup"].width, 4)
    return Packed("int8_lookup", slices.shape[-1], starts, places, values, indices, scales)


def _looked_up(numbers: Array, kept: Array, width: int, slots: int) -> tuple[Array, Array, Array, Array]:
    """Entries with so many numbers of each row of a slice, each with the column of its place that it reads."""
    kept = _in_tiles(kept, width)
    counts = kept.sum(-1)
    entries = -(-counts.max(1) // slots)
    starts = np.concatenate([[0], entries.sum(1).cumsum()]).astype(np.uint32)
    places = np.tile(np.arange(entries.shape[1]), len(entries)).repeat(entries.reshape(-1)).astype(np.uint16)
    first = entries.cumsum().reshape(entries.shape) - entries
    owner, row, place, column = np.nonzero(kept)
    before = (counts.cumsum() - counts.reshape(-1)).repeat(counts.reshape(-1))
    rank = np.arange(len(column)) - before
    where = first[owner, place] + rank // slots, row, rank % slots
    values = np.zeros((len(places), LANES, slots), numbers.dtype)
    indices = np.zeros((len(places), LANES, slots), np.uint8)
    values[where], indices[where] = _in_tiles(numbers, width)[owner, row, place, column], column
    return starts, places, _bytes(values), indices.reshape(len(places), LANES * slots)


def _in_tiles(array: Array, width: int) -> Array:
    """Columns in places of some width. Shapes: [slice 16 column] -> [slice 16 place width]."""
    missing = -array.shape[-1] % width
    padded = np.pad(array, ((0, 0), (0, 0), (0, missing)))
    return padded.reshape(*array.shape[:2], -1, width)


def _places(present: Array) -> tuple[Array, Array]:
    """Where entries are and where each slice's begin. Shapes: [slice place] -> [entry], [slice + 1]."""
    starts = np.concatenate([[0], present.sum(1).cumsum()]).astype(np.uint32)
    return np.nonzero(present)[1].astype(np.uint16), starts


def _owners(starts: Array) -> Array:
    """The slice of each entry."""
    return np.arange(len(starts) - 1).repeat(np.diff(starts.astype(np.int64)))


def _bytes(values: Array) -> Array:
    width = values.itemsize * int(np.prod(values.shape[1:]))
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(len(values), width)


FORMATS: dict[str, Format] = {
    "dense": Format(_in_blocks, 1, "float32", dense=True),
    "rows": Format(_in_rows, 32, "float32"),
    "blocks": Format(_in_blocks, 1, "float32"),
    "int8_dense": Format(_in_int8_blocks, 4, "int8", dense=True),
    "int8_lookup": Format(_in_int8_lookup, 256, "int8"),
    "int8_blocks": Format(_in_int8_blocks, 4, "int8"),
}
"""What a weight can be laid out as: every number ("dense"), only those that exist, whatever the pattern ("rows",
"lookup"), or wherever any of sixteen rows of a gate, or of these and four columns, exists ("blocks")."""
