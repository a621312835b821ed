"""The benchmark of own data: files that `sparsernn train` reads, and figures that a table shows."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from sparsernn.data.table_file import TableFile
from sparsernn.experiments import results
from sparsernn.own_data import training
from sparsernn.reports import tables

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "own_data.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("own_data_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_is_written_whole_or_not_at_all(benchmark, tmp_path):
    benchmark.write([("text", "label"), ("a, b", "x\ny")], tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["text", "label"], ["a, b", "x\ny"]]

    def broken():
        yield "text", "label"
        raise ValueError

    with pytest.raises(ValueError):
        benchmark.write(broken(), tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


def test_the_options_name_columns_and_no_more(benchmark):
    given = {word for data in benchmark.DATA_SETS.values() for word in data.options.split() if word.startswith("--")}
    assert given == {"--text", "--label", "--id", "--time", "--series", "--forecast", "--horizon"}


def test_a_finished_run_becomes_a_line_of_the_table(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    rows = [(step, step % 7, step % 2) for step in range(200)]
    benchmark.write([("time", "load", "heat"), *rows], tmp_path / "loads.csv")
    task = TableFile(path=str(tmp_path / "loads.csv"), time="time", series=("heat",), forecast="load", window=8)
    training.train(training.Training(task, units=4, epochs=2, out=tmp_path / "loads", progress=False))
    measured = {"command": "sparsernn train loads.csv", "seconds": 90.0, "processor_seconds": 60.0, "peak_bytes": 1}
    (tmp_path / "loads.json").write_text(json.dumps(measured))
    result = benchmark.collect("loads", tmp_path)
    results.write(tmp_path / "results" / "own_data" / "loads-seed0.json", result)
    assert str(tmp_path) not in json.dumps(result)
    verdict = result["metrics"]["verdict"]
    heading, _, line = tables.results_table(tmp_path / "results", "own_data").splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert "call, against baseline" in heading and cells[0] == "loads, seed 0"
    names = ("majority", "baseline", "dense", "small_dense", verdict["saved"])
    assert [float(cell) for cell in cells[1:6]] == pytest.approx([verdict["figures"][name] for name in names], rel=0.01)
    assert cells[-1] == "1.0 min" and result["metrics"]["sparse"]["epochs"] == 2


def test_a_wrong_name_is_refused(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["own_data.py", "sst3"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "unknown: sst3; the data sets are sst2" in capsys.readouterr().err
