"""Reading of files that others may have made: the one layer that every reader of the package goes through.

Only regular files are opened, and only up to a size; what a file says of itself (sizes, shapes, depth) is compared with
what it can hold before memory is taken; and whatever is wrong with it becomes one `UserError`.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import numpy as np
from safetensors import SafetensorError

from sparsernn import typed
from sparsernn.errors import UserError, reason

try:
    from lzma import LZMAError
except ImportError:  # A Python that was built without the library has no such files to read.
    LZMAError = EOFError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

Kind = TypeVar("Kind")
DAMAGE = (
    OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, MemoryError, RuntimeError,
    struct.error, zlib.error, LZMAError, zipfile.BadZipFile, SafetensorError,
)  # fmt: skip
"""What the content of a file can make a parser raise."""
LARGEST_JSON = 32 << 20
LARGEST_LINES = 128 << 20
LARGEST_ARCHIVE = 1 << 31
DEEPEST = 100
LARGEST = 1 << 63
FREE_NUMBERS = 1 << 24
FREE_BYTES, MOST_UNPACKED = 1 << 28, 200
ZIP = b"PK\x03\x04"
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zX": "lzma", b"\x28\xb5\x2f\xfd": "compression.zstd"}
"""How a packed file begins, and the module that unpacks it; the last one is there from Python 3.14 on."""
NUMBERS_A_BYTE = 256
SURROGATE = re.compile(r"[\ud800-\udfff]")
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Damaged(ValueError):
    """Content that no function of this package has written."""


@contextmanager
def readable(
    what: object, *more: type[Exception], expected: str = "a complete file", do: str = "get the file again"
) -> Iterator[None]:
    """Turn whatever the content of a file makes a parser raise into one UserError that says what is wrong.

    Arguments:
        more: errors of a parser that are not among `DAMAGE`.
    """
    try:
        yield
    except UserError:
        raise
    except (*DAMAGE, *more) as error:
        raise UserError(f"{what} cannot be read: {reason(error)}", expected, do) from error


def open_regular(path: Path | str, largest: int | None = None) -> BinaryIO:
    """A regular file, open for reading; a folder, pipe or device is refused without waiting for it.

    Raises: OSError or Damaged.
    """
    _check(os.stat(path), largest)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor), largest)
    except Damaged:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check(status: os.stat_result, largest: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Damaged("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is a pipe or a device, not a file")
    if largest is not None and status.st_size > largest:
        raise Damaged(f"its {status.st_size} bytes are more than the {largest} that such a file may have")


class Unpacked(io.RawIOBase):
    """The content of a regular file, unpacked where it is gzip, bz2, xz or zstd; what unpacks without end is refused.

    Arguments:
        archives: unpack the one file in a zip archive as well.
    Raises: OSError or Damaged.
    """

    def __init__(self, path: Path | str, archives: bool = False):
        self.file = open_regular(path)
        first = self.file.read(len(ZIP))
        self.file.seek(0)
        try:
            self._stream = _only_member(self.file, path) if archives and first == ZIP else self._unpacking(first)
        except BaseException:
            self.file.close()
            raise
        self._bytes = 0

    def _unpacking(self, first: bytes) -> IO[bytes]:
        for beginning, name in PACKED.items():
            if first.startswith(beginning):
                try:
                    return cast(IO[bytes], importlib.import_module(name).open(self.file))
                except ImportError as error:
                    raise Damaged(
                        f"it is packed by {name.rpartition('.')[2]}, which this Python cannot read"
                    ) from error
        return self.file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill a buffer."""
        with memoryview(buffer) as view:
            block = self._stream.read(len(view))
            view[: len(block)] = block
        self._bytes += len(block)
        if self._bytes > FREE_BYTES and self._bytes > MOST_UNPACKED * self.file.tell():
            raise Damaged(f"it unpacks to more than {MOST_UNPACKED} times its size")
        return len(block)

    def close(self) -> None:
        self._stream.close()
        self.file.close()
        super().close()


def _only_member(file: BinaryIO, path: Path | str) -> IO[bytes]:
    """The one file in a zip archive, beside folders and what macOS puts there."""
    archive = zipfile.ZipFile(file)
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    names = [name for name in names if not name.startswith(("__MACOSX/", ".DS_Store"))]
    if "[Content_Types].xml" in names:
        raise Damaged("it is a workbook or a document of an office program, to be saved as CSV there")
    if len(names) != 1:
        listed = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
        raise UserError(
            f"{path} is a zip archive of {len(names)} files{': ' * bool(names)}{listed}",
            "an archive of one file",
            "unpack it, and give one of its files",
        )
    return archive.open(names[0])


def regular(path: Path | str) -> Path:
    """The path of a file that a library will open by its name, if it is a regular one. Raises: OSError or Damaged."""
    open_regular(path).close()
    return Path(path)


def content(path: Path | str, largest: int = LARGEST_JSON) -> bytes:
    """All bytes of a regular file. Raises: OSError or Damaged."""
    with open_regular(path, largest) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1)  # Python takes memory for all that is asked for, at once
        data += file.read(largest - size) if len(data) > size else b""
    if len(data) > largest:
        raise Damaged(f"it is still growing beyond the {largest} bytes that such a file may have")
    return data


def parsed(text: str | bytes, constant: Callable[[str], object] | None = None) -> Any:
    """The values of a JSON text, which is UTF-8, has finite numbers only and no lone surrogates, and is not deep.

    Arguments:
        constant: makes something else of NaN and Infinity, which are refused.
    Raises: ValueError or RecursionError.
    """
    values = json.loads(text.decode() if isinstance(text, bytes) else text, parse_constant=constant or _refuse_constant)
    waiting = [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise RecursionError
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for part in value.values()]
            waiting += [(name, depth + 1) for name in value]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, str):
            if SURROGATE.search(value):
                raise Damaged("it holds half of a character")
        elif isinstance(value, float) and not math.isfinite(value) or isinstance(value, int) and abs(value) > LARGEST:
            raise Damaged("it holds a number that is too large")
    return values


def parsed_as(text: str | bytes, kind: type[Kind], constant: Callable[[str], object] | None = None) -> Kind:
    """The values of a JSON text, of a type: a dataclass or TypedDict is a schema, checked with all that is in it.

    Raises: ValueError or RecursionError.
    """
    try:
        return cast(Kind, typed.checked(parsed(text, constant), kind, "it"))
    except UserError as error:
        raise Damaged(error.happened) from None


def json_file(path: Path | str, kind: type[Kind] = dict, expected: str = "JSON as a run writes it") -> Kind:
    """The values in a JSON file; see `parsed_as`.

    Raises: UserError for anything that is wrong with the file.
    """
    with readable(path, expected=expected, do="restore the file, or make it again"):
        return parsed_as(content(path), kind)


def json_lines(path: Path | str, whole: bool = False) -> list[dict[str, Any]]:
    """The objects in a file with one a line.

    Arguments:
        whole: refuse a last line that was cut short, which is left out otherwise.
    Raises: UserError.
    """
    expected, do = "one JSON object a line, as a run writes them", "restore the file, or resume the run"
    records = []
    with readable(path, expected=expected, do=do):
        lines = content(path, LARGEST_LINES).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        with readable(path, expected=expected, do=do):
            try:
                records.append(parsed_as(line, dict, lambda name: None))
            except (ValueError, RecursionError) as error:
                if whole or number < len(lines):
                    raise Damaged(f"line {number}: {reason(error)}") from error
    return records


def arrays(path: Path | str, kinds: Sequence[str], unpacked: int = 1) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; nothing in it is ever executed.

    Arguments:
        kinds: types that they may have.
        unpacked: how many times as large as the file they may be: 1 where nothing is compressed.
    Raises: one of `DAMAGE`.
    """
    made = {}
    with open_regular(path, LARGEST_ARCHIVE) as file, zipfile.ZipFile(file) as archive:
        room = unpacked * os.fstat(file.fileno()).st_size
        for entry in archive.infolist():
            room -= entry.file_size
            if room < 0:
                raise Damaged("it unpacks to more bytes than it may")
            made[entry.filename.removesuffix(".npy")] = _array(archive, entry, kinds)
    return made


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, kinds: Sequence[str]) -> np.ndarray:
    with archive.open(entry) as member:
        header = HEADERS.get(np.lib.format.read_magic(member))
        if header is None:
            raise Damaged(f"{entry.filename} is of another version of numpy's format")
        shape, fortran, kind = header(member)
        if kind.str not in kinds:
            raise Damaged(f"{entry.filename} holds numbers of type {kind.str}")
        size = math.prod(shape) * kind.itemsize
        data = member.read(min(size, entry.file_size) + 1)
    if len(data) != size or min(shape, default=0) < 0:
        raise Damaged(f"{entry.filename} does not hold the {shape} numbers that it speaks of")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def tensors(path: Path | str) -> tuple[dict[str, str], dict[str, Any]]:
    """What a safetensors file says of itself, and its tensors by name, as torch's.

    Raises: one of `DAMAGE`.
    """
    from safetensors import safe_open

    with safe_open(str(regular(path)), framework="pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}


def check_room(numbers: int, path: Path | str) -> None:
    """Refuse to make a network whose numbers a file cannot hold, however sparsely it is packed.

    Raises: UserError.
    """
    size = regular(path).stat().st_size
    if numbers > FREE_NUMBERS + NUMBERS_A_BYTE * size:
        raise UserError(
            f"{path} has {size:,} bytes and its network would have {numbers:,} numbers",
            f"at most {NUMBERS_A_BYTE} numbers a byte beyond {FREE_NUMBERS:,}",
            "use another copy of the run: a file of it was changed or replaced",
        )


def check_shapes(path: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a safetensors file whose tensors are others than expected, before any of them is read.

    Raises: UserError.
    """
    from safetensors import safe_open

    with readable(path, expected="the weights of the network that the run describes", do="use another copy of the run"):
        with safe_open(str(regular(path)), framework="np") as file:
            stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        if stored != shapes:
            names = sorted(name for name in {*stored, *shapes} if stored.get(name) != shapes.get(name))
            raise Damaged(f"its tensors do not fit the network: {', '.join(names)[:150]}")


def _refuse_constant(name: str) -> None:
    raise Damaged(f"{name} is not JSON")
