"""A safetensors file whose tensors are packed where that is smaller: written and read with numpy alone."""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from safetensors import deserialize, safe_open
from safetensors.numpy import save

from sparsernn.reading import (
    FREE_BYTES,
    LARGEST_ARCHIVE,
    MOST_UNPACKED,
    Damaged,
    content,
    open_regular,
    parsed,
    regular,
)
from sparsernn.runtime.packing import FLOATS, Packed, pack, unpack
from sparsernn.runtime.patterns import DamagedFile
from sparsernn.seals import SEAL, check_sealed, check_sealed_content, header_of, sealed

COMPRESSED = b"sparsernn-zlib-1\n"
"""What a compressed file begins with."""
TENSORS = "tensors"  # the entry of the header that says how they are packed


class Typed(NamedTuple):
    """An array and the name of its type, which for types that numpy does not have is an array of their bits."""

    values: np.ndarray
    kind: str


def contents(
    tensors: Mapping[str, Typed], header: Mapping[str, str], smaller: str | None = None, plain: bool = False
) -> tuple[bytes, dict[str, float]]:
    """The bytes of a file, and of each tensor that is not exact its error (see `pack`).

    Arguments:
        header: further entries.
        smaller: a type for matrices; see `pack`.
        plain: pack nothing.
    """
    arrays, entries, errors = {}, {}, {}
    for name, (values, kind) in tensors.items():
        arrays[name] = np.ascontiguousarray(values).reshape(values.shape)
        if values.dtype.name != kind:
            entries[name] = {"type": kind}
        if plain or kind not in FLOATS or not values.size or not values.ndim:
            continue
        about, data = pack(values, kind, smaller)
        # In the header this stands as text within text.
        if len(data) + len(json.dumps(_json({name: about}))) < values.nbytes:
            arrays[name], entries[name] = data, about
            if "error" in about:
                errors[name] = float(str(about["error"]))
    return sealed(save(arrays, {**header, TENSORS: _json(entries)})), errors


IN_ORDER = ("BOOL", "U8", "I8", "I16", "U16", "F16", "I32", "U32", "F32", "C64", "F64", "I64", "U64")
"""The types that numpy has; a file holds tensors of the last of these first."""


def plain_bytes(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]], header: Mapping[str, str]) -> int:
    """How long a file of such arrays is if nothing is packed, without making it. arrays: name -> (shape, type)"""
    entries: dict[str, object] = {"__metadata__": {**header, TENSORS: "{}", SEAL: "0" * 64}}
    end = 0
    letters = {name: _letter(kind) for name, (_, kind) in arrays.items()}
    for name, letter in sorted(letters.items(), key=lambda entry: (-IN_ORDER.index(entry[1]), entry[0])):
        shape, kind = arrays[name]
        start, end = end, end + math.prod(shape) * kind.itemsize
        entries[name] = {"dtype": letter, "shape": shape, "data_offsets": [start, end]}
    length = len(json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8 + end


def _letter(kind: np.dtype) -> str:
    """What safetensors calls a type."""
    return "BOOL" if kind == np.bool_ else f"{kind.kind.upper()}{8 * kind.itemsize}"


def compressed(content: bytes) -> bytes:
    """The content as it is stored: compressed where that is a tenth shorter."""
    shorter = COMPRESSED + zlib.compress(content, 9)
    return shorter if 10 * len(shorter) <= 9 * len(content) else content


def uncompressed(path: Path | str) -> bytes | None:
    """The content of a compressed file; None of one that is not. Raises: OSError or Damaged."""
    with open_regular(path) as file:
        if file.read(len(COMPRESSED)) != COMPRESSED:
            return None
    data = content(path, LARGEST_ARCHIVE)
    most = max(FREE_BYTES, MOST_UNPACKED * len(data))
    unpacker = zlib.decompressobj()
    whole = unpacker.decompress(memoryview(data)[len(COMPRESSED) :], most)
    if not unpacker.eof or unpacker.unused_data:
        raise Damaged("its end is missing, or it unpacks to more than it may")
    return whole


class _Slice(NamedTuple):
    """A tensor of `_Content`, before it is read."""

    shape: list[int]
    kind: str

    def get_shape(self) -> list[int]:
        return self.shape

    def get_dtype(self) -> str:
        return self.kind


class _Content:
    """The content of a safetensors file in memory, with what of `safe_open` is used here."""

    def __init__(self, content: bytes):
        self._content = content
        self._tensors = {name: values for name, values in deserialize(content)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def metadata(self) -> dict[str, str]:
        return header_of(self._content).get("__metadata__", {})

    def keys(self) -> list[str]:
        return list(self._tensors)

    def get_slice(self, name: str) -> _Slice:
        return _Slice(list(self._tensors[name]["shape"]), self._tensors[name]["dtype"])

    def get_tensor(self, name: str) -> np.ndarray:
        entry = self._tensors[name]
        kind = entry["dtype"]
        if kind not in IN_ORDER:
            raise DamagedFile(f"{name} is of type {kind}"[:200])
        letter = {"B": "bool", "U": "u", "I": "i", "F": "f", "C": "c"}[kind[0]]
        dtype = np.dtype(np.bool_) if kind == "BOOL" else np.dtype(f"<{letter}{int(kind[1:]) // 8}")
        return np.frombuffer(entry["data"], dtype).reshape(entry["shape"])


class PackedFile:
    """A file that is open for reading, or the bytes of one.

    Attributes:
        header: its entries. names: of its tensors.
    Raises: OSError, SafetensorError or ValueError if it is none.
    """

    def __init__(self, path: Path | str | bytes):
        self.path = None if isinstance(path, bytes) else regular(path)
        self._content = path if isinstance(path, bytes) else uncompressed(path)
        self._file = safe_open(str(path), framework="np") if self._content is None else _Content(self._content)
        self.header: dict[str, str] = self._file.metadata() or {}
        self.names = list(self._file.keys())
        self._entries = parsed(self.header.get(TENSORS, "{}"))
        if not isinstance(self._entries, dict) or not all(isinstance(entry, dict) for entry in self._entries.values()):
            raise DamagedFile("its header does not say how tensors are packed")

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._file.__exit__(kind, error, trace)

    def check(self) -> None:
        """Raises: Damaged if the file is not as it was written."""
        if self._content is not None:
            check_sealed_content(self._content)
        elif self.path is not None:
            check_sealed(self.path)

    @property
    def errors(self) -> dict[str, float]:
        """Of each tensor that is not exact, its error."""
        errors = {name: entry["error"] for name, entry in self._entries.items() if "error" in entry}
        return {name: float(error) for name, error in errors.items()}

    def read(self, name: str, shape: tuple[int, ...], kind: str, width: int) -> np.ndarray:
        """One tensor, if it is what is expected; nothing larger is read or made.

        Arguments:
            kind, width: its type, and bytes of one number.
        Raises: ValueError if it is another tensor, DamagedFile if its bytes are none.
        """
        entry, stored = self._entries.get(name, {"type": kind}), self._file.get_slice(name)
        if "shape" not in entry:
            if list(stored.get_shape()) != list(shape) or entry.get("type") != kind:
                raise ValueError(f"{name} is {tuple(shape)} {kind} in the model")
            values = self._file.get_tensor(name)
            if values.itemsize != width or (name not in self._entries and values.dtype.name != kind):
                raise ValueError(f"{name} is {tuple(shape)} {kind} in the model")
            return values
        sizes = stored.get_shape()
        if len(sizes) != 1 or stored.get_dtype() != "U8" or sizes[0] >= math.prod(shape) * width:
            raise ValueError(f"{name} takes more bytes than {tuple(shape)} {kind} in the model")
        try:
            return unpack(Packed(entry, self._file.get_tensor(name)), shape, kind)
        except DamagedFile as error:
            raise DamagedFile(f"{name}: {error}") from None


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
