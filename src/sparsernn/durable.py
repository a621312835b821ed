"""Writing of files: whole or not at all, durable, never through a link; one error for a disk that refuses."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sparsernn.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REASONS = {errno.ELOOP: "there is a link in its place"} | dict.fromkeys(FULL, "the disk is full")
LOCK = "lock"
SCRATCH, FRESH = ".sparsernn-", 60
"""How the names of folders for a moment begin, and the seconds in which nobody else takes one for left behind."""
UNFINISHED = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")


def path_of(path: Path | str) -> Path:
    """What a user calls a file or a folder. Raises: UserError if nothing can have that name."""
    if not isinstance(path, str | os.PathLike) or "\0" in str(path):
        raise UserError(f"the path is {path!r}", "the name of a file or a folder", "pass a str or a pathlib.Path")
    return Path(path)


def replace(path: Path | str, content: bytes | str) -> None:
    """Write a file under a name that nobody can foresee, sync it and rename it: readers see the old or the new one.

    A link in its place is replaced, not followed. The mode follows the umask.
    Raises: UserError; the old file is then as it was.
    """
    path = path_of(path)
    with one_clear_error("The file", path, "what was there before is as it was"):
        if path.exists() and not path.is_file() and not path.is_symlink():
            raise OSError(errno.EINVAL, "there is something else than a file in its place")
        aside = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}.tmp")
        data = content.encode() if isinstance(content, str) else content
        try:
            if not write_unnamed(aside, data):
                write_durably(aside, data)
            os.replace(aside, path)
            sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise


def write_unnamed(path: Path, content: bytes) -> bool:
    """Like `write_durably`, the file getting its name last, so that a kill before leaves none.

    Returns: False where the file system or the operating system has no files without a name; nothing is written then.
    """
    try:
        descriptor = os.open(path.parent, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
    except (OSError, AttributeError):
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        try:
            # With a folder the call follows the link in /proc, which without one it would link itself.
            os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno(), follow_symlinks=True)
        except OSError:
            return False
    return True


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk. Raises: OSError, if it is there already as well."""
    with open_to_write(path, os.O_CREAT | os.O_EXCL) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def open_to_write(path: Path, flags: int) -> BinaryIO:
    """A regular file, open for writing, and no link to one. Raises: OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "there is something else than a file in its place")
    return os.fdopen(descriptor, "ab" if flags & os.O_APPEND else "wb")


def inner_folder(path: Path) -> Path:
    """A folder within a folder of ours, made if it is absent, and no link to one elsewhere. Raises: OSError."""
    path.mkdir(exist_ok=True)
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return path


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(folder: Path) -> int:
    """Let no other process write into a folder until the descriptor that is returned is closed.

    What a writer that was killed left unfinished is deleted.
    Raises: UserError if another process is writing.
    """
    with one_clear_error("The lock", folder, "nothing was lost"):
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise UserError(
            f"{folder} is in use by another process",
            "one process at a time that writes into a folder",
            "Wait until it has ended, or pass another folder",
        ) from error
    for name in os.listdir(folder):
        if UNFINISHED.fullmatch(name):
            with contextlib.suppress(OSError):
                os.unlink(folder / name)
    return descriptor


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if it is absent, locked inside; see `lock`."""
    if os.environ.get("RANK", "0") != "0":  # of several processes of one training the first alone writes
        yield
        return
    with one_clear_error("The folder", folder, "nothing was lost"):
        folder.mkdir(parents=True, exist_ok=True)
    descriptor = lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def scratch(place: Path | None = None) -> Iterator[Path]:
    """A folder for a moment, within another one or where the system has such. What killed processes left there goes."""
    place = Path(tempfile.gettempdir() if place is None else place)
    with one_clear_error("A temporary file", place, "nothing was lost"):
        _sweep(place)
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=place))
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _sweep(place: Path) -> None:
    """Delete our folders for a moment that no process holds any more."""
    for folder in place.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < FRESH:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def one_clear_error(what: str, folder: Path, intact: str) -> Iterator[None]:
    """Turn a refusal of the operating system to write into a UserError.

    Arguments:
        what: what was being written.
        intact: what can still be relied upon.
    """
    try:
        yield
    except OSError as error:
        described = REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise UserError(
            f"{what} could not be written to {folder}: {described}",
            "a folder that exists, with space, that may be written to",
            f"Make room or pass another place, and run again, with resume where it was begun; {intact}",
        ) from error
