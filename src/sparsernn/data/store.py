"""Arrays prepared once from a data file and memory-mapped from a folder afterwards."""

import fcntl
import hashlib
import json
import math
import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Self, TypedDict

import numpy as np

from sparsernn.data.files import check_unchanged, content_sum, scratch_folder
from sparsernn.durable import LOCK, open_to_write, write_durably
from sparsernn.errors import UserError
from sparsernn.reading import Damaged, json_file, open_regular, readable

MANIFEST, UNLOCKED = "manifest.json", "lock.new"
HELD_BYTES = 64 << 20
"""Of an array that is read once, which is held in memory up to this size."""


class ArrayShape(TypedDict):
    """Type and sizes of a stored array, as the manifest has them."""

    dtype: str
    shape: list[int]


class Manifest(TypedDict):
    """What a store says of itself."""

    arrays: dict[str, ArrayShape]
    values: dict[str, Any]


class StoreWriter:
    """A store that is being made: arrays grow row by row and never have to fit in memory.

    Arguments:
        folder: where it is made; None: arrays are held in memory, large ones in files without a name.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self._open: dict[str, IO[bytes]] = {}
        self._arrays: dict[str, ArrayShape] = {}

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add rows to the end of an array; the first call fixes its type and the shape of a row."""
        if name not in self._arrays:
            self._arrays[name] = {"dtype": rows.dtype.str, "shape": [0, *rows.shape[1:]]}
            self._open[name] = self._new(name)
        described = self._arrays[name]
        self._open[name].write(np.ascontiguousarray(rows, described["dtype"]).data)
        described["shape"][0] += len(rows)

    def _new(self, name: str) -> IO[bytes]:
        if self.folder is None:
            return SpooledTemporaryFile(HELD_BYTES, dir=str(scratch_folder()))
        return open_to_write(self.folder / name, os.O_CREAT | os.O_EXCL)

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._arrays)

    def array(self, name: str) -> np.ndarray:
        """What was appended so far, for reading; memory-mapped unless it is held in memory."""
        file, described = self._open[name], self._arrays[name]
        file.flush()
        if self.folder is not None:
            return _mapped(self.folder / name, described)
        size, kind, shape = file.tell(), described["dtype"], described["shape"]
        if size > HELD_BYTES:
            return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), kind).reshape(shape)
        file.seek(0)
        return np.frombuffer(file.read(), kind).reshape(shape)

    def drop(self, name: str) -> None:
        """Delete an array that was only needed on the way."""
        self._open.pop(name).close()
        del self._arrays[name]
        if self.folder is not None:
            (self.folder / name).unlink()

    def close(self, values: Mapping[str, object] | None = None) -> None:
        """Close the files; with values, write them and the list of arrays as the manifest."""
        for file in self._open.values():
            file.close()
        if values is not None and self.folder is not None:
            write_durably(self.folder / MANIFEST, json.dumps({"arrays": self._arrays, "values": values}).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()


Build = Callable[[StoreWriter], Mapping[str, object]]


class Store:
    """The finished arrays and values of a folder.

    Arguments:
        folder: made by `open_or_build`.
    """

    def __init__(self, folder: Path):
        manifest = json_file(folder / MANIFEST, Manifest, expected="what was prepared of a file")
        self.values: dict[str, Any] = manifest["values"]
        with readable(folder, expected="arrays as its manifest says", do="delete the folder"):
            if any("/" in name for name in manifest["arrays"]):
                raise Damaged("an array of it lies elsewhere")
            self._arrays = {name: _mapped(folder / name, about) for name, about in manifest["arrays"].items()}

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._arrays)

    def array(self, name: str) -> np.ndarray:
        """One array, memory-mapped for reading."""
        return self._arrays[name]


def _mapped(path: Path, described: ArrayShape) -> np.ndarray:
    shape, kind = tuple(described["shape"]), np.dtype(described["dtype"])
    if kind.kind not in "biuf" or min(shape, default=0) < 0:
        raise Damaged(f"{path.name} holds {kind} of shape {shape}")
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size != math.prod(shape) * kind.itemsize:
            raise Damaged(f"{path} has another size than its manifest says")
        return np.memmap(file, kind, "r", shape=shape) if 0 not in shape else np.empty(shape, kind)


def _key(checksum: str, options: Mapping[str, object]) -> str:
    """A name for what `options` make of a file with this content."""
    facts = [checksum, options]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def build_from(path: Path | str, options: Mapping[str, object], cache: Path, build: Build) -> Store:
    """The store of what `options` make of a file, by its content: of another file with the same words it is the same.

    Raises: UserError if the file changes while it is read.
    """
    checksum = content_sum(path)

    def build_unchanged(writer: StoreWriter) -> Mapping[str, object]:
        with blamed_on(path, checksum):
            return build(writer)

    return open_or_build(cache, _key(checksum, options), build_unchanged)


def build_once(path: Path | str, build: Build) -> dict[str, np.ndarray]:
    """The arrays of a file that is read now and not again; nothing of it has a name on the disk.

    Raises: UserError if the file changes while it is read.
    """
    checksum = content_sum(path)
    with one_error(scratch_folder()), StoreWriter() as writer, blamed_on(path, checksum):
        build(writer)
        return {name: writer.array(name) for name in writer.names}


@contextmanager
def blamed_on(path: Path | str, checksum: str) -> Iterator[None]:
    """Whatever goes wrong with a file that is changing is said to come from that."""
    try:
        yield
    except UserError:
        check_unchanged(path, checksum)
        raise
    check_unchanged(path, checksum)


def open_or_build(cache: Path, key: str, build: Build) -> Store:
    """The store called `key` under `cache`; where absent or damaged it is made by `build`, which returns its values.

    Processes and threads may do so at once: each reads a whole store, its own or that of another one.
    """
    folder = cache / key
    try:
        return Store(folder)
    except UserError:
        pass
    with one_error(cache), half_built(cache, key) as half:
        with StoreWriter(half) as writer:
            writer.close(build(writer))
        (half / LOCK).unlink()
        _put_in_place(half, folder)
        return Store(folder)


def _put_in_place(half: Path, folder: Path) -> None:
    """Rename a store that was made, unless another process has made the same one."""
    try:
        half.rename(folder)
    except OSError:
        try:
            Store(folder)
        except UserError:
            damaged = half.with_name(f"{half.name}.damaged")
            folder.rename(damaged)
            half.rename(folder)
            shutil.rmtree(damaged, ignore_errors=True)


@contextmanager
def half_built(cache: Path, key: str) -> Iterator[Path]:
    """A new folder for a store that is being made; what processes that were killed left of theirs is deleted."""
    cache.mkdir(parents=True, exist_ok=True)
    for other in cache.glob("*.tmp"):
        if _is_abandoned(other / LOCK):
            shutil.rmtree(other, ignore_errors=True)
    half = cache / f"{key}.{os.urandom(8).hex()}.tmp"
    half.mkdir()
    lock = os.open(half / UNLOCKED, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (half / UNLOCKED).rename(half / LOCK)  # whoever sees it there sees it locked
        yield half
    finally:
        os.close(lock)
        shutil.rmtree(half, ignore_errors=True)


def _is_abandoned(lock: Path) -> bool:
    try:
        with open_regular(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, Damaged):
        return False
    return True


@contextmanager
def one_error(cache: Path) -> Iterator[None]:
    """Turn a disk that refuses into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The prepared data could not be written to {cache}: {error.strerror or error}",
            "a folder with free space",
            "free some space, or set SPARSERNN_CACHE to another folder",
        ) from error
