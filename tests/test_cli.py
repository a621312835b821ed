"""The command line, through typer's own runner and once as a process."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sparsernn
from sparsernn import folders, terminal
from sparsernn.cli import app
from sparsernn.listing import FOLDERS

CHANGES = ("settings.epochs=1", "model.units=8", "measure.latency_seconds=0.02")
TINY = ["--size", "quick", *(word for change in CHANGES for word in ("--set", change))]


def call(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words: object) -> str:
    """The message of a call that must fail as a user's error does."""
    found = call(*words)
    assert found.exit_code == 2, (found.stdout, found.stderr, found.exception)
    assert found.stdout == "" and "Traceback" not in found.stderr
    return found.stderr


@pytest.fixture(scope="module")
def run_of_two_rows(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    found = call("run", "quickstart", *TINY, "--rows", "neurons", "--out", out)
    assert found.exit_code == 0, found.stderr
    return out, found


@pytest.mark.parametrize("kind", FOLDERS)
def test_each_kind_is_listed_as_json_with_names_and_first_lines(kind):
    found = call("list", kind, "--json")
    assert found.exit_code == 0
    listed = json.loads(found.stdout)
    assert {entry["name"] for entry in listed} >= set(folders.names(FOLDERS[kind]))
    assert all(entry["summary"] or entry.get("error") for entry in listed)


def test_everything_is_listed_at_once():
    assert set(json.loads(call("list", "--json").stdout)) == set(FOLDERS)
    text = call("list").stdout
    assert "quickstart" in text and "magnitude" in text and "gru" in text


def test_sources_are_listed():
    listed = {entry["name"]: entry for entry in json.loads(call("list", "methods", "--json").stdout)}
    assert listed["rigl"]["source"] == "Evci et al. 2020, Algorithm 1."


def test_the_version_is_printed():
    assert call("--version").stdout.strip() == f"sparsernn {sparsernn.__version__}"


@pytest.mark.parametrize(
    "words, expected",
    [
        (["lst"], "Write 'list', the nearest"),
        (["list", "metods"], "Write 'methods', the nearest"),
        (["run", "quikstart"], "quickstart"),
        (["run", "quickstart", "--size", "quik"], "full, cpu, quick"),
        (["run", "quickstart", "--rows", "dence"], "Write 'dense', the nearest"),
        (["run", "quickstart", "--seed", "one"], "whole numbers"),
        (["run", "quickstart", "--set", "settings.epoch=3"], "Write 'epochs', the nearest"),
        (["run", "quickstart", "--set", "settings.epochs=many"], "a whole number"),
        (["run", "quickstart", "--set", "rows.st_rnn.method.sparsity=1.5"], "sparsity"),
    ],
)
def test_a_typo_is_one_message_that_names_the_nearest(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(*words)
    assert expected in message and message.startswith("Error: ") and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words, goes_on", [(["train", "a.csv"], True), (["report", "a"], False)])
def test_ctrl_c_is_a_sentence(words, goes_on, monkeypatch):
    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsernn.own_data.training.train", interrupted)
    monkeypatch.setattr("sparsernn.reports.page.write", interrupted)
    found = call(*words)
    assert found.exit_code == 130 and found.stderr.splitlines()[-1].startswith("Stopped.")
    assert ("--resume" in found.stderr) == goes_on


def test_tables_fit_eighty_columns(run_of_two_rows, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    _, found = run_of_two_rows
    for text in (found.stdout, *(call("list", kind).stdout for kind in FOLDERS), call("train", "--help").stdout):
        assert max(len(line) for line in text.splitlines()[:-1]) <= 80


def test_remarks_are_broken_between_words_on_a_terminal_alone(monkeypatch, capsys):
    remark = " ".join(["many words"] * 12)
    terminal.print_remark(remark)
    assert capsys.readouterr().err == remark + "\n"
    reader, writer = pty.openpty()
    with io.TextIOWrapper(os.fdopen(writer, "wb", buffering=0), write_through=True) as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setenv("COLUMNS", "80")
        terminal.print_remark(remark)
    lines = os.read(reader, 100_000).decode().split("\r\n")
    os.close(reader)
    assert max(map(len, lines)) <= 80 and " ".join(" ".join(lines).split()) == remark


def test_a_run_prints_a_table_and_the_path_of_its_page_on_a_line_of_its_own(run_of_two_rows):
    out, found = run_of_two_rows
    page = Path(found.stdout.splitlines()[-1])
    assert page == out / "report.html" and page.read_text().startswith("<!doctype html>".upper()[:2])
    assert "neurons" in found.stdout and "%" in found.stdout


def test_a_folder_in_use_is_refused_and_resume_continues_it(run_of_two_rows):
    out, _ = run_of_two_rows
    words = ["run", "quickstart", *TINY, "--rows", "neurons", "--out", out]
    assert "in use" in refused(*words)
    again = call(*words, "--resume", "--json")
    assert again.exit_code == 0
    printed = json.loads(again.stdout)
    assert [result["row"] for result in printed["results"]] == ["dense", "neurons"]
    assert Path(printed["page"]).is_file() and Path(printed["out"]) == out


def test_resume_with_another_recipe_is_refused(run_of_two_rows):
    out, _ = run_of_two_rows
    message = refused("run", "quickstart", *TINY, "--set", "settings.batch_size=16", "--out", out, "--resume")
    assert "settings.batch_size" in message


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_report_writes_a_page_where_it_is_told_and_nothing_where_it_reads(run_of_two_rows, tmp_path, monkeypatch):
    out, _ = run_of_two_rows
    found = call("report", out / "dense-seed0", out / "neurons-seed0", "--out", tmp_path / "page.html")
    assert found.stdout.strip() == str(tmp_path / "page.html") and (tmp_path / "page.html").is_file()
    before = contents(out)
    monkeypatch.chdir(tmp_path)
    assert call("report", out).stdout.strip() == "report.html" and (tmp_path / "report.html").is_file()
    assert contents(out) == before
    assert "not a run folder" in refused("report", tmp_path)


def test_compact_prints_sizes(run_of_two_rows, tmp_path):
    out, _ = run_of_two_rows
    found = call("compact", out / "neurons-seed0", "--json")
    sizes = json.loads(found.stdout)
    assert sizes["weights_compacted"] < sizes["weights"] and Path(sizes["file"]).is_file()
    assert "weights_compacted" in call("compact", out / "neurons-seed0").stdout
    assert "holds no run" in refused("compact", tmp_path)


def test_a_damaged_weights_file_is_one_message(run_of_two_rows):
    out, _ = run_of_two_rows
    weights = out / "dense-seed0" / "weights.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[: len(whole) // 2])
        assert "weights.safetensors" in refused("compact", out / "dense-seed0")
    finally:
        weights.write_bytes(whole)


def test_python_dash_m_runs_the_same_commands_without_a_traceback(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "sparsernn"]
    listed = subprocess.run([*words, "list", "recipes", "--json"], capture_output=True, text=True, env=environment)
    assert listed.returncode == 0 and "quickstart" in [entry["name"] for entry in json.loads(listed.stdout)]
    wrong = subprocess.run([*words, "run", "quikstart"], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert wrong.returncode == 2 and "quickstart" in wrong.stderr and "Traceback" not in wrong.stderr
