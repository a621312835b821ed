"""A file of one's own, of every kind: trained, reported, and predicted in the order of its rows."""

import csv
import dataclasses
import json
import math
import random
import re
from pathlib import Path

import pytest

from sparsernn import runtime
from sparsernn.data.table_file import TableFile
from sparsernn.errors import UserError
from sparsernn.experiments.packing import pack_run
from sparsernn.experiments.sources.chosen_words import ChosenWords
from sparsernn.own_data import prediction, sizing, training
from sparsernn.own_data.kinds import kind_of
from sparsernn.own_data.kinds.kind import File, Wishes
from sparsernn.reports import page

LABELS = ("<script>alert(1)</script>", "plain")


def write(path: Path, columns: list[str], rows: list[list]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return str(path)


def texts(folder: Path) -> TableFile:
    chance = random.Random(0)
    rows = [
        [f"a {chance.choice(['good', 'fine'] if kind else ['bad', 'dull'])} day", LABELS[kind]] for kind in [0, 1] * 60
    ]
    return TableFile(path=write(folder / "texts.csv", ["text", "label"], rows), text="text", label="label")


def wide(folder: Path) -> TableFile:
    rows = [[kind + 0.1 * step for step in range(4)] + [LABELS[kind]] for kind in [0, 1] * 60]
    path = write(folder / "wide.csv", ["a", "b", "c", "d", "label"], rows)
    return TableFile(path=path, series_columns="a:d", label="label")


def long_series(folder: Path, per: str) -> TableFile:
    rows = []
    for series in range(40):
        for step in range(5):
            kind = series % 2 if per == "series" else step % 2
            rows.append([f"s{series}", step, kind + 0.1 * step, LABELS[kind]])
    path = write(folder / f"{per}.csv", ["id", "time", "x", "label"], rows)
    return TableFile(path=path, id="id", time="time", series=("x",), label="label", label_per=per)


def forecast(folder: Path) -> TableFile:
    rows = [[step, math.sin(step / 3)] for step in range(400)]
    return TableFile(
        path=write(folder / "wave.csv", ["time", "x"], rows), forecast="x", time="time", horizon=3, window=12
    )


def running_text(folder: Path) -> TableFile:
    path = folder / "text.txt"
    path.write_text("\n".join("the cat sat on the mat and the dog lay down" for _ in range(300)))
    return TableFile(path=str(path), language_model=True)


KINDS = {
    "texts": (texts, 120),
    "wide": (wide, 120),
    "label_per_series": (lambda folder: long_series(folder, "series"), 40),
    "label_per_step": (lambda folder: long_series(folder, "step"), 200),
    "forecast": (forecast, None),
    "running_text": (running_text, 1),
}


def delivered(out: Path, row: str) -> int:
    """Leaves in a run folder what a prediction needs, and nothing else; the bytes of its network."""
    (folder,) = out.glob(f"{row}-seed*")
    for name in ("weights.safetensors", "masks.npz"):
        (folder / name).unlink()
    return (folder / "compact.safetensors").stat().st_size


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_trained_on_and_predicted(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    make, expected = KINDS[kind]
    task = make(tmp_path)
    asked = training.Training(task, units=4, epochs=2, out=tmp_path / "out", progress=False)
    outcome = training.train(asked)
    assert len(outcome.results) == 4 and all(result["metrics"] for result in outcome.results)
    sparse = outcome.results[-1]["metrics"]
    # A network of four units in blocks of sixteen rows has 3 of them for each of its 4 columns or so.
    # One of eight words has no vector in the sparse network, the padding none in any.
    targets = {"texts": pytest.approx(0.25, abs=0.1), "running_text": pytest.approx(0.5, abs=0.02)}
    target = targets.get(kind, pytest.approx(0.75, abs=0.1))
    assert sparse["sparsity"] == target and sparse["compaction_difference"] <= 1e-5
    shown = page.write(outcome.run_folders, tmp_path / "report.html").read_text()
    assert "<script>alert(1)" not in shown
    dense, final = (delivered(tmp_path / "out", name) for name in ("dense", "sparse"))
    # Of a network of four units the list of what was cut can be as long as what it saves.
    assert final < 1.1 * dense and dense <= outcome.results[1]["metrics"]["bytes_dense"]
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert (
        verdict["test_rows"] > 0
        and verdict["file_bytes"] > 0
        and verdict["says"].startswith(("Use the ", "It has not learned"))
    )
    assert {"majority", "baseline", "dense", "small_dense", "sparse"} <= set(verdict["figures"])
    found = json.loads(json.dumps(prediction.predict(tmp_path / "out", Path(task.path))))["predictions"]
    assert expected is None or len(found) == expected
    if "label" in found[0]:
        assert all(one["label"] in LABELS and sum(one["probabilities"].values()) == pytest.approx(1) for one in found)
    if kind != "texts":  # whose file holds more than the network of the run
        (run,) = (tmp_path / "out").glob("sparse-seed*")
        pack_run(run, tmp_path / "packed", 10, 4, int8=False, dtype=None)
        exact, with_torch = (
            prediction.predict(one, Path(task.path))["predictions"] for one in (tmp_path / "packed", run)
        )
        assert len(exact) == len(found)
        for ours, theirs in zip(exact, with_torch, strict=True):
            for one, other in zip(numbers(ours), numbers(theirs), strict=True):
                assert one == pytest.approx(other, abs=1e-4)
    prediction.write_csv(found, tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found)


def test_large_files_are_sampled_and_small_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    task = texts(tmp_path)
    loaded = task.load()
    assert training.sampled(task, loaded) == loaded
    monkeypatch.setattr(training, "MOST_TRAINED", 64)
    few = training.sampled(task, loaded).train
    assert len(few) == 64 < len(loaded.train)


def test_no_network_gets_more_steps_or_help_than_another(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    for make, _ in KINDS.values():
        task = make(tmp_path)
        loaded, preparation = task.prepare()
        file = File(task, loaded, preparation, training.row_numbers(loaded), loaded)
        wishes = Wishes("gru", training.make_method("magnitude", 0.9))
        dense, small, sparse = kind_of(task, loaded).rows(file, wishes)
        assert dense.settings == small.settings == sparse.settings
        sources = [[type(one) for one in row.without(ChosenWords).sources] for row in (dense, small, sparse)]
        assert sources[0] == sources[1] == sources[2]
        if any(isinstance(source, ChosenWords) for source in sparse.sources):
            assert sparse.method is None and small.options["inputs"] < dense.options["inputs"]
            continue
        assert small.options["units"] < dense.options["units"] and sparse.method == wishes.method
        asked = dataclasses.replace(wishes, units=7, epochs=3)
        rows = kind_of(task, loaded).rows(file, asked)
        assert rows[0].options["units"] == 7 and all(row.settings.epochs == 3 for row in rows)


def test_predictions_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="could not be written to .*/none/a.csv: no such file"):
        prediction.write_csv([{"label": "a"}], tmp_path / "none" / "a.csv")


def test_forecasts_are_named_by_their_series(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    rows = [[name, step, step % 5] for name in ("b", "a") for step in range(120)]
    path = write(tmp_path / "two.csv", ["id", "time", "x"], rows)
    task = TableFile(path=path, forecast="x", id="id", time="time", horizon=2, window=6)
    training.train(training.Training(task, units=4, epochs=1, out=tmp_path / "out", progress=False))
    found = prediction.predict(tmp_path / "out", Path(path))["predictions"]
    assert [one["id"] for one in found] == ["b", "a"] and all(len(one["forecast"]) == 2 for one in found)


IMPOSSIBLE = {
    "a cell that is none": ({"cell": "grue"}, "gru"),
    "a method that is none": ({"method": "magnitud"}, "magnitude"),
    "a level that the cell lacks": ({"granularity": "state"}, 'granularity "state"'),
    "a level that the method lacks": ({"method": "rigl", "granularity": "neuron"}, 'granularity "neuron"'),
    "an option that the method lacks": ({"method": "sparse_variational_dropout", "granularity": "gate"}, "granularity"),
    "more steps than there are": ({"method": "rigl", "epochs": 1}, "can never fire"),
    "more than all": ({"sparsity": 1.5, "method": "group_lasso"}, r"\[0, 1\)"),
    "no room": ({"units": 1 << 16}, "fewer --units"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_is_refused_before_anything_is_trained(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    task, out = KINDS[kind][0](tmp_path), tmp_path / "out"
    usual = {"epochs": 2, "units": 4, "out": out, "progress": False}
    for options, said in IMPOSSIBLE.values():
        with pytest.raises(UserError, match=said):
            training.train(training.Training(task, **usual | options))
        assert not out.exists()


@pytest.mark.parametrize(("kind", "cell"), [("wide", "sru"), ("running_text", "rational")])
def test_a_cell_that_needs_torch_answers_from_its_runs(kind, cell, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    task, out = KINDS[kind][0](tmp_path), tmp_path / "out"
    training.train(training.Training(task, cell=cell, units=4, epochs=1, out=out, progress=False))
    assert not (out / "network.sparsernn").exists() and prediction.predict(out, Path(task.path))["predictions"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_as_large_as_allowed_or_the_least_possible_size_is_said(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    task, usual = KINDS[kind][0](tmp_path), {"epochs": 1, "progress": False}
    with pytest.raises(sizing.TooLarge, match="fits in 100 bytes") as raised:
        training.train(training.Training(task, bytes=100, out=tmp_path / "out", **usual))
    assert str(raised.value).count(".") <= 4 and not (tmp_path / "out").exists()
    least = int(re.search(r"at least --bytes (\d+)", str(raised.value))[1])
    with pytest.raises(sizing.TooLarge):
        training.train(training.Training(task, bytes=least - 1, out=tmp_path / "out", **usual))
    for limit in (least, 2500):
        out = tmp_path / str(limit)
        verdict = training.train(training.Training(task, bytes=limit, out=out, **usual)).verdict
        size = (out / "network.sparsernn").stat().st_size
        assert size <= limit and verdict.bytes["sparse"] == size and f"at most {limit:,}" in verdict.says[-1]
        assert prediction.predict(out, Path(task.path))["predictions"]


def test_what_was_asked_for_does_not_give_way(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    task, usual = forecast(tmp_path), {"epochs": 2, "progress": False, "bytes": "2.5 kB"}
    sizes = {}
    for name, options in {"units": {"units": 24}, "sparsity": {"sparsity": 0.5}}.items():
        outcome = training.train(training.Training(task, out=tmp_path / name, **options, **usual))
        (recipe,) = (tmp_path / name).glob("sparse-seed*/recipe.json")
        row = json.loads(recipe.read_text())
        sizes[name] = (row["model"]["options"]["units"], row["method"]["sparsity"])
        assert outcome.verdict.bytes["sparse"] <= 2500
    assert sizes["units"][0] == 24 and sizes["units"][1] > 0.75
    assert sizes["sparsity"][1] == 0.5 and sizes["sparsity"][0] < 24
    with pytest.raises(sizing.TooLarge):
        training.train(training.Training(task, out=tmp_path / "both", units=24, sparsity=0.5, **usual))


def test_units_and_sparsity_that_were_asked_for_of_texts_do_not_give_way_to_the_linear_part(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    asked = {"units": 64, "sparsity": 0.5, "epochs": 1, "progress": False}
    with pytest.raises(sizing.TooLarge) as raised:
        training.train(training.Training(texts(tmp_path), bytes="2kB", out=tmp_path / "out", **asked))
    least = int(re.search(r"at least --bytes (\d+)", str(raised.value))[1])
    training.train(training.Training(texts(tmp_path), bytes=least, out=tmp_path / "out", **asked))
    (recipe,) = (tmp_path / "out").glob("sparse-seed*/recipe.json")
    assert json.loads(recipe.read_text())["model"]["options"]["units"] == 64
    assert (tmp_path / "out" / "network.sparsernn").stat().st_size <= least


def test_the_vocabulary_of_a_language_model_gives_way(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    chance = random.Random(0)
    lines = [" ".join(f"w{chance.randrange(500)}" for _ in range(10)) for _ in range(400)]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    task = TableFile(path=str(tmp_path / "text.txt"), language_model=True)
    asked = training.Training(task, bytes="6kB", epochs=1, out=tmp_path / "out", progress=False)
    assert training.train(asked).verdict.bytes["sparse"] <= 6000
    words = runtime.load(tmp_path / "out" / "network.sparsernn").outputs
    assert 32 <= words < 300 < task.load().outputs


@pytest.mark.parametrize("kind", KINDS)
def test_the_sparsest_network_that_is_good_enough_stays(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    task = KINDS[kind][0](tmp_path)
    usual = {"epochs": 1, "units": 4, "out": tmp_path / "out", "progress": False}
    said = []
    verdict = training.train(training.Training(task, quality=1e6, **usual), said.append).verdict
    (first,) = verdict.tried
    assert first.reached and first.saved and first.bytes == pytest.approx(verdict.bytes["sparse"], abs=9)
    assert f"tried a sparsity of {first.sparsity:.3g}" in "\n".join(said)
    assert "is the sparsest tried" in verdict.says[-1]
    again = training.train(training.Training(task, quality=1e6, resume=True, **usual)).verdict
    assert [(one.sparsity, one.valid) for one in again.tried] == [(first.sparsity, first.valid)]
    assert again.figures == verdict.figures and again.says[0] == verdict.says[0]
    with pytest.raises(UserError, match="quality"):
        training.train(training.Training(task, quality=5, resume=True, **usual))


def test_the_figures_of_tries_are_those_of_validation_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    chance = random.Random(0)
    rows = [[chance.gauss(kind, 2) for _ in range(4)] + [LABELS[kind]] for kind in [0, 1] * 150]
    names = ["a", "b", "c", "d", "label"]
    task = TableFile(path=write(tmp_path / "a.csv", names, rows), series_columns="a:d", label="label")
    asked = training.Training(task, quality=0, bytes=5000, epochs=3, units=4, out=tmp_path / "out", progress=False)
    verdict = training.train(asked).verdict
    held = [rows[number] for number in task.load().valid.rows]
    predicted = prediction.predict(tmp_path / "out", Path(write(tmp_path / "valid.csv", names, held)))
    (saved,) = (one for one in verdict.tried if one.saved)
    assert 100 * predicted["scores"]["accuracy"] == pytest.approx(saved.valid)
    assert saved.reached == (saved.valid >= saved.dense) == (not verdict.says[-1].endswith("was not reached."))
    assert [one.sparsity for one in verdict.tried] == sorted((one.sparsity for one in verdict.tried), reverse=True)
    if not saved.reached:
        assert len(verdict.tried) == 4 and saved.valid == max(one.valid for one in verdict.tried)


@pytest.mark.parametrize(
    ("text", "size"), [(20000, 20000), ("50kB", 50_000), ("1.5 MB", 1_500_000), ("64KiB", 65_536), ("1,200", 1200)]
)
def test_sizes_in_bytes(text, size):
    assert sizing.bytes_in(text) == size


@pytest.mark.parametrize(
    "wrong",
    [{"bytes": "many"}, {"bytes": 0}, {"bytes": "-3kB"}, {"quality": -1.0}, {"quality": math.nan},
     {"quality": 1.0, "sparsity": 0.5}],
    ids=str,
)  # fmt: skip
def test_limits_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UserError, match="bytes|quality"):
        training.Training(TableFile(path="none.csv"), **wrong)


def numbers(made):
    """Everything in a prediction that is a number."""
    if isinstance(made, dict):
        return [number for value in made.values() for number in numbers(value)]
    if isinstance(made, list):
        return [number for value in made for number in numbers(value)]
    return [made] if isinstance(made, float) else []


@pytest.mark.parametrize("wrong", [{"units": -3}, {"epochs": -1}, {"seed": -1}], ids=str)
def test_a_negative_number_is_refused(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} is -"):
        training.Training(TableFile(path="none.csv"), **wrong)


def test_a_folder_in_use_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "kept.txt").write_text("")
    with pytest.raises(UserError, match="holds something already") as raised:
        training.Training(TableFile(path="none.csv"), out=tmp_path)
    assert "Pass --resume to go on" in str(raised.value)


def test_the_methods_are_taken_by_name(tmp_path, monkeypatch):
    assert training.make_method("rigl", 0.8).sparsity == 0.8
    assert training.make_method("group_lasso", 0.8).strength == training.STRENGTH
    with pytest.raises(UserError, match="magnitude"):
        training.make_method("magnitud", 0.8)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="not the folder of a training"):
        prediction.predict(tmp_path, tmp_path / "x.csv")
