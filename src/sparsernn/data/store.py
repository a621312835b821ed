"""Arrays prepared once from a data file and memory-mapped from a folder afterwards."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np

from sparsernn.errors import UserError


class ArrayShape(TypedDict):
    """Type and sizes of a stored array, as the manifest has them."""

    dtype: str
    shape: list[int]


class StoreWriter:
    """A store that is being made: arrays grow row by row and never have to fit in memory."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._open: dict[str, BinaryIO] = {}
        self._arrays: dict[str, ArrayShape] = {}

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add rows to the end of an array; the first call fixes its type and the shape of a row."""
        if name not in self._arrays:
            self._arrays[name] = {"dtype": rows.dtype.str, "shape": [0, *rows.shape[1:]]}
            self._open[name] = open(self.folder / name, "wb")  # noqa: SIM115
        described = self._arrays[name]
        self._open[name].write(np.ascontiguousarray(rows, described["dtype"]).data)
        described["shape"][0] += len(rows)

    def array(self, name: str) -> np.ndarray:
        """What was appended so far, memory-mapped for reading."""
        self._open[name].flush()
        return _mapped(self.folder / name, self._arrays[name])

    def drop(self, name: str) -> None:
        """Delete an array that was only needed on the way."""
        self._open.pop(name).close()
        del self._arrays[name]
        (self.folder / name).unlink()

    def close(self, values: Mapping[str, object] | None = None) -> None:
        """Close the files; with values, write them and the list of arrays as the manifest."""
        for file in self._open.values():
            file.close()
        if values is not None:
            (self.folder / "manifest.json").write_text(json.dumps({"arrays": self._arrays, "values": values}), "utf8")


class Store:
    """The finished arrays and values of a folder.

    Arguments:
        folder: made by `open_or_build`.
    """

    def __init__(self, folder: Path):
        manifest = json.loads((folder / "manifest.json").read_text("utf8"))
        self.values: dict[str, Any] = manifest["values"]
        self._arrays = {name: _mapped(folder / name, described) for name, described in manifest["arrays"].items()}

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._arrays)

    def array(self, name: str) -> np.ndarray:
        """One array, memory-mapped for reading."""
        return self._arrays[name]


def _mapped(path: Path, described: ArrayShape) -> np.ndarray:
    shape, kind = tuple(described["shape"]), np.dtype(described["dtype"])
    if path.stat().st_size != int(np.prod(shape)) * kind.itemsize:
        raise OSError(f"{path} has another size than its manifest says")
    return np.memmap(path, kind, "r", shape=shape) if 0 not in shape else np.empty(shape, kind)


def file_key(path: Path | str, options: Mapping[str, object]) -> str:
    """A name for what `options` make of a file in its present state."""
    state = Path(path).stat()
    facts = [str(Path(path).resolve()), state.st_size, state.st_mtime_ns, options]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def open_or_build(cache: Path, key: str, build: Callable[[StoreWriter], Mapping[str, object]]) -> Store:
    """The store called `key` under `cache`; where absent or damaged it is made by `build`, which returns its values."""
    folder = cache / key
    try:
        return Store(folder)
    except (OSError, KeyError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)
    half = cache / f"{key}.{os.getpid()}.tmp"
    shutil.rmtree(half, ignore_errors=True)
    writer = StoreWriter(half)
    try:
        half.mkdir(parents=True)
        values = build(writer)
        writer.close(values)
        if not folder.exists():
            os.replace(half, folder)
    except OSError as error:
        raise UserError(
            f"The prepared data could not be written to {cache}: {error.strerror or error}",
            "a folder with free space",
            "free some space, or set SPARSERNN_CACHE to another folder",
        ) from error
    finally:
        writer.close()
        shutil.rmtree(half, ignore_errors=True)
    return Store(folder)
