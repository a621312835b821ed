"""Text files and CSV files, plain or gzipped, line by line; what is wrong with one is told by its line."""

import csv
from collections.abc import Callable, Iterator
from io import BufferedReader
from itertools import chain
from pathlib import Path

from sparsernn.data.files import BLOCK_BYTES
from sparsernn.errors import UserError
from sparsernn.reading import Unpacked, readable, regular

LINE_BYTES = 16 << 20
ROWS_AT_ONCE = 8192
DELIMITERS = ",\t;|"

Progress = Callable[[str, int, int], None]


def no_progress(what: str, done: int, total: int) -> None:
    """Report nothing."""


def existing(path: Path | str) -> Path:
    """The path of a file that is there and not empty; anything else is a UserError."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"The file {path} was not found", "a CSV, TSV, Parquet or text file", "check the path")
    with readable(f"The file {path}", expected="a CSV, TSV, Parquet or text file", do="check the path"):
        if regular(path).stat().st_size == 0:
            raise _empty(path)
    return path


def _empty(path: Path) -> UserError:
    return UserError(f"The file {path} is empty", "a header and at least one row", "give a file with rows")


class _Lines:
    """Decoded lines of a file, with the position for progress and errors."""

    def __init__(self, path: Path):
        self.path = path
        with readable(f"The file {path}"):
            self._content = Unpacked(path)
        self._stream = BufferedReader(self._content, BLOCK_BYTES)
        self._number = self._bytes = 0

    @property
    def done(self) -> int:
        """Bytes of the file as stored that were read."""
        return self._content.file.tell()

    def __iter__(self) -> Iterator[str]:
        with self._stream:
            while raw := self._next():
                self._number += 1
                yield self._decoded(raw)
                self._bytes += len(raw)

    def _next(self) -> bytes:
        with readable(f"The file {self.path}", do="get it again"):
            raw = self._stream.readline(LINE_BYTES + 1)
        if len(raw) > LINE_BYTES:
            raise UserError(
                f"Line {self._number + 1} of {self.path} is longer than {LINE_BYTES >> 20} MB",
                "one row a line",
                "check the file for a missing line end, or shorten the text",
            )
        return raw

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8-sig" if self._number == 1 else "utf8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"Line {self._number} of {self.path} is not UTF-8 (byte {self._bytes + error.start} of the file is"
                f" 0x{raw[error.start]:02x})",
                "text in UTF-8",
                "save the file as UTF-8",
            ) from None


def text_lines(path: Path | str, progress: Progress = no_progress, what: str = "reading") -> Iterator[str]:
    """The lines of a UTF-8 text file, plain or gzipped, without their ends."""
    path = existing(path)
    progress(what, 0, path.stat().st_size)
    source = _Lines(path)
    for number, line in enumerate(source):
        if number % ROWS_AT_ONCE == 0:
            progress(what, source.done, path.stat().st_size)
        yield line.rstrip("\r\n")
    progress(what, path.stat().st_size, path.stat().st_size)


class CsvFile:
    """First line and fields of every row that is not blank, one by one.

    Arguments:
        path: the file.
        delimiter: between fields; "" takes the one that the first line has most of.
    """

    def __init__(self, path: Path, delimiter: str = ""):
        csv.field_size_limit(max(csv.field_size_limit(), LINE_BYTES))
        self.path = path
        self._source = _Lines(path)
        lines = iter(self._source)
        first = next(lines, "")
        self._reader = csv.reader(chain([first], lines), delimiter=delimiter or _likely(path, first), strict=True)

    @property
    def done(self) -> int:
        """Bytes of the file as stored that were read."""
        return self._source.done

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            line = self._reader.line_num + 1
            try:
                row = next(self._reader, None)
            except csv.Error as error:
                raise UserError(
                    f"The row that starts in line {line} of {self.path} cannot be read: {error}",
                    "fields quoted as in RFC 4180",
                    "look for a quotation mark that is not closed or not doubled",
                ) from error
            if row is None:
                return
            if row:
                yield line, row

    def header(self) -> list[str]:
        """The fields of the next row, which are names."""
        _, names = next(iter(self), (0, []))
        if not names:
            raise _empty(self.path)
        return [name.strip() for name in names]


def _likely(path: Path, line: str) -> str:
    """The delimiter of a file whose first line this is."""
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return "\t" if suffix in (".tsv", ".tab") else max(DELIMITERS, key=line.count)
