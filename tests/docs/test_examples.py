"""The scripts in examples/ run on real data, in a few epochs."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS = {
    "text_classifier": (["--epochs", "1", "--out", "made"], ["made/reviews.sparsernn"]),
    "spoken_digits": (["--epochs", "1", "--rounds", "1", "--out", "made"], ["made/listener.c", "made/listener.h"]),
    "gates": (["--epochs", "1", "--share", "0.01", "--out", "made.svg"], ["made.svg"]),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a script in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))

    def script(name, options, data):
        monkeypatch.setenv("SPARSERNN_DATA", str(data))
        monkeypatch.setattr(sys, "argv", [name, *options])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    return script


def test_every_example_is_run():
    assert set(RUNS) == {path.stem for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", RUNS)
def test_an_example_leaves_its_files(name, run, data_folder, tmp_path, capsys):
    options, files = RUNS[name]
    run(name, options, data_folder)
    said = capsys.readouterr().out
    assert all((tmp_path / file).stat().st_size > 500 for file in files)
    if name == "text_classifier":
        assert (tmp_path / files[0]).stat().st_size <= 50_000
        assert "'negative'" in said and "test rows" in said
    elif name == "spoken_digits":
        assert "listener" in (tmp_path / files[1]).read_text() and "of the test recordings" in said
    else:
        assert "<svg" in (tmp_path / files[0]).read_text() and "units live" in said


@pytest.mark.parametrize("name", RUNS)
def test_absent_data_are_said_in_a_sentence(name, run, tmp_path):
    with pytest.raises(SystemExit, match="^The data are absent: "):
        run(name, [], tmp_path / "nothing")
