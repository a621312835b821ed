"""A resumed training is of the same file and options, on the command line and in Python."""

import json
import os
import shutil

import pytest
from typer.testing import CliRunner

from sparsernn.cli import app
from sparsernn.data.table_file import TableFile
from sparsernn.errors import UserError
from sparsernn.experiments import jobs
from sparsernn.own_data import training
from tests.trust import corpus

OPTIONS = ["--text", "text", "--label", "label", "--units", "3", "--epochs", "1"]


def call(*words):
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture
def begun(whole, tmp_path):
    """A training that was stopped when its dense network was done."""
    shutil.copy(whole / "texts.csv", tmp_path)
    shutil.copytree(whole / "gru", tmp_path / "gru")
    shutil.rmtree(tmp_path / "gru" / "sparse-seed0")
    return tmp_path


def test_the_same_file_goes_on_to_the_same_bytes_wherever_it_lies(begun, whole):
    (begun / "texts.csv").rename(begun / "moved.csv")
    (begun / "elsewhere").mkdir()
    shutil.copy(begun / "moved.csv", begun / "elsewhere" / "texts.csv")
    called = call("train", begun / "elsewhere" / "texts.csv", *OPTIONS, "--out", begun / "gru", "--resume")
    assert called.exit_code == 0, (called.output, called.exception)
    for name in ("weights.safetensors", "compact.safetensors", "masks.npz"):
        made = (begun / "gru" / "sparse-seed0" / name).read_bytes()
        assert made == (whole / "gru" / "sparse-seed0" / name).read_bytes()
    assert "dense: finished before" in called.stderr


@pytest.mark.parametrize(
    ("more", "named"),
    [(["--units", "4"], "units: 3, now 4"), (["--cell", "lstm"], "cell: "), (["--seed", "1"], "seed: 0, now 1"),
     (["--sparsity", "0.5"], "sparsity: null, now 0.5"), (["--tokenizer", "blanks"], "tokenizer")],
    ids=str,
)  # fmt: skip
def test_other_options_are_refused_by_name(more, named, begun):
    called = call("train", begun / "texts.csv", *OPTIONS, *more, "--out", begun / "gru", "--resume")
    assert called.exit_code == 2 and called.stderr.splitlines()[-1].startswith("Error:") and named in called.stderr


@pytest.mark.parametrize("asked", [True, False])
def test_another_file_of_the_same_size_and_time_is_refused(asked, begun):
    """Also where only the run folders say what they were begun with."""
    path = begun / "texts.csv"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(path.read_text().replace("fine", "dull", 1))
    os.utime(path, ns=times)
    if not asked:
        (begun / "gru" / "training.json").unlink()
    task = TableFile(path=str(path), text="text", label="label", cache=str(begun / "cache"))
    with pytest.raises(UserError, match=r"files\.texts\.csv: .*, now "):
        training.train(training.Training(task, units=3, epochs=1, out=begun / "gru", resume=True))


@pytest.mark.parametrize("moment", [1, 3, 5])
def test_a_file_that_changes_while_it_is_read_is_refused_and_nothing_is_begun(moment, begun, monkeypatch):
    path = begun / "texts.csv"
    monkeypatch.setenv("SPARSERNN_CACHE", str(begun / "cache"))
    moments = []

    def progress(what, done, total):
        moments.append(what)
        if len(moments) == moment:
            path.write_text(path.read_text().replace("fine", "dull", 1))

    task = TableFile(path=str(path), text="text", label="label")
    with pytest.raises(UserError, match="was changed while it was read"):
        training.train(training.Training(task, units=3, epochs=1, out=begun / "new"), progress=progress)
    assert not (begun / "new").exists() and list((begun / "cache").iterdir()) == []


def test_a_file_that_changes_later_changes_nothing_of_what_is_said(begun, monkeypatch):
    path = begun / "texts.csv"
    monkeypatch.setenv("SPARSERNN_CACHE", str(begun / "cache"))
    before = corpus.content_sum(path)
    real = jobs.train

    def train(*arguments, **keywords):
        path.write_text(path.read_text().replace("fine", "dull", 1))
        return real(*arguments, **keywords)

    monkeypatch.setattr(jobs, "train", train)
    task = TableFile(path=str(path), text="text", label="label")
    training.train(training.Training(task, units=3, epochs=1, out=begun / "new", progress=False))
    result = json.loads((begun / "new" / "sparse-seed0" / "result.json").read_text())
    assert result["provenance"]["files"] == {"texts.csv": before}


def test_two_trainings_into_one_folder_are_refused(begun):
    from sparsernn import durable

    with durable.locked(begun / "gru"):
        called = call("train", begun / "texts.csv", *OPTIONS, "--out", begun / "gru", "--resume")
    assert called.exit_code == 2 and "in use by another process" in called.stderr


def test_a_system_that_refuses_anything_is_one_line_and_status_2(whole, monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(corpus.prediction, "predict", refuse)
    called = call("predict", whole / "gru", whole / "texts.csv")
    assert called.exit_code == 2 and called.stderr.startswith("Error: ") and called.stderr.count("\n") == 1
