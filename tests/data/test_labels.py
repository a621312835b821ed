"""Labels as they come: numbers in any spelling, few rows of many classes, rare classes, numbers that are learned."""

import json

import numpy as np
import pytest

from sparsernn.data.preparation import Preparation
from sparsernn.data.table_file import TableFile, encode_file, encode_texts
from sparsernn.errors import UserError

WORDS = "red green blue black white grey pink brown gold lime".split()


def written(folder, rows, header="text,label", name="t.csv"):
    (folder / name).write_text(header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return str(folder / name)


def prepared(path, **options):
    loaded, preparation = TableFile(**{"path": path, "text": "text", "label": "label", **options}).prepare()
    return loaded, Preparation.from_json(json.loads(json.dumps(preparation.to_json())))


def texts(labels):
    return [(f"{WORDS[n % 10]} {WORDS[n * 3 % 7]} {WORDS[n * 7 % 9]} {n}", label) for n, label in enumerate(labels)]


def targets(split):
    return np.concatenate([batch.targets.numpy() for batch in split.batches(64)])


def test_spellings_of_a_number_are_one_class(tmp_path):
    path = written(tmp_path, texts(["0", "1.0", "1", "0.00"] * 20))
    loaded, preparation = prepared(path)
    assert preparation.labels == ("0", "1.0") and loaded.outputs == 2
    encoded = encode_file(preparation, written(tmp_path, texts(["1", "+1", "-0.0", "2", ""]), name="new.csv"))
    assert encoded.targets is not None and encoded.targets.tolist() == [1, 1, 0, -100, -100]


def test_classes_that_are_numbers_come_in_their_order(tmp_path):
    _, preparation = prepared(written(tmp_path, texts(["10", "9", "-1"] * 20)))
    assert preparation.labels == ("-1", "9", "10")


def test_many_classes_of_few_rows_keep_rows_in_training(tmp_path):
    loaded, _ = prepared(written(tmp_path, texts([f"c{n % 100}" for n in range(400)])))
    assert [len(one) for one in (loaded.train, loaded.valid, loaded.test)] == [320, 40, 40]
    assert len(np.unique(targets(loaded.train))) == 100 and len(np.unique(targets(loaded.test))) == 40


def test_a_rare_class_is_in_every_part(tmp_path):
    loaded, _ = prepared(written(tmp_path, texts(["1" if n % 77 == 0 else "0" for n in range(3000)])))
    shares = [targets(one).mean() for one in (loaded.train, loaded.valid, loaded.test)]
    assert np.allclose(shares, 1 / 77, atol=0.002)


@pytest.mark.parametrize(
    "labels, asked",
    [
        ([n * 0.37 for n in range(200)], True),
        ([f"{n % 60 / 10}" for n in range(600)], True),
        ([f"{n % 60}%" for n in range(600)], False),
        ([n for n in range(300)], True),
        ([n % 5 / 2 for n in range(200)], False),
        ([n % 40 for n in range(400)], False),
        ([f"type {n % 150}" for n in range(600)], False),
    ],
    ids=["fractions", "tenths", "units", "whole numbers", "half points", "codes", "names"],
)
def test_numbers_that_may_be_meant_as_such_are_asked_for(labels, asked, tmp_path):
    path = written(tmp_path, texts(labels))
    if asked:
        with pytest.raises(UserError, match="different labels, all of them numbers.*--regression"):
            prepared(path)
        assert prepared(path, labels="numbers")[0].objective == "regression"
    else:
        assert prepared(path)[0].outputs == len(set(labels))


@pytest.mark.parametrize("kind", ["text", "wide", "series"])
def test_a_number_is_learned(kind, tmp_path):
    numbers = [number * 2.5 + 100 for number in range(60)]
    if kind == "text":
        path, options = written(tmp_path, texts(numbers)), {}
    elif kind == "wide":
        rows = [(number, number, number + 1) for number in numbers]
        path, options = written(tmp_path, rows, "label,a,b"), {"text": "", "series_columns": "a:b"}
    else:
        rows = [(f"s{n}", number, step) for n, number in enumerate(numbers) for step in range(4)]
        path, options = written(tmp_path, rows, "id,label,x"), {"text": "", "id": "id", "series": ("x",)}
    loaded, preparation = prepared(path, labels="numbers", **options)
    assert (loaded.objective, loaded.outputs, loaded.metric, loaded.labels) == ("regression", 1, "rmse", ("label",))
    learned = targets(loaded.train)
    assert learned.dtype == np.float32 and abs(learned.mean()) < 1e-5 and abs(learned.std() - 1) < 1e-5
    everything = [preparation.unscaled(targets(one)) for one in (loaded.train, loaded.valid, loaded.test)]
    assert np.allclose(np.sort(np.concatenate(everything)), numbers, atol=1e-3)
    assert loaded.unit == pytest.approx(np.std(everything[0]), rel=1e-4) and preparation.outputs == 1
    encoded = encode_file(preparation, path)
    assert encoded.targets is not None and encoded.targets.tolist() == numbers


def test_what_is_no_number_is_refused_in_a_regression(tmp_path):
    with pytest.raises(UserError, match="label 'b' in column 'label' is not a number.*--regression"):
        prepared(written(tmp_path, texts(["1", "b"] * 30)), labels="numbers")
    with pytest.raises(UserError, match="label '1e999' in column 'label' is not a number"):
        prepared(written(tmp_path, texts(["1", "1e999"] * 30)), labels="numbers")
    comma = written(tmp_path, [(row[0], f'"{n},5"') for n, row in enumerate(texts([0] * 60))])
    assert prepared(comma, labels="numbers")[1].label_scale[0] == pytest.approx(30, abs=5)
    rows = [("a", step, step) for step in range(40)]
    with pytest.raises(UserError, match="more than one label.*--id"):
        prepared(written(tmp_path, rows, "id,label,x"), text="", id="id", series=("x",), labels="numbers")


def test_rows_without_a_label_are_left_out_if_so_asked(tmp_path):
    path = written(tmp_path, texts(["a", "b", "", "a"] * 20))
    with pytest.raises(UserError, match="empty in line 4 .* --missing drop"):
        prepared(path)
    loaded, preparation = prepared(path, missing="drop")
    assert sum(map(len, (loaded.train, loaded.valid, loaded.test))) == 60
    assert "20 rows without a label left out" in preparation.remarks


def test_near_copies_between_parts_are_counted_and_said(tmp_path):
    rows = [(f"{WORDS[n % 10]} is what people of street {n // 2} like to wear", n // 2 % 2) for n in range(400)]
    copied = [
        (f"the same long sentence about {WORDS[n % 10]} things and nothing else", n // 2 % 2) for n in range(0, 400, 2)
    ]
    _, preparation = prepared(written(tmp_path, rows[::2]))
    assert preparation.remarks == ()
    _, preparation = prepared(written(tmp_path, copied))
    assert preparation.remarks[0].startswith("20 of 20 test rows have a near-copy")
    series = [("ab"[n % 2], n % 3, 1, 2) for n in range(60)]
    _, preparation = prepared(written(tmp_path, series, "label,a,b,c"), text="", series_columns="a:c")
    assert "6 of 6 test rows have a near-copy among the training rows" in preparation.remarks


def test_columns_whose_names_hold_colons_and_commas(tmp_path):
    rows = [("ab"[n % 2], n, n + 1, n + 2, n + 3) for n in range(60)]
    path = written(tmp_path, rows, 'label,00:00,01:00,"a, b",z')
    for described, count in (("00:00:a, b", 3), ("00:00,a, b", 2), ("a, b,00:00:01:00", 3), ("01:00:z", 3)):
        _, preparation = prepared(path, text="", series_columns=described)
        assert len(preparation.columns["series"]) == count


def test_ids_of_texts_stand_beside_them(tmp_path):
    rows = [(f"n{n}", *row) for n, row in enumerate(texts(["a", "b"] * 30))]
    for header, options in (("id,text,label", {}), ("key,text,label", {"id": "key"})):
        path = written(tmp_path, rows, header)
        _, preparation = prepared(path, **options)
        assert list(encode_file(preparation, path).names[:2]) == ["n0", "n1"]
    assert not encode_file(preparation, written(tmp_path, [row[1:] for row in rows], name="new.csv")).names


def test_texts_by_themselves(tmp_path):
    path = written(tmp_path, texts(["a", "b"] * 30))
    _, preparation = prepared(path)
    whole = next(encode_file(preparation, path).batches(2)).inputs
    alone = next(encode_texts(preparation, [row[0] for row in texts("ab")]).batches(2)).inputs
    assert np.array_equal(whole, alone)


def test_one_bad_row_of_a_table_is_a_fault_of_its_own(tmp_path):
    rows = [("ab"[n % 2], n, n + 1, n + 2) for n in range(60)]
    _, preparation = prepared(written(tmp_path, rows, "label,a,b,c"), text="", series_columns="a:c")
    new = written(tmp_path, [(1, 2, 3), (4, "x", 5), (6, 7), (8, "", 9), (7, 8, "")], "a,b,c", "new.csv")
    encoded = encode_file(preparation, new)
    assert list(encoded.faults) == [1, 2, 3] and len(encoded) == 5
    assert len(encode_file(preparation, written(tmp_path, [(0, 1, 2, 3)], ",a,b,c", "new.csv"))) == 1
    with pytest.raises(UserError, match="No row of .* can be used"):
        encode_file(preparation, written(tmp_path, [("x", 1, 2)], "a,b,c", "new.csv"))


def test_names_that_may_be_one_class_or_none_are_said(tmp_path):
    path = written(tmp_path, texts(["Good", "good", "bad", "NA"] * 20))
    remarks = " ".join(prepared(path)[1].remarks)
    assert "'Good' and 'good'" in remarks and "'NA' is taken for a class" in remarks and "'bad'" not in remarks
    steps = [(n // 3, n % 3, f"{n * 7 % 11}", ["up", "UP", "down"][n // 3 % 3]) for n in range(180)]
    path = written(tmp_path, steps, "who,at,x,label", "steps.csv")
    (remark,) = (
        line for line in prepared(path, text="", id="who", time="at", series=("x",))[1].remarks if "UP" in line
    )
    assert "'UP' and 'up'" in remark


def test_texts_without_words(tmp_path):
    rows = [("" if n % 3 else text, label) for n, (text, label) in enumerate(texts(["a", "b"] * 30))]
    assert any("40 of 60 rows have no text" in remark for remark in prepared(written(tmp_path, rows))[1].remarks)
    with pytest.raises(UserError, match="'text' .* holds no words in any row"):
        prepared(written(tmp_path, [(" ", label) for _, label in rows]))


def test_a_number_that_overflows_is_refused(tmp_path):
    rows = [(text, f"{n}e300") for n, (text, _) in enumerate(texts(["a"] * 40))]
    with pytest.raises(UserError, match="1e\\+100"):
        prepared(written(tmp_path, rows), labels="numbers")
    path = written(tmp_path, [(n, f"{n}e300") for n in range(100)], "t,x", "load.csv")
    with pytest.raises(UserError, match="'x' holds 1e300 .* larger unit"):
        TableFile(path=path, time="t", forecast=("x",)).prepare()


def test_groups_that_cannot_be_held_back_and_one_that_is_empty(tmp_path):
    rows = [(*row, "ab"[n % 2]) for n, row in enumerate(texts(["x", "y"] * 30))]
    with pytest.raises(UserError, match="a column of more groups than 'who'"):
        prepared(written(tmp_path, rows, "text,label,who"), groups="who")
    rows = [(*row[:2], n % 9 or "") for n, row in enumerate(rows)]
    with pytest.raises(UserError, match="The group in column 'who' is empty in line 2 .* Fill it in\\.$"):
        prepared(written(tmp_path, rows, "text,label,who"), groups="who")
