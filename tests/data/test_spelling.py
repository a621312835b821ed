"""Text files as they come: encodings, line ends, delimiters, quotation marks, JSON records and zip archives."""

import gzip
import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.data import spelling
from sparsernn.data.spelling import DELIMITERS, Look, Spelling
from sparsernn.data.table_rows import Table
from sparsernn.errors import UserError

ROWS = [
    ("a plain text", "one"),
    ("with a comma, in it", "two"),
    ('he said "no"', "one"),
    ("caf\u00e9 \u2013 ol\u00e9", "two"),
]
ROWS = [*ROWS, *[(f"text number {number}", "one") for number in range(20)]]


def table(delimiter=",", end="\n", rows=ROWS, header=True):
    def quoted(field):
        return '"' + field.replace('"', '""') + '"' if any(sign in field for sign in f'{delimiter}"') else field

    lines = [("text", "label"), *rows] if header else rows
    return "".join(delimiter.join(map(quoted, row)) + end for row in lines)


def read(folder, content, name="t.csv", columns=("text", "label"), **told):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source = Table(path, Spelling(**told))
    chunks = list(source.rows(columns))
    return [tuple(row) for rows in chunks for row in zip(*(rows.texts(one) for one in columns), strict=True)], source


def zipped(*names):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, table())
    return made.getvalue()


def records():
    return [{"text": text, "label": label} for text, label in ROWS]


@pytest.mark.parametrize(
    "content",
    [
        table().encode("utf-8-sig"),
        table().encode("utf-16"),
        table().encode("utf-16-le"),
        table().encode("utf-32"),
        table().encode("cp1252"),
        table(end="\r").encode(),
        table(end="\r\n").encode(),
        table("\t").encode(),
        table(";").encode(),
        table("|").encode(),
        ("sep=;\r\n" + table(";")).encode("utf-8-sig"),
        ('"sep=|"\n' + table("|")).encode(),
        ("# written by a program\n# on Monday\n" + table()).encode(),
        gzip.compress(table().encode()),
        zipped("folder/", "folder/t.csv", "__MACOSX/t.csv"),
        "".join(json.dumps(one) + "\n" for one in records()).encode(),
        gzip.compress("".join(json.dumps(one) + "\n\n" for one in records()).encode()),
        json.dumps(records(), indent=1).encode(),
        json.dumps({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}).encode(),
        json.dumps({name: {str(n): row[place] for n, row in enumerate(ROWS)}
                    for place, name in enumerate(("text", "label"))}).encode(),
        json.dumps({"data": records()}).encode(),
        (table()[:-1] + "\n,\n,\n").encode(),
        "\n".join(line + "," for line in table().splitlines()).encode(),
    ],
)  # fmt: skip
def test_the_same_rows_however_they_are_written(content, tmp_path):
    assert read(tmp_path, content)[0] == ROWS


def test_what_stands_in_objects_of_json_has_the_names_of_both(tmp_path):
    nested = [{"review": {"body": one["text"], "in": {"": 1}}, "meta": {"label": one["label"]}} for one in records()]
    for content in ("".join(json.dumps(one) + "\n" for one in nested), json.dumps(nested)):
        rows, source = read(tmp_path, content.encode(), columns=("review.body", "meta.label"))
        assert rows == ROWS and source.names == ["review.body", "review.in.", "meta.label"]
    deep = '{"text": ' + '{"a": ' * 900 + "1" + "}" * 900 + ', "label": "x", "empty": {}}\n'
    names = read(tmp_path, deep.encode(), columns=("empty", "label"))[1].names
    assert len(names) == 3 and names[0] == "text" + ".a" * 8


@pytest.mark.parametrize(
    "content, told, expected",
    [
        (table("::"), {"delimiter": "::"}, ROWS),
        (table("^"), {"delimiter": "^"}, ROWS),
        (table("\t"), {"delimiter": "tab"}, ROWS),
        (table().encode("mac_roman"), {"encoding": "mac_roman"}, ROWS),
        (table().encode("cp1252").replace(b"\xe9", b"\x81"), {"encoding": "cp1252:replace"}, "caf\ufffd"),
        ("text,label\n\u043f\u0440\u0438\u0432\u0435\u0442,one\n".encode("cp1251"), {"encoding": "cp1251"}, "\u043f"),
    ],
)
def test_what_the_user_says_is_taken(content, told, expected, tmp_path):
    rows, _ = read(tmp_path, content, **told)
    assert rows == expected if isinstance(expected, list) else any(text.startswith(expected) for text, _ in rows)


def test_a_file_without_names_of_columns(tmp_path):
    rows, source = read(tmp_path, table(header=False), columns=("2", "1"), header=False)
    assert source.names == ["1", "2"] and rows[0] == ("one", "a plain text") and len(rows) == len(ROWS)
    with pytest.raises(UserError, match="no column 'text'.*--no-header"):
        read(tmp_path, table(header=False))


@pytest.mark.parametrize(
    "content, text, quotes",
    [
        ('text,label\n"a \\"b\\", c",one\n"d, e",two\n', 'a "b", c', "backslash"),
        ("text,label\n'a, b',one\n'it''s, so',two\n", "a, b", "single"),
        ('text\tlabel\n"never closed\tone\nplain\ttwo\n', '"never closed', "none"),
        ('text\tlabel\n"open\tone\nplain\ttwo\n"shut"\tone\n', '"open', "none"),
        ('text\tlabel\n"open\tone\nplain\ttwo\nshut"\tone\n', '"open', "none"),
    ],
)
def test_quotation_marks(content, text, quotes, tmp_path):
    rows, source = read(tmp_path, content)
    assert rows[0] == (text, "one") and any(f"read as {quotes}" in remark for remark in source.remarks)


def test_quoted_commas_in_the_header_do_not_make_the_delimiter(tmp_path):
    content = '"words, free";label\n"one, two";a\nthree;b\n'
    assert read(tmp_path, content, columns=("words, free", "label"))[0] == [("one, two", "a"), ("three", "b")]
    tie = "a, b;label\none, two;x\nthree, four;y\nfive;z\n"
    assert read(tmp_path, tie, columns=("a, b", "label"))[0][2] == ("five", "z")


def test_a_table_of_one_column_keeps_its_commas_and_blank_lines(tmp_path):
    rows, _ = read(tmp_path, "text\none, two\n\nthree\n\n\n", columns=("text",))
    assert rows == [("one, two",), ("",), ("three",)]


def test_a_last_row_that_is_cut_off_is_left_out_and_said(tmp_path):
    rows, source = read(tmp_path, table() + '"the end of this text is miss')
    assert rows == ROWS and any("ends within the row" in remark for remark in source.remarks)


def test_the_encoding_that_is_taken_is_said(tmp_path):
    _, source = read(tmp_path, table().encode("cp1252"))
    assert any("read as cp1252" in remark and "--encoding" in remark for remark in source.remarks)


@pytest.mark.parametrize(
    "content, told, expected",
    [
        (table(), {"encoding": "klingon"}, "--encoding is 'klingon'"),
        (table(), {"encoding": "hex"}, "--encoding is 'hex'"),
        (zipped("a.csv", "b.csv"), {}, "t.csv is a zip archive of 2 files: 'a.csv', 'b.csv'.* Unpack it"),
        (b"ARROW1\0\0 and more", {}, "is a Feather .* Write it as Parquet"),
        ("% of a museum\n@RELATION toy\n@attribute x numeric\n@data\n1,a\n", {}, "is an ARFF file.* --no-header"),
        ("\n<!DOCTYPE html>\n<html><body>Not Found</body></html>", {}, "is a web page"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), {}, "saved as CSV"),
        (json.dumps({"text": "a", "label": "b"}) + '\n{"text": ', {}, "line 2 of .* is not JSON"),
        (json.dumps([1, 2]), {}, "no list of objects"),
        ("\n \n", {}, "is empty"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(content, told, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        fault = Spelling(**told).fault()
        if fault:
            raise fault
        read(tmp_path, content, **told)


LINES = st.lists(st.text("a,;\t\"' #", max_size=8).map("{}\n".format), min_size=1, max_size=6).map(tuple)


@given(LINES, st.booleans(), st.booleans())
def test_delimiters_that_no_line_holds_need_not_be_tried_one_by_one(lines, whole, tabs):
    view = Look("utf-8", "strict", "\n", lines, whole, "")
    quick = spelling._dialect.__wrapped__(view, Spelling(), tabs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spelling, "_candidates", lambda lines: list(DELIMITERS))
        assert spelling._dialect.__wrapped__(view, Spelling(), tabs) == quick


@pytest.mark.parametrize("names, told", [("", {"header": False}), ("  1     2   3\n", {})])
def test_numbers_in_columns_of_blanks(names, told, tmp_path):
    lines = [f"   1.0{row}e+00   -{row}.5  {row % 2}  " for row in range(12)]
    rows, _ = read(tmp_path, names + "\n".join(lines), columns=("1", "3"), **told)
    assert rows[3] == ("1.03e+00", "1") and len(rows) == 12
    for content in ("1 234\n5 678\n", "a text\nof two words\n", "1 2\n3 4\n5 6 7\n"):
        assert Table(written(tmp_path, content)).names == [content.splitlines()[0]]


def written(folder, content):
    path = folder / "one.csv"
    path.write_text(content)
    return path


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_title_above_the_names(delimiter, tmp_path):
    padding = delimiter * 2
    rows = [(f"{number}", f"text {number}", "ab"[number % 2]) for number in range(20)]
    body = "".join(delimiter.join(row) + "\n" for row in [("id", "text", "label"), *rows])
    for title in ("Reviews of 2021\n\n", f"Reviews{padding}\nof 2021{padding}\n{padding}\n"):
        read_rows, source = read(tmp_path, title + body)
        assert read_rows == [row[1:] for row in rows]
        assert any("after a title" in remark for remark in source.remarks)
    texts, source = read(tmp_path, "text\n\nhello, world\nno more\nwell, one, two\n", columns=("text",))
    assert [one for (one,) in texts] == ["", "hello, world", "no more", "well, one, two"] and not source.remarks


def test_rows_that_begin_with_a_number_that_has_no_name(tmp_path):
    rows = "".join(f'"{number}" "a text of {number}" "{"ab"[number % 2]}"\n' for number in range(20))
    texts, source = read(tmp_path, '"text" "label"\n' + rows, delimiter="space")
    assert source.names == ["", "text", "label"] and texts[3] == ("a text of 3", "b")


def test_names_without_what_cannot_be_seen(tmp_path):
    texts, _ = read(tmp_path, "\ufeff\u00a0text , label\u200b\na b,c\n")
    assert texts == [("a b", "c")]
