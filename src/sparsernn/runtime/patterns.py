"""Which places of a row of flags are set, in few bytes: nothing where all are, bits, gaps between them, or runs."""

from typing import NamedTuple

import numpy as np

from sparsernn.errors import UserError
from sparsernn.runtime.formats import pack_mask, packed_bytes, unpack_mask

GAPS = {"gaps8": np.dtype("<u1"), "gaps16": np.dtype("<u2")}
RUNS = "runs8"


class DamagedFile(ValueError):
    """Bytes that no function of this package has written."""


class Pattern(NamedTuple):
    """Flags in one of several codes.

    Attributes:
        code: "all": every flag is set; "bits": as `pack_mask` has them; "gaps8", "gaps16": for each flag that is set,
            how many before it are not, in 8 or 16 bits; the largest number means that many and no flag behind them.
            "runs8": in turn how many are not set and how many are, in 8 bits; 255 means that many and more of them.
        data: the bytes. [bytes]
    """

    code: str
    data: np.ndarray


def pack_pattern(flags: np.ndarray) -> Pattern:
    """The flags in the code that takes the fewest bytes. Shapes: any, boolean; read in C order."""
    flags = flags.reshape(-1)
    if flags.all():
        return Pattern("all", np.zeros(0, np.uint8))
    lengths = _lengths(flags)
    sizes = {"bits": packed_bytes(flags.shape)}
    sizes |= {code: _bytes(numbers, kind) for code, (numbers, kind) in lengths.items()}
    code = min(sizes, key=lambda code: sizes[code])
    return Pattern(code, pack_mask(flags) if code == "bits" else _pack_lengths(*lengths[code]))


def pattern_bytes(flags: np.ndarray) -> int:
    """How many bytes `pack_pattern` takes."""
    flags = flags.reshape(-1)
    if flags.all():
        return 0
    return min(packed_bytes(flags.shape), *(_bytes(numbers, kind) for numbers, kind in _lengths(flags).values()))


def unpack_pattern(pattern: Pattern, size: int) -> np.ndarray:
    """The flags that `pack_pattern` turned into a pattern.

    Arguments:
        size: how many there are; the caller has checked that so many may be.
    Raises: DamagedFile if the pattern is not one of so many flags.
    """
    code, data = pattern
    if code == "all" and len(data) == 0:
        return np.ones(size, bool)
    if code == "bits":
        try:
            return unpack_mask(np.ascontiguousarray(data), (size,))
        except UserError as error:
            raise DamagedFile(error.happened) from None
    if code == RUNS:
        return _unpack_runs(data, size)
    if code not in GAPS or len(data) % GAPS[code].itemsize:
        raise DamagedFile(f"{len(data)} bytes are no pattern in the code {code!r}")
    steps = np.frombuffer(data.tobytes(), GAPS[code])
    full = np.iinfo(GAPS[code]).max
    ends = steps < full
    places = np.cumsum(steps.astype(np.int64) + ends) - 1
    if len(steps) and (not ends[-1] or places[-1] >= size):
        raise DamagedFile(f"a gap leads beyond the {size} places of its pattern")
    flags = np.zeros(size, bool)
    flags[places[ends]] = True
    return flags


def _unpack_runs(data: np.ndarray, size: int) -> np.ndarray:
    ends = data < 255
    borders = np.cumsum(data, dtype=np.int64)[ends]
    if len(data) and (not ends[-1] or borders[-1] > size) or len(borders) % 2:
        raise DamagedFile(f"its runs do not end within the {size} places of their pattern")
    changes = np.bincount(borders, minlength=size + 1)[:size]
    return (np.cumsum(changes) % 2).astype(bool)


def _lengths(flags: np.ndarray) -> dict[str, tuple[np.ndarray, np.dtype]]:
    """For each code of lengths, these and the type that holds one."""
    gaps = np.diff(np.flatnonzero(flags), prepend=-1) - 1
    borders = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    runs = np.diff(borders, prepend=0)
    return {code: (gaps, kind) for code, kind in GAPS.items()} | {RUNS: (runs, GAPS["gaps8"])}


def _bytes(lengths: np.ndarray, kind: np.dtype) -> int:
    return int(len(lengths) + (lengths // np.iinfo(kind).max).sum()) * kind.itemsize


def _pack_lengths(lengths: np.ndarray, kind: np.dtype) -> np.ndarray:
    full = np.iinfo(kind).max
    ends = np.cumsum(lengths // full + 1)
    steps = np.full(ends[-1] if len(ends) else 0, full, kind)
    steps[ends - 1] = lengths % full
    return steps.view(np.uint8)
