"""Text files, CSV files and files of JSON records, plain or packed, row by row; what is wrong is told by its line."""

import csv
import json
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from sparsernn.data.spelling import NATURAL, NOT_DECODED, Spelling, dialect, look, opened
from sparsernn.errors import UserError, reason
from sparsernn.reading import LARGEST_LINES, Damaged, readable, regular

AROUND_NAMES = " \t\r\n\u00a0\u200b\u2060\ufeff"
LINE_BYTES = 16 << 20
ROWS_AT_ONCE = 8192
RECORDS_LOOKED_AT = 1000
MOST_NESTED = 8
LAST_LINES = 100

Progress = Callable[[str, int, int], None]


def no_progress(what: str, done: int, total: int) -> None:
    """Report nothing."""


def existing(path: Path | str) -> Path:
    """The path of a file that is there and not empty; anything else is a UserError."""
    path = Path(path)
    expected = "a CSV, TSV, Parquet, JSON or text file"
    if not path.exists():
        raise UserError(f"The file {path} was not found", expected, "check the path")
    with readable(f"The file {path}", expected=expected, do="check the path"):
        if regular(path).stat().st_size == 0:
            raise _empty(path)
    return path


def _empty(path: Path) -> UserError:
    return UserError(f"The file {path} is empty", "a header and at least one row", "give a file with rows")


class _Lines:
    """Decoded lines of a file, with the position for progress and errors."""

    def __init__(self, path: Path, encoding: str):
        self.path = path
        with readable(f"The file {path}"):
            view = look(path, encoding)
            self._encoding, self.remarks = view.encoding, [view.remark] if view.remark else []
            self._stream = opened(path, view.encoding, view.errors, view.newline)
        self._raw: Any = self._stream.buffer
        self._number = 0

    @property
    def done(self) -> int:
        """Bytes of the file as stored that were read."""
        return self._raw.raw.file.tell()

    def __iter__(self) -> Iterator[str]:
        with readable(f"The file {self.path}", do="get it again"), self._stream:
            while line := self._next():
                self._number += 1
                if not line.isascii() and NOT_DECODED.search(line):
                    raise self._not_decoded(line)
                yield line if self._number > 1 else line.removeprefix("\ufeff")

    def _next(self) -> str:
        try:
            line = self._stream.readline(LINE_BYTES + 1)
        except UnicodeDecodeError:
            raise self._not_decoded("") from None
        if len(line) > LINE_BYTES:
            raise UserError(
                f"Line {self._number + 1} of {self.path} is longer than {LINE_BYTES >> 20} MB",
                "one row a line",
                "check the file for a missing line end, or shorten the text",
            )
        return line

    def _not_decoded(self, line: str) -> UserError:
        wrong = NOT_DECODED.search(line)
        which = f" (byte 0x{ord(wrong[0]) - 0xDC00:02x})" if wrong else ""
        name = "UTF-8" if self._encoding.startswith("utf-8") else self._encoding
        return UserError(
            f"Line {max(1, self._number)} of {self.path} is not {name}{which}",
            "text in one encoding",
            f"pass its --encoding, such as cp1252, or {self._encoding}:replace for a mark in its place",
        )


def text_lines(
    path: Path | str, progress: Progress = no_progress, what: str = "reading", encoding: str = ""
) -> Iterator[str]:
    """The lines of a text file, plain or packed, without their ends."""
    path = existing(path)
    progress(what, 0, path.stat().st_size)
    source = _Lines(path, encoding)
    for number, line in enumerate(source):
        if number % ROWS_AT_ONCE == 0:
            progress(what, source.done, path.stat().st_size)
        yield line.rstrip("\r\n")
    progress(what, path.stat().st_size, path.stat().st_size)


class RowFile(Protocol):
    """Names of columns, and rows one by one."""

    names: list[str]
    remarks: list[str]

    @property
    def done(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[int, list[Any]]]: ...


def row_file(path: Path, spelling: Spelling) -> RowFile:
    """The rows of a text file, which are JSON records or cut by a delimiter."""
    with readable(f"The file {path}"):
        view = look(path, spelling.encoding)
    first = next((line.lstrip() for line in view.sample if line.strip()), "")
    return JsonFile(path, spelling) if first[:1] in ("{", "[") and _is_json(first) else CsvFile(path, spelling)


def _is_json(line: str) -> bool:
    """Whether a line begins records of JSON: a whole object, or the start of one or of a list."""
    try:
        return isinstance(json.loads(line), dict | list)
    except ValueError:
        return line.strip() in ("{", "[") or line.startswith(("[{", '{"'))


class CsvFile:
    """Names and fields of every row that is not blank, one by one.

    Where the table has one column, a blank line is a row with an empty field, unless nothing follows it.

    Arguments:
        path: the file.
        spelling: how it is written, as far as its user says.
    """

    def __init__(self, path: Path, spelling: Spelling = NATURAL):
        csv.field_size_limit(max(csv.field_size_limit(), LINE_BYTES))
        self.path = path
        with readable(f"The file {path}"):
            manner = dialect(path, spelling)
        self._source = _Lines(path, spelling.encoding)
        self._skipped, self._delimiter = manner.skipped, manner.delimiter
        self._last: list[str] = []
        self.names: list[str] = []
        self._reader = manner.reader(self._kept(islice(iter(self._source), self._skipped, None)))
        self.remarks = self._source.remarks
        if manner.quotes != "doubled" and not spelling.quotes:
            self.remarks.append(f"quotes are read as {manner.quotes}, by the first rows; else pass --quotes doubled")
        first = next(((line, row) for line, row in self._rows() if any(map(str.strip, row))), None)
        if first is None:
            raise _empty(path)
        self.names = [""] * manner.numbered + [name.strip(AROUND_NAMES) for name in first[1]]
        if manner.titles:
            self.remarks.append(f"the names of the columns are in line {first[0]}, after a title")
        self._first = []
        if not spelling.header:
            self.names, self._first = [str(number + 1) for number in range(len(first[1]))], [first]

    @property
    def done(self) -> int:
        """Bytes of the file as stored that were read."""
        return self._source.done

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        blank: list[int] = []
        for line, row in chain(self._first, self._rows()):
            if row:
                yield from ((place, [""]) for place in blank)
                blank = []
                yield line, row
            elif len(self.names) == 1:
                blank.append(line)

    def _kept(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines, of which those of the row that is being read are kept."""
        for line in lines:
            if len(self._last) < LAST_LINES:
                self._last.append(line)
            yield line

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            line = self._reader.line_num + 1 + self._skipped
            self._last.clear()
            try:
                row = next(self._reader, None)
            except csv.Error as error:
                if str(error).startswith("unexpected end") and self._cut_off():
                    self.remarks.append(f"the file ends within the row that starts in line {line}, which is left out")
                    return
                raise UserError(
                    f"The row that starts in line {line} of {self.path} cannot be read: {error}",
                    "fields quoted as in RFC 4180",
                    "look for a quotation mark that is not closed or not doubled, or pass --quotes none or backslash",
                ) from error
            if row is None:
                return
            yield line, row

    def _cut_off(self) -> bool:
        """Whether the row in which the file ends is the last one only, and no others are swallowed by its quotes."""
        rows = sum(line.count(self._delimiter) >= len(self.names) - 1 for line in self._last[1:])
        return len(self._last) < LAST_LINES and rows <= (len(self.names) == 1)


class JsonFile:
    """Names and values of every record: one JSON object a line, or a list of objects.

    What stands in an object within a record has the names of both, as `meta.stars`.

    Arguments: as `CsvFile`.
    """

    def __init__(self, path: Path, spelling: Spelling = NATURAL):
        self.path = path
        self._source = _Lines(path, spelling.encoding)
        self.remarks = self._source.remarks
        self._records = ((place, _flat(record)) for place, record in self._read())
        self._begun = list(islice(self._records, RECORDS_LOOKED_AT))
        self.names = list(dict.fromkeys(name for _, record in self._begun for name in record))
        if not self._begun:
            raise _empty(path)

    @property
    def done(self) -> int:
        """Bytes of the file as stored that were read."""
        return self._source.done

    def __iter__(self) -> Iterator[tuple[int, list[Any]]]:
        for place, record in chain(self._begun, self._records):
            yield place, [_plain(record.get(name)) for name in self.names]

    def _read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        lines = ((number, line) for number, line in enumerate(self._source, 1) if line.strip())
        first = next(lines, (0, ""))
        if _whole_object(first[1]):
            second = next(lines, None)
            if second is None and (records := _turned(json.loads(first[1]))):
                yield from enumerate(records, 1)
                return
            for number, line in chain([first], [second] if second else [], lines):
                yield number, self._object(line, f"line {number} of {self.path}")
            return
        text, size = [first[1]], 0
        for _, line in lines:
            text.append(line)
            size += len(line)
            if size > LARGEST_LINES:
                raise UserError(f"{self.path} is one JSON text of more than 128 MB", "one object a line", "convert it")
        with readable(f"The file {self.path}", expected="one JSON object a line, or a list of objects"):
            records = json.loads("".join(text))
            records = _turned(records) or records
            if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
                raise Damaged("it is no list of objects")
        yield from enumerate(records, 1)

    def _object(self, line: str, where: str) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} is not JSON: {reason(error)}", "one object a line", "correct the line") from None
        if not isinstance(record, dict):
            raise UserError(f"{where} holds no object", "one object a line", "correct the line")
        return record


def _turned(columns: object) -> list[dict[str, Any]]:
    """The records of an object with a list (or an object of numbered values) a column, or with one list of records."""
    if not isinstance(columns, dict) or not columns:
        return []
    values = [list(value.values()) if isinstance(value, dict) else value for value in columns.values()]
    if len(values) == 1 and isinstance(values[0], list) and all(isinstance(one, dict) for one in values[0]):
        return values[0]
    if not all(isinstance(value, list) for value in values) or len({len(value) for value in values}) != 1:
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _flat(record: dict[str, Any], within: str = "", depth: int = 0) -> dict[str, Any]:
    """A record without objects in it, but for empty ones and those at a great depth."""
    values: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict) and value and depth < MOST_NESTED:
            values |= _flat(value, f"{within}{name}.", depth + 1)
        else:
            values[f"{within}{name}"] = value
    return values


def _whole_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _plain(value: Any) -> Any:
    """A value as JSON spells it where Python spells it otherwise."""
    return json.dumps(value) if isinstance(value, bool | dict | list) else value
