"""Readers of a run: many at once, beside a writer, on a disk that cannot be written; and they leave it as it is."""

import multiprocessing
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from sparsernn import runtime
from sparsernn.cli import app
from sparsernn.errors import UserError
from sparsernn.experiments import trained
from sparsernn.own_data import prediction
from sparsernn.training.run_folder import RunFolder


def states(folder):
    paths = sorted(folder.rglob("*"))
    return [(path, path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths]


def commands(whole, run):
    return [
        ["predict", run, whole / "texts.csv", "--json"],
        ["report", run],
        ["explain", run, "--text", "a fine day", "--json"],
        ["bench", whole / "gru.packed", "--steps", "2"],
        ["bench", run.parent / "gru" / "sparse-seed0", "--steps", "2"],
        ["pack", run.parent / "gru", "--out", "packed"],
    ]


def run_all(whole, run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for words in commands(whole, run):
        called = CliRunner().invoke(app, list(map(str, words)))
        assert called.exit_code == 0, (words, called.output, called.exception)


def test_reading_commands_leave_what_they_read_as_it_is(whole, tmp_path, monkeypatch):
    before = states(whole / "run"), states(whole / "gru")
    run_all(whole, whole / "run", tmp_path, monkeypatch)
    assert (states(whole / "run"), states(whole / "gru")) == before


def test_reading_commands_need_no_right_to_write(whole, tmp_path, monkeypatch):
    for name in ("original", "seen", "here"):
        (tmp_path / name).mkdir()
    for name in ("run", "gru"):
        shutil.copytree(whole / name, tmp_path / "original" / name)
    bind = ["mount", "--bind", str(tmp_path / "original"), str(tmp_path / "seen")]
    if os.geteuid() != 0 or subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path / "seen")], check=True)
        run_all(whole, tmp_path / "seen" / "run", tmp_path / "here", monkeypatch)
    finally:
        subprocess.run(["umount", str(tmp_path / "seen")], check=True)


def predicted(whole):
    return prediction.predict(whole / "gru", whole / "texts.csv")


def test_threads_and_processes_predict_at_once_beside_a_writer(whole):
    expected = predicted(whole)
    with RunFolder.open(whole / "gru" / "sparse-seed0"):
        with ThreadPoolExecutor(8) as pool:
            assert all(one == expected for one in pool.map(predicted, [whole] * 16))
        with multiprocessing.get_context("fork").Pool(4) as pool:
            assert all(one == expected for one in pool.map(predicted, [whole] * 8))


def test_another_file_of_the_same_size_and_time_gives_another_prediction(whole, tmp_path):
    answers = []
    for word in ("fine", "dull"):
        (tmp_path / "new.csv").write_text(f"text\na {word} day\n")
        os.utime(tmp_path / "new.csv", (1_700_000_000, 1_700_000_000))
        answers.append(prediction.predict(whole / "gru", tmp_path / "new.csv"))
    assert answers[0] != answers[1]


def test_a_run_that_is_still_training_is_said_to_be(whole, tmp_path):
    shutil.copytree(whole / "gru", tmp_path / "gru")
    run = tmp_path / "gru" / "sparse-seed0"
    (run / "compact.safetensors").unlink()
    with RunFolder.open(run):
        labels = [one["label"] for one in prediction.predict(run, whole / "texts.csv")["predictions"]]
        whole_run = prediction.predict(whole / "gru" / "sparse-seed0", whole / "texts.csv")
        assert labels == [one["label"] for one in whole_run["predictions"]]
        (run / "weights.safetensors").unlink()
        for read in (lambda: prediction.predict(run, whole / "texts.csv"), lambda: trained.read(run)):
            with pytest.raises(UserError, match="is not finished: it has no weights.safetensors yet"):
                read()
        shutil.rmtree(run)
        (tmp_path / "gru" / "network.sparsernn").unlink()
        with pytest.raises(UserError, match="has no sparse network yet"):
            prediction.predict(tmp_path / "gru", whole / "texts.csv")


def test_the_runtime_reads_at_once_from_threads(whole):
    with ThreadPoolExecutor(8) as pool:
        sizes = set(pool.map(lambda _: len(runtime.load(whole / "gru.packed").layers), range(16)))
    assert len(sizes) == 1


def test_what_a_network_learned_is_not_read_off_other_texts(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole / "run", tmp_path / "run")
    recipe = tmp_path / "run" / "sparse-seed0" / "recipe.json"
    (tmp_path / "texts.csv").write_text((whole / "texts.csv").read_text().replace("fine", "dull", 1))
    recipe.write_text(recipe.read_text().replace(str(whole / "texts.csv"), str(tmp_path / "texts.csv")))
    called = CliRunner().invoke(app, ["explain", "run"])
    assert called.exit_code == 2 and "texts.csv is not what run/sparse-seed0 was trained on" in called.stderr


def test_a_preparation_of_another_training_is_refused(whole, tmp_path):
    shutil.copytree(whole / "gru", tmp_path / "gru")
    shutil.copy(whole / "series" / "sparse-seed0" / "preparation.json", tmp_path / "gru" / "sparse-seed0")
    with pytest.raises(UserError, match=r"is for 2 inputs and 2 outputs, its network for \d+ and 2"):
        prediction.predict(tmp_path / "gru" / "sparse-seed0", whole / "series.csv")
