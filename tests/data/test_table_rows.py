"""Reading rows: formats, delimiters, and one clear error for each kind of wrong file."""

import bz2
import datetime
import gzip
import lzma
import sys

import pyarrow
import pyarrow.parquet
import pytest

from sparsernn import reading
from sparsernn.data import table_rows
from sparsernn.data.csv_file import text_lines
from sparsernn.data.spelling import Spelling
from sparsernn.data.table_columns import see
from sparsernn.data.table_rows import Table, read_rows
from sparsernn.errors import UserError

CSV = 'text,label\n"a, ""b""\nc",x\n\nd,y\n'


PACKED = {".gz": gzip, ".bz2": bz2, ".xz": lzma}


def written(folder, name, content):
    raw, path = content if isinstance(content, bytes) else content.encode(), folder / name
    path.write_bytes(PACKED[path.suffix].compress(raw) if path.suffix in PACKED else raw)
    return path


def read(path, *columns):
    chunks = list(read_rows(path, columns))
    return [value for name in columns for chunk in chunks for value in chunk.columns[name]], chunks


@pytest.mark.parametrize(
    "name, content",
    [
        ("t.csv", CSV),
        ("t.csv.gz", CSV),
        ("t.csv.bz2", CSV),
        ("t.csv.xz", CSV),
        ("t.csv", "\ufeff" + CSV),
        ("t.csv", CSV.replace("\n", "\r\n")),
        ("t.tsv", CSV.replace(",", "\t").replace("a\t", "a,")),
        ("t.csv", CSV.replace(",", ";").replace("a;", "a,")),
    ],
    ids=["csv", "gzip", "bz2", "xz", "mark", "windows", "tabs", "semicolons"],
)
def test_formats(name, content, tmp_path):
    path = written(tmp_path, name, content)
    values, chunks = read(path, "label", "text")
    assert values[:2] == ["x", "y"] and values[3] == "d" and values[2].replace("\r", "") == 'a, "b"\nc'
    assert chunks[0].places == [2, 5] and Table(path).names == ["text", "label"]


def test_parquet(tmp_path):
    table = pyarrow.table({"a": [1, None], "b": ["x", "y"], "t": [datetime.datetime(2020, 1, day) for day in (1, 2)]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    rows = next(read_rows(tmp_path / "t.parquet", ["a", "b", "t"]))
    assert rows.texts("a") == ["1", ""] and rows.labels("b") == ["x", "y"]
    assert (rows.times("t")[1] - rows.times("t")[0]) == 86_400
    assert "row 1" in rows.where(0) and Table(tmp_path / "t.parquet").names == ["a", "b", "t"]


def test_times_are_numbers_or_dates(tmp_path):
    path = written(tmp_path, "t.csv", "n,d\n1.5,2016-07-01 00:00:00\n2,2016-07-01T01:00:00+00:00\n")
    rows = next(read_rows(path, ["n", "d"]))
    assert rows.times("n").tolist() == [1.5, 2] and rows.times("d")[1] - rows.times("d")[0] == 3600
    rows = next(read_rows(written(tmp_path, "u.csv", "d\nsoon\n"), ["d"]))
    with pytest.raises(UserError, match="is not a time"):
        rows.times("d")


def test_progress_comes_first_and_ends_with_everything(tmp_path):
    path = written(tmp_path, "t.csv", "a\n" + "1\n" * 20_000)
    calls = []
    rows = read_rows(path, ["a"], lambda *call: calls.append(call), "counting")
    next(rows)
    assert calls[0] == ("counting", 0, path.stat().st_size)
    assert sum(map(len, rows)) == 20_000 - table_rows.ROWS_AT_ONCE
    done = [call[1] for call in calls]
    assert done == sorted(done) and done[-1] == path.stat().st_size and len(done) >= 4


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", "is empty"),
        ("\n\n", "is empty"),
        ("text,label\n", "has a header and no rows"),
        ("txt,label\na,b\n", "no column 'text'.*Write 'txt', the nearest"),
        ("text,text\na,b\n", "more than one column 'text'"),
        ("text,label\na,b\nc\n", "Line 3 .* has 1 field and the header has 2"),
        ('text,label\na,b\n"c,d\n' + '"e, f",g\n' * 9, "starts in line 3 .* not closed"),
        ("text,label\né,b\n".encode() + "ü,b\n".encode() + b"caf\xe9,d\n", r"Line 4 .* is not UTF-8 \(byte 0xe9\)"),
        ("text,label\nпривет,да\n".encode("cp1251"), "is not UTF-8, and most of .* Pass --encoding"),
        (b"\x00\x01\x02\x00\x00\x07,\n", "holds zero bytes"),
    ],
    ids=str,
)
def test_a_wrong_csv(content, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        read(written(tmp_path, "t.csv", content), "text")


def test_a_line_without_end(tmp_path):
    path = written(tmp_path, "t.csv.gz", b"text,label\n" + b"x" * (100 << 20))
    with pytest.raises(UserError, match="Line 2 .* is longer than 16 MB"):
        read(path, "text")


@pytest.mark.parametrize("count", [3, 2_000_000], ids=["at the end", "in 26 MB"])
def test_a_quotation_mark_that_is_never_closed(count, tmp_path):
    path = written(tmp_path, "t.csv", 'text,label\n"a,b\n' + "words, words, words\n" * count)
    with pytest.raises(UserError, match="starts in line 2 .* not closed"):
        read(path, "text")


@pytest.mark.parametrize("suffix", PACKED)
def test_a_damaged_packed_file(suffix, tmp_path):
    path = written(tmp_path, "t.csv" + suffix, "a\n" + "".join(f"{row * row}\n" for row in range(50_000)))
    whole = path.read_bytes()
    for damaged in (whole[:5000], whole[:3000] + bytes(100) + whole[3100:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be read"):
            read(path, "a")


def test_a_packed_file_that_unpacks_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "FREE_BYTES", 1 << 20)
    path = written(tmp_path, "t.csv.xz", b"a\n" + b"1\n" * (1 << 20))
    with pytest.raises(UserError, match="it unpacks to more than 200 times its size"):
        read(path, "a")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python unpacks it")
def test_what_cannot_be_unpacked_says_so(tmp_path):
    path = written(tmp_path, "t.csv", b"\x28\xb5\x2f\xfd" + bytes(50))
    with pytest.raises(UserError, match="packed by zstd, which this Python cannot read"):
        read(path, "a")


@pytest.mark.parametrize(
    "value, expected",
    [
        ("x", "'x' in column 'a' is not a number .line 3"),
        ("nan", "Column 'a' is empty .'nan'. in line 3 .* Pass --missing"),
        ("-inf", "holds -inf"),
        ("", "Column 'a' is empty"),
        ("1,5", "'1,5' in column 'a' is not a number .* --decimal"),
    ],
)
def test_a_number_that_is_none(value, expected, tmp_path):
    rows = read_rows(written(tmp_path, "t.csv", f"a\n1\n{value or chr(34) * 2}\n"), ["a"])
    with pytest.raises(UserError, match=expected):
        next(rows).numbers("a")


def test_an_empty_label(tmp_path):
    rows = next(read_rows(written(tmp_path, "t.csv", "a,b\n1,x\n2, \n"), ["b"]))
    with pytest.raises(UserError, match="label in column 'b' is empty in line 3"):
        rows.labels("b")


def test_a_parquet_of_another_kind(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"a": [[1, 2]], "b": [1]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="holds list<"):
        read(tmp_path / "t.parquet", "a")
    with pytest.raises(UserError, match="no column 'c'"):
        read(tmp_path / "t.parquet", "c")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "t.parquet", "a")


def test_lines_of_a_text(tmp_path):
    path = written(tmp_path, "t.txt.gz", "a b\r\n\nc")
    assert list(text_lines(path)) == ["a b", "", "c"]
    with pytest.raises(UserError, match="was not found"):
        list(text_lines(tmp_path / "none.txt"))


def test_decimal_commas_in_a_parquet_file(tmp_path):
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"x": ["0,125", "1.234,5", "-7"]}), path)
    (rows,) = Table(path, Spelling(decimal=",")).rows(["x"])
    assert rows.numbers("x").tolist() == [0.125, 1234.5, -7]
    pyarrow.parquet.write_table(pyarrow.table({"x": ["1,125", "2,250"]}), path)
    with pytest.raises(UserError, match="could mark thousands or decimals"):
        see(Table(path), ["x"])


def test_a_name_that_is_there_twice(tmp_path):
    with pytest.raises(UserError, match="more than one column 'a'.* a name of its own in the first row"):
        read(written(tmp_path, "t.csv", "a,b,a\n1,2,3\n"), "a")
