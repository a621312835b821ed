"""One tensor in few bytes: the numbers that are not zero, and where they stand. With numpy alone.

A number counts as zero only if all of its bits are, so that minus zero and every NaN come back as they were.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sparsernn.errors import UserError
from sparsernn.runtime.patterns import DamagedFile, Pattern, pack_pattern, pattern_bytes, unpack_pattern

# bfloat16, which numpy does not have, goes about as its bits.
FLOATS = {"float16": "<f2", "bfloat16": "<u2", "float32": "<f4", "float64": "<f8"}
WHOLE = {"int8": 8, "int6": 6, "int4": 4}  # bits of a number, which stands for a multiple of the scale of its row
SMALLER = ("float16", *WHOLE)
STORED = {**FLOATS, **dict.fromkeys(WHOLE, "<i1")}
LARGEST = {"float16": 65504.0, **dict.fromkeys(WHOLE, float(np.finfo("f4").max))}
TILES = ((1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (32, 1), (1, 2), (1, 4), (1, 8), (1, 16), (2, 2), (4, 4), (8, 8))
PIECES = ("rows", "columns", "tiles")
About = dict[str, object]


class Packed(NamedTuple):
    """A tensor in few bytes.

    Attributes:
        about: what stands in a file's header: "shape", "type", and where they are not the usual ones "stored" (the
            type of the stored numbers, those of 6 and 4 bits without gaps), "tile" (rows and columns of the tiles that
            are stored whole), "rows", "columns" and "tiles" (code and bytes of the pattern of those that are stored),
            "turned" (whether the pattern of the tiles goes down the columns), "error" (see `pack`).
        data: the stored numbers in C order, the scales of whole ones, the patterns in the order above. [bytes]
    """

    about: About
    data: np.ndarray


class _Place(NamedTuple):
    """Rows, columns and tiles of what they leave that are stored. rows [row], columns [column], tiles [row column]"""

    rows: np.ndarray
    columns: np.ndarray
    tile: tuple[int, int]
    tiles: np.ndarray
    turned: bool = False

    @property
    def patterns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The flags that are stored, in the order of PIECES."""
        return self.rows, self.columns, self.tiles.T if self.turned else self.tiles

    def mask(self) -> np.ndarray:
        """Which numbers are stored. [row column]"""
        inner = self.tiles.repeat(self.tile[0], 0).repeat(self.tile[1], 1)
        if self.rows.all() and self.columns.all():
            return inner
        mask = np.zeros((len(self.rows), len(self.columns)), bool)
        mask[np.ix_(self.rows, self.columns)] = inner
        return mask

    def bytes(self, bits: int) -> int:
        """What this takes where a number takes so many bits."""
        numbers = -(-int(np.count_nonzero(self.tiles)) * math.prod(self.tile) * bits // 8)
        return numbers + sum(pattern_bytes(flags) for flags in self.patterns)


def pack(values: np.ndarray, kind: str, smaller: str | None = None) -> Packed:
    """A tensor of floating-point numbers, packed as it takes the fewest bytes.

    Arguments:
        values: at least one dimension and one number.
        kind: its type, one of FLOATS.
        smaller: "float16", or "int8", "int6" or "int4" with a scale for each row, of tensors of two dimensions or more;
            about["error"] is then the largest difference, divided by the largest number of the tensor. None keeps every
            bit, in a smaller type too where that can, as it can for numbers that were read from one.
    Raises: UserError if a number is not finite in the smaller type.
    """
    shape = values.shape
    matrix = np.ascontiguousarray(values).reshape(_matrix(shape))
    about: About = {"shape": list(shape), "type": kind}
    scales, stored = np.zeros(0, "<f4"), kind
    if smaller is not None and len(shape) > 1 and smaller != kind:
        stored = smaller
        matrix, scales, about["error"] = _reduced(matrix, kind, smaller)
    elif smaller is None and len(shape) > 1:
        stored, matrix, scales = _exact(matrix, kind)
    if stored != kind:
        about["stored"] = stored
    places = _places(matrix.view(f"<u{matrix.itemsize}") != 0)
    place = min(places, key=lambda place: place.bytes(_bits(stored)))
    if place.tile != (1, 1):
        about["tile"] = list(place.tile)
    if place.turned:
        about["turned"] = True
    patterns = []
    for name, flags in zip(PIECES, place.patterns, strict=True):
        pattern = pack_pattern(flags)
        if pattern.code != "all":
            about[name] = [pattern.code, len(pattern.data)]
            patterns.append(pattern.data)
    numbers = _dense(matrix[place.mask()].astype(STORED[stored], copy=False), _bits(stored))
    return Packed(about, np.concatenate([numbers, scales.view(np.uint8), *patterns]))


def unpack(packed: Packed, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """The tensor that `pack` packed.

    Arguments:
        shape, kind: what the reader expects; nothing larger is made, whatever the bytes say.
    Raises: ValueError if it is another tensor, DamagedFile if these bytes are none.
    """
    about, data = packed
    if about.get("shape") != list(shape) or about.get("type") != kind or kind not in FLOATS:
        raise ValueError(f"it is {about.get('shape')} of {about.get('type')} instead of {list(shape)} of {kind}"[:200])
    rows, columns = _matrix(shape)
    stored = about.get("stored", kind)
    if stored != kind and stored not in SMALLER:
        raise DamagedFile(f"its numbers are of type {stored!r}"[:200])
    bits = _bits(str(stored))
    mask, patterns = _read_place(about, data, rows, columns)
    count = int(np.count_nonzero(mask))
    taken, scaled = -(-count * bits // 8), rows * 4 if stored in WHOLE else 0
    if len(data) - patterns != taken + scaled:
        raise DamagedFile(f"{len(data)} bytes do not hold {count} numbers and where they stand")
    matrix = np.zeros((rows, columns), STORED[str(stored)])
    matrix[mask] = _spread(data[:taken], count, bits).view(matrix.dtype)
    if stored != kind:
        scales = np.frombuffer(data[taken:][:scaled].tobytes(), "<f4")
        matrix = _restored(matrix, scales, kind)
    return matrix.reshape(shape)


def _bits(stored: str) -> int:
    """How many a number of a type takes in a file."""
    return WHOLE.get(stored, 8 * np.dtype(STORED[stored]).itemsize)


def _dense(numbers: np.ndarray, bits: int) -> np.ndarray:
    """The bytes of numbers; the lowest bits of each without gaps, where a number is a byte and has fewer."""
    return (
        numbers.view(np.uint8)
        if bits >= 8
        else np.packbits(np.unpackbits(numbers.view(np.uint8)[:, None], 1)[:, -bits:])
    )


def _spread(data: np.ndarray, count: int, bits: int) -> np.ndarray:
    """The bytes of the numbers that `_dense` put together. [bytes]"""
    if bits >= 8:
        return np.ascontiguousarray(data)
    unpacked = np.unpackbits(data, count=count * bits).reshape(count, bits)
    return (np.packbits(unpacked, 1)[:, 0].view(np.int8) >> (8 - bits)).view(np.uint8)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a tensor; a vector is one row."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def _places(kept: np.ndarray) -> Iterator[_Place]:
    """Where what is kept can be stored. kept: [row column]"""
    rows, columns = (np.ones(size, bool) for size in kept.shape)
    if kept.all():
        yield _Place(rows, columns, (1, 1), kept)
        return
    yield from _tilings(kept, rows, columns)
    used = np.asarray(kept.any(1)), np.asarray(kept.any(0))
    if not (used[0].all() and used[1].all()):
        yield from _tilings(kept, *used)


def _tilings(kept: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Iterator[_Place]:
    inner = kept[np.ix_(rows, columns)]
    down, across = inner.shape
    for tile in TILES:
        if inner.size and down % tile[0] == 0 and across % tile[1] == 0:
            tiled = inner.reshape(down // tile[0], tile[0], across // tile[1], tile[1])
            yield _Place(rows, columns, tile, np.asarray(tiled.any((1, 3))))
    yield _Place(rows, columns, (1, 1), inner, turned=True)
    yield _Place(rows, columns, (1, 1), np.ones_like(inner))


def _read_place(about: Mapping[str, object], data: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, int]:
    """Which numbers are stored, and the bytes that say so, which stand at the end. [row column]"""
    tile, entries = about.get("tile", [1, 1]), [_entry(about.get(name, ["all", 0])) for name in PIECES]
    if tile not in [list(sides) for sides in TILES]:
        raise DamagedFile(f"its header holds the tile {tile}"[:200])
    height, width = next(sides for sides in TILES if list(sides) == tile)
    start = numbers = len(data) - sum(length for _, length in entries)
    if start < 0:
        raise DamagedFile(f"{len(data)} bytes are fewer than its patterns take")
    flags: list[np.ndarray] = []
    for number, (code, length) in enumerate(entries):
        size = (rows, columns)[number] if number < 2 else _tiles(flags, height, width)
        flags.append(unpack_pattern(Pattern(code, data[start : start + length]), size))
        start += length
    kept_rows, kept_columns, tiles = flags
    down, across = np.count_nonzero(kept_rows) // height, np.count_nonzero(kept_columns) // width
    tiles = tiles.reshape(across, down).T if about.get("turned") is True else tiles.reshape(down, across)
    return _Place(kept_rows, kept_columns, (height, width), tiles).mask(), len(data) - numbers


def _entry(saved: object) -> tuple[str, int]:
    """Code and bytes of a pattern, as a header holds them."""
    match saved:
        case [str(code), int(length)] if length >= 0:
            return code, length
    raise DamagedFile(f"its header holds the pattern {saved}"[:200])


def _tiles(flags: list[np.ndarray], height: int, width: int) -> int:
    """How many tiles cover the stored rows and columns."""
    down, across = (int(np.count_nonzero(one)) for one in flags)
    if down % height or across % width:
        raise DamagedFile(f"tiles of {height}x{width} do not cover {down} rows and {across} columns")
    return (down // height) * (across // width)


def _reduced(matrix: np.ndarray, kind: str, smaller: str) -> tuple[np.ndarray, np.ndarray, float]:
    """A matrix in a smaller type, its scales, and the largest error for the largest number being 1."""
    exact = _widened(matrix, kind)
    largest = float(np.abs(exact).max())
    if not largest <= LARGEST[smaller]:
        raise UserError(
            f"a tensor holds numbers up to {largest:.5g}, which {smaller} cannot",
            "finite numbers, of at most 65504 for float16",
            "save it as it is, without dtype",
        )
    small, scales = _rounded(exact, smaller)
    error = float(np.abs(_widened(_restored(small, scales, kind), kind) - exact).max())
    return small, scales, error / largest if largest else 0.0


def _exact(matrix: np.ndarray, kind: str) -> tuple[str, np.ndarray, np.ndarray]:
    """The smallest type from which every bit of a matrix comes back, the matrix in it, and its scales."""
    for smaller in (*reversed(WHOLE), "float16"):
        small, scales = _without_loss(matrix[:1], kind, smaller)  # the first row says no at once for nearly all
        if small is not None:
            small, scales = _without_loss(matrix, kind, smaller)
        saved = _bits(kind) - _bits(smaller)
        if small is not None and saved * np.count_nonzero(small) > 8 * scales.nbytes:
            return smaller, small, scales
    return kind, matrix, np.zeros(0, "<f4")


def _without_loss(matrix: np.ndarray, kind: str, smaller: str) -> tuple[np.ndarray | None, np.ndarray]:
    """A matrix in a smaller type, None if not every bit comes back, and its scales."""
    with np.errstate(invalid="ignore"):  # a NaN of bfloat16
        exact = _widened(matrix, kind)
    if not np.abs(exact).max() <= LARGEST[smaller]:
        return None, np.zeros(0, "<f4")
    small, scales = _rounded(exact, smaller)
    return (small if _restored(small, scales, kind).tobytes() == matrix.tobytes() else None), scales


def _rounded(exact: np.ndarray, smaller: str) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of float64 in a smaller type, and the scales of its rows."""
    if smaller == "float16":
        return exact.astype("<f2"), np.zeros(0, "<f4")
    # Scales of 17 binary digits: their multiples of up to 127 are numbers of float32, so these give the same scales.
    most = 2 ** (WHOLE[smaller] - 1) - 1
    scales = ((np.abs(exact).max(1) / most).astype("<f4").view("<u4") + 0x40 & 0xFFFFFF80).view("<f4")
    steps = exact / np.where(scales > 0, scales, 1)[:, None].astype(np.float64)
    return np.clip(np.rint(steps), -most, most).astype("<i1"), scales


def _restored(small: np.ndarray, scales: np.ndarray, kind: str) -> np.ndarray:
    """The matrix of a smaller type in the type that it had."""
    exact = small.astype(np.float64)
    if small.dtype == np.int8:
        if not bool((np.isfinite(scales) & (scales >= 0)).all()):
            raise DamagedFile("a scale is not a finite positive number")
        exact *= scales[:, None]
    if kind != "bfloat16":
        with np.errstate(over="ignore", invalid="ignore"):
            return exact.astype(FLOATS[kind])
    bits = exact.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _widened(matrix: np.ndarray, kind: str) -> np.ndarray:
    if kind == "bfloat16":
        return (matrix.astype("<u4") << 16).view("<f4").astype(np.float64)
    return matrix.astype(np.float64)
