"""Files that survive a power cut: written aside, synced, renamed; and the one error for a disk that refuses."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sparsernn.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, sync it and rename it to `path`: readers see the old or the new one."""
    aside = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        write(aside)
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


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
        reason = "the disk is full" if error.errno in FULL else (error.strerror or str(error)).lower()
        raise UserError(
            f"{what} could not be written to {folder}: {reason}",
            "a folder with space that may be written to",
            f"Make room and run again with resume; {intact}",
        ) from error
