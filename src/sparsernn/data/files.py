"""Finding, checking and opening the files of a task; nothing is downloaded or extracted."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, Any

from sparsernn.data.task import Folder, Task
from sparsernn.errors import UserError
from sparsernn.reading import Damaged, Unpacked, readable

BLOCK_BYTES = 1 << 20
LARGEST_MEMBER = 1 << 28
SETTLED_NANOSECONDS = 2_000_000_000


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


def scratch_folder() -> Path:
    """Where what is needed only for a moment is written: the cache folder, or that of the system."""
    try:
        folder = cache_folder()
    except UserError:
        return Path(tempfile.gettempdir())
    return folder if os.access(folder, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


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
    return {name: content_sum(path) for name, path in paths.items()}


@contextmanager
def open_bytes(path: Path) -> Iterator[BufferedReader[Any]]:
    """A binary stream of the content, unpacked as `reading.Unpacked` does it. Raises: UserError for damaged content."""
    with readable(f"The file {path}"), BufferedReader(Unpacked(path), BLOCK_BYTES) as stream:
        yield stream


@contextmanager
def open_text(path: Path, encoding: str = "utf8") -> Iterator[IO[str]]:
    """A text stream of the content; line ends are left as they are and only \\n ends a line."""
    with open_bytes(path) as stream:
        yield TextIOWrapper(stream, encoding, newline="\n")


def lines(path: Path, encoding: str = "utf8") -> Iterator[str]:
    """The lines without their line end, split at \\n only."""
    with open_text(path, encoding) as file:
        for line in file:
            yield line.removesuffix("\n")


def members(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of every regular file of a tar archive that ends in `suffix`, one at a time, in stored order."""
    with open_bytes(path) as file, _damage_of_archives(), tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(suffix):
                if member.size > LARGEST_MEMBER:
                    raise Damaged(f"{member.name[:100]!r} in it has {member.size} bytes")
                stream = archive.extractfile(member)
                yield member.name, stream.read() if stream else b""


@contextmanager
def _damage_of_archives() -> Iterator[None]:
    try:
        yield
    except tarfile.TarError as error:
        raise Damaged(str(error)) from error


def _check_sum(path: Path, checksum: str, origin: str) -> None:
    sum_now = content_sum(path)
    if sum_now != checksum:
        raise UserError(
            f"The content of {path} has the SHA-256 {sum_now[:16]}...",
            f"{checksum[:16]}..., the sum of the file from: {origin}",
            "get the file again, or set verify=false to use this one as it is",
        )


def content_sum(path: Path | str) -> str:
    """SHA-256 of the uncompressed content.

    A file is read again unless nothing that the file system says of it has changed since it was read in this process,
    and the last change was then some time ago: a change within a tick of the clock could not be told from none.
    """
    path = Path(path).resolve()
    with readable(f"The file {path}"):
        state = _state(path)
    if path in _SUMS and _SUMS[path][0] == state:
        return _SUMS[path][1]
    settled = max(state[-2:]) + SETTLED_NANOSECONDS < time.time_ns()
    digest = hashlib.sha256()
    with open_bytes(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    if settled and os.path.exists(path) and _state(path) == state:
        _SUMS[path] = state, digest.hexdigest()
    return digest.hexdigest()


def check_unchanged(path: Path | str, before: str) -> None:
    """Raises: UserError unless a file has the content whose sum was taken before it was read."""
    if content_sum(path) != before:
        raise changed(path)


@contextmanager
def unchanged(task: Task, folder: Folder) -> Iterator[dict[str, str]]:
    """The checksums of a task's files. Raises: UserError if they are others after what is done inside."""
    before = checksums(task, folder)
    yield before
    after = checksums(task, folder)
    if before != after:
        raise changed(", ".join(sorted(name for name in {*before, *after} if before.get(name) != after.get(name))))


def changed(path: object) -> UserError:
    """The error for data that somebody writes to while they are read."""
    return UserError(
        f"{path} was changed while it was read", "a file that stays as it is", "try again when nobody writes to it"
    )


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


_SUMS: dict[Path, tuple[tuple[int, ...], str]] = {}
