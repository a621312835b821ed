"""Finding, checking and opening the files of a task; nothing is downloaded or extracted."""

import gzip
import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BufferedIOBase, BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO

from sparsernn.data.task import Folder, Task
from sparsernn.errors import UserError

BLOCK_BYTES = 1 << 20
CUT_SHORT = (EOFError, gzip.BadGzipFile)


def data_folder(folder: Folder) -> Path:
    """The folder given, or SPARSERNN_DATA, or ./data."""
    return Path(folder or os.environ.get("SPARSERNN_DATA") or "data")


def cache_folder(folder: Path | str | None = None) -> Path:
    """The folder given, or SPARSERNN_CACHE, or the user's cache folder; it is made."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsernn"
    path = Path(folder or os.environ.get("SPARSERNN_CACHE") or users)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The cache folder {path} cannot be made: {error.strerror}",
            "a folder that can be written",
            "set SPARSERNN_CACHE, or the cache option, to another folder",
        ) from error
    return path


def find_file(task: Task, name: str, folder: Folder) -> Path:
    """The checked path of a task's file, gzipped or plain; a missing or altered one is a UserError."""
    path = locate(name, folder)
    if path is None:
        raise UserError(
            f"The file {name} was not found under {data_folder(folder).resolve()}",
            f"the data set from: {task.origin}",
            f"put it at {data_folder(folder) / name}, or give its folder with --data or SPARSERNN_DATA",
        )
    checksum = task.files.get(name, "")
    if checksum and task.verify:
        _check_sum(path, checksum, task.origin)
    return path


def locate(name: str, folder: Folder) -> Path | None:
    """The first that exists of the file, and its plain or gzipped twin."""
    path = data_folder(folder) / name
    twin = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
    return next((candidate for candidate in (path, twin) if candidate.is_file()), None)


def checksums(task: Task, folder: Folder) -> dict[str, str]:
    """The SHA-256 of the uncompressed content of each of a task's files that is there, by its name."""
    paths = {name: path for name in task.files if (path := locate(name, folder)) is not None}
    paths |= task.other_files(folder)
    states = {name: (path, path.stat()) for name, path in paths.items()}
    return {name: _content_sum(path, state.st_size, state.st_mtime_ns) for name, (path, state) in states.items()}


def open_bytes(path: Path) -> BufferedIOBase:
    """A binary stream of the content, uncompressed where it is gzipped."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path, "rb") if zipped else open(path, "rb")


def open_text(path: Path, encoding: str = "utf8") -> IO[str]:
    """A text stream of the content; line ends are left as they are and only \\n ends a line."""
    return TextIOWrapper(BufferedReader(open_bytes(path), BLOCK_BYTES), encoding, newline="\n")


@contextmanager
def readable(
    what: object, *errors: type[Exception], expected: str = "a complete file", do: str = "get the file again"
) -> Iterator[None]:
    """Turn errors of these kinds within the block, but a UserError, into one that says what cannot be read, and why."""
    try:
        yield
    except UserError:
        raise
    except errors as error:
        raise UserError(f"{what} cannot be read: {error}", expected, do) from error


def lines(path: Path, encoding: str = "utf8") -> Iterator[str]:
    """The lines without their line end, split at \\n only."""
    with readable(f"The file {path}", UnicodeDecodeError, *CUT_SHORT), open_text(path, encoding) as file:
        for line in file:
            yield line.removesuffix("\n")


def members(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of every regular file of a tar archive that ends in `suffix`, one at a time, in stored order."""
    with readable(f"The file {path}", tarfile.TarError, *CUT_SHORT), tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(suffix):
                stream = archive.extractfile(member)
                yield member.name, stream.read() if stream else b""


def _check_sum(path: Path, checksum: str, origin: str) -> None:
    state = path.stat()
    with readable(f"The file {path}", *CUT_SHORT):
        sum_now = _content_sum(path, state.st_size, state.st_mtime_ns)
    if sum_now != checksum:
        raise UserError(
            f"The content of {path} has the SHA-256 {sum_now[:16]}...",
            f"{checksum[:16]}..., the sum of the file from: {origin}",
            "get the file again, or set verify=false to use this one as it is",
        )


@lru_cache(maxsize=256)
def _content_sum(path: Path, size: int, changed: int) -> str:
    """SHA-256 of the uncompressed content; size and time of change are arguments: a changed file is read anew."""
    digest = hashlib.sha256()
    with open_bytes(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
