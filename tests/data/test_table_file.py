"""A user's own file: what is learned of it, its splits, and reading another file in the same way."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.data.preparation import Preparation
from sparsernn.data.table_file import TableFile, encode_file
from sparsernn.data.table_steps import pieces
from sparsernn.errors import UserError


def written(folder, lines, name="t.csv"):
    (folder / name).write_text("\n".join(lines) + "\n", "utf8")
    return str(folder / name)


def reviews(folder, count=100, name="t.csv"):
    rows = [f"{'good' if row % 2 else 'bad'} item {row % 7},{'pos' if row % 2 else 'neg'}" for row in range(count)]
    return written(folder, ["text,label", *rows], name)


def walks(folder, series=20, steps=12, name="t.csv", order=None):
    rows = [
        f"s{one},{step},{one * 100 + step},{step % 2},{'up' if one % 2 else 'down'},{'ab'[step % 2]}"
        for one in range(series)
        for step in range(steps)
    ]
    return written(folder, ["id,time,x,y,label,state", *(rows[place] for place in order or range(len(rows)))], name)


def parts(loaded):
    return loaded.train, loaded.valid, loaded.test


def saved(preparation):
    return Preparation.from_json(json.loads(json.dumps(preparation.to_json())))


def test_texts(tmp_path):
    path = reviews(tmp_path)
    loaded, preparation = TableFile(path=path, text="text", label="label").prepare()
    assert tuple(map(len, parts(loaded))) == (80, 10, 10) and loaded.objective == "classification"
    assert loaded.labels == ("neg", "pos") and loaded.inputs == len(loaded.vocabulary)
    for split in parts(loaded):
        targets = np.concatenate([batch.targets for batch in split.batches(7)])
        assert targets.mean() == 0.5
    encoded = encode_file(saved(preparation), path)
    assert encoded.labelled and len(encoded.split) == 100
    assert np.concatenate([batch.targets for batch in encoded.split.batches(9)]).tolist() == [0, 1] * 50


def test_texts_of_one_file_read_alike_in_every_format(tmp_path):
    rows = {
        "text": [f"{'good' if row % 2 else 'bad'} item {row % 7}" for row in range(100)],
        "label": ["pos" if row % 2 else "neg" for row in range(100)],
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "t.parquet")
    first = TableFile(path=reviews(tmp_path), text="text", label="label").load()
    second = TableFile(path=str(tmp_path / "t.parquet"), text="text", label="label").load()
    assert np.array_equal(first.train.values, second.train.values) and first.vocabulary == second.vocabulary
    assert np.array_equal(first.test.rows, second.test.rows)


def test_new_texts_may_be_empty_and_have_no_label(tmp_path):
    _, preparation = TableFile(path=reviews(tmp_path), text="text", label="label").prepare()
    path = written(tmp_path, ["text,n", "bad,1", '"",2', "unseen words,3"], "new.csv")
    encoded = encode_file(saved(preparation), path)
    batch = next(encoded.split.batches(3))
    assert not encoded.labelled and batch.lengths.tolist() == [1, 1, 2] and batch.inputs[2].tolist() == [1, 1]


def test_preparation_is_kept_until_the_file_changes(tmp_path):
    task = TableFile(path=reviews(tmp_path), text="text", label="label")
    calls = []
    task.prepare(lambda *call: calls.append(call))
    assert calls[0][:2] == ("reading labels", 0) and calls[-1][0] == "encoding"
    count = len(calls)
    task.prepare(lambda *call: calls.append(call))
    assert len(calls) == count
    reviews(tmp_path, 120)
    assert len(task.load().train) == 96


@pytest.mark.parametrize("shuffled", [False, True])
def test_series_with_a_label_each(shuffled, tmp_path):
    order = sorted(range(240), key=lambda row: row % 12) if shuffled else None
    path = walks(tmp_path, order=order)
    task = TableFile(path=path, id="id", time="time", series=("x", "y"), label="label")
    loaded, preparation = task.prepare()
    assert loaded.objective == "classification" and tuple(map(len, parts(loaded))) == (16, 2, 2) and loaded.inputs == 4
    learned = np.concatenate([batch.inputs[..., :2].reshape(-1, 2) for batch in loaded.train.batches(3)])
    assert np.allclose(learned.mean(0), 0, atol=1e-5) and np.allclose(learned.std(0), 1, atol=1e-5)
    encoded = encode_file(saved(preparation), path)
    assert list(encoded.names) == [f"s{one}" for one in range(20)]
    batch = next(encoded.split.batches(20))
    assert loaded.labels[batch.targets[3]] == "up"
    values = batch.inputs.numpy()[3, :, :2] * preparation.deviations + preparation.means
    assert np.allclose(values[:, 0], 300 + np.arange(12), atol=1e-3)


def test_series_with_a_label_per_step(tmp_path):
    order = sorted(range(240), key=lambda row: row % 12)
    path = walks(tmp_path, order=order)
    task = TableFile(path=path, id="id", time="time", series=("x",), label="state", length=5)
    loaded, preparation = task.prepare()
    assert loaded.objective == "tagging" and preparation.per_step
    assert tuple(map(len, parts(loaded))) == (48, 6, 6)
    encoded = encode_file(saved(preparation), path)
    targets = np.concatenate([batch.targets[batch.targets >= 0] for batch in encoded.split.batches(1)])
    answers = np.empty(240, int)
    answers[encoded.rows] = targets
    assert [loaded.labels[answer] for answer in answers] == ["ab"[place % 12 % 2] for place in order]


def test_one_long_series_is_held_back_by_time(tmp_path):
    path = written(tmp_path, ["x,state", *(f"{row},{'ab'[row // 5 % 2]}" for row in range(200))])
    loaded = TableFile(path=path, series=("x",), label="state").load()
    assert loaded.train.rows.max() < loaded.valid.rows.min() and loaded.valid.rows.max() < loaded.test.rows.min()
    assert sum(int((batch.targets >= 0).sum()) for split in parts(loaded) for batch in split.batches(4)) == 200


def test_label_per_series_refuses_mixed_labels(tmp_path):
    task = TableFile(path=walks(tmp_path), id="id", series=("x",), label="state", label_per="series")
    with pytest.raises(UserError, match="Series 's0' has more than one label"):
        task.load()


def test_wide_series(tmp_path):
    rows = [f"{'ab'[row % 2]},{row},{row + 1},{'' if row % 4 == 0 else row + 2}" for row in range(40)]
    path = written(tmp_path, ["label,p0,p1,p2", *rows])
    loaded, preparation = TableFile(path=path, series_columns="p0:p2", label="label").prepare()
    assert tuple(map(len, parts(loaded))) == (32, 4, 4) and loaded.inputs == 2
    batch = next(encode_file(saved(preparation), path).split.batches(40))
    assert batch.inputs.shape == (40, 3, 2) and batch.lengths[:2].tolist() == [2, 3]
    bare = written(tmp_path, ["p1,p2,p0", "1,2,0", "5,,4"], "new.csv")
    encoded = encode_file(saved(preparation), bare)
    values = next(encoded.split.batches(2)).inputs.numpy()[0, :, 0] * preparation.deviations[0] + preparation.means[0]
    assert not encoded.labelled and np.allclose(values, [0, 1, 2], atol=1e-4)


def test_forecast(tmp_path):
    path = walks(tmp_path, series=2, steps=200)
    task = TableFile(path=path, id="id", time="time", forecast="x", series=("y",), horizon=3, window=8)
    loaded, preparation = task.prepare()
    assert loaded.objective == "forecasting" and (loaded.inputs, loaded.outputs) == (2, 3)
    assert tuple(map(len, parts(loaded))) == (2 * (160 - 11 + 1), 2 * 18, 2 * 18)
    batch = next(loaded.test.batches(1))
    assert np.allclose(preparation.unscaled(batch.targets.numpy()), [[180, 181, 182]], atol=1e-2)
    encoded = encode_file(saved(preparation), path)
    batch = next(encoded.split.batches(5))
    assert batch.inputs.shape == (2, 8, 2) and batch.targets.shape == (2, 0) and list(encoded.names) == ["s0", "s1"]
    assert preparation.unscaled(batch.inputs[0, -1, 0].numpy()) == pytest.approx(199, abs=0.01)


def test_running_text(tmp_path):
    lines = [f"line {row % 9} of the text, which goes on" for row in range(400)]
    path = written(tmp_path, lines, "t.txt")
    loaded, preparation = TableFile(path=path, language_model=True).prepare()
    assert loaded.objective == "language_model" and loaded.metric == "perplexity" and "<eos>" in loaded.vocabulary
    whole = encode_file(saved(preparation), path).split
    assert np.array_equal(np.concatenate([split.tokens for split in parts(loaded)]), whole.tokens)
    characters = TableFile(path=path, language_model=True, tokenizer="characters").load()
    assert characters.metric == "bits_per_character" and characters.inputs < 40
    with pytest.raises(UserError, match="too short"):
        TableFile(path=written(tmp_path, lines[:9], "s.txt"), language_model=True).load()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(1, 12))
def test_pieces_cover_every_series_and_cross_none(lengths, length):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    cuts, series = pieces(offsets, length)
    assert set(offsets) <= set(cuts) and len(series) == len(cuts) - 1
    assert (np.diff(cuts) > 0).all() and (np.diff(cuts) <= length).all()
    assert all(offsets[one] <= cuts[place] < offsets[one + 1] for place, one in enumerate(series))


@pytest.mark.parametrize(
    "lines, options, expected",
    [
        (["text,label", *["a,x"] * 30], {"text": "text"}, "one class only, 'x'"),
        (["text,label", *[f"a,{row}" for row in range(1200)]], {"text": "text"}, "1,200 different labels"),
        (["text,label", "a,x", "b,y"], {"text": "text"}, "too few rows to hold some back"),
        (["text,label", "a,x", "b,"], {"text": "text"}, "is empty in line 3"),
        (
            ["id,t,x,label", "a,2,0,u", "b,1,0,v", "a,1,0,u", "a,2,1,u"],
            {"id": "id", "time": "t", "series": ("x",)},
            "time in line 4 .* earlier .* series 'a', and times repeat.*--id",
        ),
        (["id,x,label", "a,1,u", "a,inf,u"], {"id": "id", "series": ("x",)}, "holds inf .line 3"),
        (["a,b,c,label", "1,,3,u", "1,2,3,v"], {"series_columns": "a:c"}, "'b' is empty in line 2"),
        (["a,b,label", ",,u", "1,2,v"], {"series_columns": "a:b"}, "'a' is empty in line 2"),
        (["a,b,label", "1,2,u"], {"series_columns": "b:a"}, "'b' comes after 'a'"),
        (["a,b,label", "1,2,u"], {"series_columns": "a:z"}, "no column 'z'"),
        (["a,b,label", "1,2,u"], {"series_columns": "a:z", "label": "labl"}, "no column 'labl' and no column 'z'"),
        (
            ["txt,labl", "a,x"],
            {"text": "text"},
            "no column 'label' and no column 'text'.*'labl' for 'label' and 'txt' for",
        ),
        (["x,label", "1,u"], {"series": ("x", "y"), "id": "who"}, "no column 'who' and no column 'y'"),
        (["x,label", *["1,u"] * 30], {"forecast": "x", "horizon": 20, "label": ""}, "too few rows for windows"),
    ],
    ids=str,
)
def test_a_wrong_file(lines, options, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        TableFile(**{"path": written(tmp_path, lines), "label": "label", **options}).load()


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, "No option says what to learn"),
        ({"text": "t"}, "No label column"),
        ({"text": "t", "series": ("x",)}, "--text and --series were given"),
        ({"valid": 0.9}, "valid is 0.9"),
        ({"tokenizer": "word"}, "Write 'words'"),
        ({"horizon": 0}, "horizon is 0"),
        ({"text": "t", "label": "l", "path": "none.csv"}, "none.csv was not found"),
    ],
    ids=str,
)
def test_a_wrong_option(options, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        TableFile(**{"path": reviews(tmp_path), **options}).load()


def test_a_label_unseen_in_training_is_no_label(tmp_path):
    _, preparation = TableFile(path=reviews(tmp_path), text="text", label="label").prepare()
    encoded = encode_file(preparation, written(tmp_path, ["text,label", "a,pos", "b,neutral", "c,"], "new.csv"))
    assert encoded.targets is not None and encoded.targets.tolist() == [1, -100, -100] and encoded.labelled


def test_another_schema_at_prediction(tmp_path):
    _, preparation = TableFile(path=walks(tmp_path), id="id", series=("x",), label="label").prepare()
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "x": ["one"]}), tmp_path / "new.parquet")
    with pytest.raises(UserError, match="'one' in column 'x' is not a number .row 1"):
        encode_file(preparation, tmp_path / "new.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "z": [1]}), tmp_path / "new.parquet")
    with pytest.raises(UserError, match="no column 'x'"):
        encode_file(preparation, tmp_path / "new.parquet")


def test_a_series_too_short_to_forecast(tmp_path):
    _, preparation = TableFile(path=walks(tmp_path, 2, 200), id="id", forecast="x", window=8, horizon=2).prepare()
    with pytest.raises(UserError, match="Series 'new' has 1 row\\."):
        encode_file(preparation, written(tmp_path, ["id,x", "new,1"], "new.csv"))


@pytest.mark.parametrize("change", [{"kind": "pickle"}, {"means": [1]}, {"columns": []}, {"surprise": 1}], ids=str)
def test_a_damaged_preparation(change, tmp_path):
    _, preparation = TableFile(path=reviews(tmp_path), text="text", label="label").prepare()
    with pytest.raises(UserError, match="preparation"):
        Preparation.from_json({**preparation.to_json(), **change})


def test_equal_times_keep_the_order_of_the_file(tmp_path):
    path = written(
        tmp_path,
        ["id,t,x,label", *(f"s{one},{step // 2},{step},{'ab'[one % 2]}" for one in range(20) for step in range(6))],
    )
    loaded, preparation = TableFile(path=path, id="id", time="t", series=("x",), label="label").prepare()
    batch = next(loaded.train.batches(1))
    assert (np.diff(batch.inputs[0, :, 0].numpy()) > 0).all() and len(preparation.means) == 1
