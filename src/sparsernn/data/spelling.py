"""How a text file spells a table: its encoding, line ends, delimiter and quotation marks, as told or as seen."""

import codecs
import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

from sparsernn.data.files import BLOCK_BYTES
from sparsernn.errors import UserError
from sparsernn.reading import Damaged, Unpacked, readable

SAMPLE_CHARACTERS = 1 << 18
LONGEST_FIELD_LINES = 500
MOST_TITLES = 20
DELIMITERS = "\t;|,"
NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}
QUOTES: dict[str, dict[str, Any]] = {
    "doubled": {"strict": True},
    "backslash": {"strict": True, "escapechar": "\\"},
    "single": {"strict": True, "quotechar": "'"},
    "none": {"quoting": csv.QUOTE_NONE},
}
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
FOREIGN = {
    b"arrow1": ("a Feather (Arrow) file", "write it as Parquet"),
    b"\xd0\xcf\x11\xe0": ("a workbook or a document of an office program", "save it as CSV there"),
    b"sqlite format 3": ("a database of SQLite", "export the table as CSV"),
    b"\x89hdf": ("an HDF5 file", "write the table as Parquet or CSV"),
    b"\x80\x04\x95": ("a pickle of Python, which is not opened", "write the table as Parquet or CSV"),
    b"%pdf": ("a PDF file", "export the table as CSV"),
    b"<!doctype html": ("a web page, as a download that failed leaves", "get the file again"),
    b"<html": ("a web page, as a download that failed leaves", "get the file again"),
    b"@relation": ("an ARFF file", "take away the lines up to @data and pass --no-header, or convert it to CSV"),
    b"@problemname": ("a ts file of labelled series", "convert it to CSV, with a row a series"),
}
"""How files of other kinds begin, in lower case; what they are, and what to do."""
LONG_DELIMITER = "\x1f"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan", re.IGNORECASE).fullmatch
NOT_DECODED = re.compile(r"[\udc80-\udcff]")
MOST_EVEN = 0.99
"""Share of rows as wide as the header from which on a dialect fits."""
MOST_FOREIGN = 0.2
"""Share of bytes beyond ASCII up to which a file that is not UTF-8 is taken for a Western European one."""


@dataclass(frozen=True)
class Spelling:
    """How a file spells what it holds; what is empty is seen in the file itself.

    Arguments:
        encoding: of the text, such as cp1252; with ":replace" after it, what cannot be read becomes a mark.
        delimiter: between fields.
        quotes: how a quotation mark within quoted fields is written: "doubled" or "backslash"; "single" where fields
            stand in single ones, or "none" where marks are letters as any other.
        header: whether the first row has the names of the columns; else they are 1, 2, 3 and so on.
        decimal: the decimal mark, "." or ",".
        date_format: as for `datetime.strptime`, or "dayfirst" or "monthfirst" for dates such as 10/03/2004.
    """

    encoding: str = ""
    delimiter: str = ""
    quotes: str = ""
    header: bool = True
    decimal: str = ""
    date_format: str = ""

    def fault(self) -> UserError | None:
        """What is wrong with one of them."""
        name, _, errors = self.encoding.partition(":")
        if not _is_encoding(name or "utf8") or errors not in ("", "replace"):
            return UserError(
                f"--encoding is {self.encoding!r}", "a name such as utf-8, cp1252 or utf-8:replace", "correct it"
            )
        if self.quotes not in ("", *QUOTES):
            return UserError(f"--quotes is {self.quotes!r}", f"one of {', '.join(QUOTES)}", "choose one of these")
        if self.decimal not in ("", ".", ","):
            return UserError(f"--decimal is {self.decimal!r}", "a point or a comma", "pass --decimal , or leave it out")
        return None


def _is_encoding(name: str) -> bool:
    try:
        b"a".decode(name)
    except UnicodeError:
        return True
    except LookupError:
        return False
    return True


NATURAL = Spelling()


class Look(NamedTuple):
    """What was seen of a text file.

    Attributes:
        encoding, errors, newline: as `open` takes them.
        sample: its beginning, in whole lines; whole: whether that is all of it.
        remark: what its user should know; empty if nothing.
    """

    encoding: str
    errors: str
    newline: str
    sample: tuple[str, ...]
    whole: bool
    remark: str


def look(path: Path, encoding: str = "") -> Look:
    """Look at a text file; one that has not changed is not read again.

    Raises: UserError for a file that is no text, or whose encoding cannot be told.
    """
    with readable(f"The file {path}"):
        status = os.stat(path)
        key = (str(path.resolve()), encoding, status.st_size, status.st_mtime_ns, status.st_ino)
        for seen, view in _LOOKS[:]:
            if seen == key:
                return view
        view = _looked(path, encoding)
    _LOOKS[:] = [*_LOOKS[-3:], (key, view)]
    return view


_LOOKS: list[tuple[tuple[object, ...], Look]] = []


def _looked(path: Path, encoding: str) -> Look:
    name, _, errors = encoding.partition(":")
    remark = ""
    if not name:
        name, remark = _encoding_of(path)
    errors = errors or ("strict" if name.lower().startswith(("utf-16", "utf-32")) else "surrogateescape")
    with opened(path, name, errors, "") as stream:
        try:
            text = stream.read(SAMPLE_CHARACTERS).removeprefix("\ufeff")
            rest = stream.read(1)
        except UnicodeDecodeError as error:
            raise Damaged(f"it is not {name}: pass the right --encoding, or {name}:replace") from error
    newline = "\r" if "\r" in text and "\n" not in text else "\n"
    lines = _lines(text, newline)
    return Look(name, errors, newline, tuple(lines[:-1] if rest and len(lines) > 1 else lines), not rest, remark)


def _lines(text: str, newline: str) -> list[str]:
    """The lines of a text with their ends."""
    return [line + newline for line in text.removesuffix(newline).split(newline)] if text else []


def opened(path: Path, encoding: str, errors: str, newline: str) -> TextIOWrapper:
    """The text of a file, unpacked where it is packed. Raises: OSError or Damaged."""
    return TextIOWrapper(BufferedReader(Unpacked(path, archives=True), BLOCK_BYTES), encoding, errors, newline)


def _encoding_of(path: Path) -> tuple[str, str]:
    """The encoding of a file, and what is to be said of it; all of it is read."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    foreign = wrong = total = 0
    zeros, undefined, first = False, False, True
    with BufferedReader(Unpacked(path, archives=True), BLOCK_BYTES) as stream:
        while block := stream.read(BLOCK_BYTES):
            if first:
                _refuse_foreign(block, path)
                if name := _marked(block, path):
                    return name, ""
            first = False
            text = decoder.decode(block)
            total += len(block)
            zeros |= b"\0" in block
            if not text.isascii():
                bad = len(NOT_DECODED.findall(text))
                foreign += len(text) - len(text.encode("ascii", "ignore")) - bad
                wrong += bad
                undefined |= bool(bad and re.search(rb"[\x81\x8d\x8f\x90\x9d]", block))
    wrong += len(decoder.decode(b"", True))
    if wrong <= foreign:
        return "utf-8", ""
    if zeros:
        raise Damaged("it holds zero bytes, as no text does")
    if wrong > MOST_FOREIGN * total:
        raise UserError(
            f"{path} is not UTF-8, and most of its letters are beyond ASCII",
            "UTF-8, or the name of its encoding",
            "pass --encoding, such as gb18030, cp1251, shift_jis or euc_kr",
        )
    name = "latin-1" if undefined else "cp1252"
    return name, f"the file is not UTF-8 and is read as {name}; if letters are wrong, pass --encoding"


def _refuse_foreign(block: bytes, path: Path) -> None:
    """Raises: UserError for a file that begins as one of another kind, after comments."""
    begun = re.sub(rb"\A(?:\s+|[%#](?!pdf)[^\n]*\n)+", b"", block[:4096].lower())
    for beginning, (what, do) in FOREIGN.items():
        if begun.startswith(beginning):
            raise UserError(f"{path} is {what}", "a CSV, TSV, Parquet, JSON or text file", do)


def _marked(block: bytes, path: Path) -> str:
    """The encoding that the first bytes of a file say, or that its zeros give away; a file of no text is refused."""
    for mark, name in MARKS:
        if block.startswith(mark):
            return name
    start = block[:4096]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if len(start) >= 4 and max(even, odd) > 0.3 * len(start) / 2 and min(even, odd) < 0.05 * len(start):
        return "utf-16-le" if odd > even else "utf-16-be"
    if even + odd > 0.01 * len(start):
        raise Damaged("it holds zero bytes, as no text does")
    return ""


class Dialect(NamedTuple):
    """How rows are cut into fields.

    Attributes:
        delimiter, quotes: as in `Spelling`.
        skipped: lines before the header: one that only names the delimiter, comments, and those of a title.
        titles: how many of these are of a title.
        numbered: whether each row begins with one field more than the header has, as R writes row names.
    """

    delimiter: str
    quotes: str
    skipped: int
    titles: int = 0
    numbered: bool = False

    def reader(self, lines: Iterable[str]) -> Any:
        """A reader of the rows of some lines, the first one included."""
        return csv_reader(lines, self.delimiter, self.quotes)


def csv_reader(lines: Iterable[str], delimiter: str, quotes: str) -> Any:
    """The csv module's reader; a longer delimiter is replaced by a mark that no text has."""
    mark = delimiter if len(delimiter) == 1 else LONG_DELIMITER
    if mark != delimiter:
        lines = (line.replace(delimiter, mark) for line in lines)
    return csv.reader(lines, delimiter=mark, skipinitialspace=mark == " ", **QUOTES[quotes])


def dialect(path: Path, spelling: Spelling) -> Dialect:
    """How the rows of a text file are cut, as told or as its beginning shows; it is found out once of one beginning."""
    suffix = path.with_suffix("").suffix if path.suffix in (".gz", ".bz2", ".xz", ".zip") else path.suffix
    return _dialect(look(path, spelling.encoding), spelling, suffix.lower() in (".tsv", ".tab"))


class Score(NamedTuple):
    """How well a dialect explains some lines.

    Attributes:
        columns: of the first row.
        share: of the rows that have as many.
        broken: whether the quotation marks do not fit; long: whether some row has several lines.
        wider: whether all rows but the first have one field more.
    """

    delimiter: str
    quotes: str
    columns: int
    share: float
    broken: bool
    long: bool
    wider: bool


@lru_cache(4)
def _dialect(view: Look, spelling: Spelling, tabs: bool) -> Dialect:
    lines = view.sample
    separator = SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    lines = lines[1:] if separator else lines
    told = NAMED_DELIMITERS.get(spelling.delimiter, spelling.delimiter) or (separator[1] if separator else "")
    comments = next((number for number, line in enumerate(lines) if not line.startswith("#")), 0)
    titles = _titles(lines[comments:]) if spelling.header else 0
    best = _best(lines[comments + titles :], told, spelling.quotes, view.whole, tabs)
    if titles and (best.share < MOST_EVEN or best.columns < 2):
        titles, best = 0, _best(lines[comments:], told, spelling.quotes, view.whole, tabs)
    comments += titles
    if not told and best.columns == 1 and _in_blanks(lines[comments:]):
        best = best._replace(delimiter=" ", columns=len(lines[comments].split()))
    if (
        comments > titles
        and not titles
        and _score(lines[comments - 1 : comments], best.delimiter, best.quotes, True).columns == best.columns
    ):
        comments -= 1  # a header that begins so
    numbered = spelling.header and best.share < 0.5 and best.columns > 1 and best.wider
    return Dialect(best.delimiter, best.quotes, int(separator is not None) + comments, titles, numbered)


def _best(lines: Sequence[str], told: str, quotes: str, whole: bool, tabs: bool) -> Score:
    candidates = (told,) if told else _candidates(lines)
    scores = [_best_quotes(lines, delimiter, quotes, whole) for delimiter in candidates]
    return max(scores, key=lambda score: (score.columns > 1, tabs and score.delimiter == "\t", score.share))


def _titles(lines: Sequence[str]) -> int:
    """How many lines stand above the names: one or a few with one field each, and one without any after them."""
    for place, line in enumerate(lines[:MOST_TITLES]):
        fields = [field for field in re.split(f"[{DELIMITERS}]", line.strip()) if field.strip('" ')]
        if len(fields) > 1:
            return 0
        if not fields and place:
            rest = next((number for number, line in enumerate(lines[place:]) if line.strip(DELIMITERS + '" \r\n')), 0)
            names = lines[place + rest] if rest else ""
            return place + rest if any(delimiter in names.strip() for delimiter in DELIMITERS) else 0
    return 0


def _candidates(lines: Sequence[str]) -> list[str]:
    """The delimiters that some line holds, and the first that none does: all of those cut alike."""
    absent = [delimiter for delimiter in DELIMITERS if not any(delimiter in line for line in lines)]
    return [delimiter for delimiter in DELIMITERS if delimiter not in absent[1:]]


def _in_blanks(lines: Sequence[str]) -> bool:
    """Whether rows are numbers with blanks between them, all of them as many, but for names in the first."""
    rows = [pieces for line in lines if (pieces := line.split())]
    if len(rows) < 2 or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        return False
    return all(_NUMBER(piece) for row in rows[1:] for piece in row) and not all(len(row[1]) == 3 for row in rows[1:])


def _best_quotes(lines: Sequence[str], delimiter: str, quotes: str, whole: bool) -> Score:
    if quotes:
        return _score(lines, delimiter, quotes, whole)
    doubled, bare = (_score(lines, delimiter, name, whole) for name in ("doubled", "none"))
    raw = bare.share == 1 and bare.columns > 1
    if not doubled.broken and doubled.share >= MOST_EVEN:
        return bare if delimiter == "\t" and doubled.long and raw and bare.columns == doubled.columns else doubled
    for name in ("backslash",) if raw else ("backslash", "single"):
        other = _score(lines, delimiter, name, whole)
        if not other.broken and other.share >= MOST_EVEN and other.columns > 1:
            return other
    return bare if raw else doubled


def _score(lines: Sequence[str], delimiter: str, quotes: str, whole: bool) -> Score:
    reader = csv_reader(lines, delimiter, quotes)
    counts: list[int] = []
    broken = long = False
    line = 0
    try:
        for row in reader:
            long |= reader.line_num > line + 1
            line = reader.line_num
            if row:
                filled = len(row) if not counts or len(row) <= counts[0] or any(row[counts[0] :]) else counts[0]
                counts.append(filled)
    except csv.Error:
        broken = whole or reader.line_num < len(lines) or reader.line_num - line > LONGEST_FIELD_LINES
    columns = counts[0] if counts else 0
    share = sum(count == columns for count in counts) / max(1, len(counts))
    wider = len(counts) > 1 and set(counts[1:]) == {columns + 1}
    return Score(delimiter, quotes, columns, share, broken, long, wider)
