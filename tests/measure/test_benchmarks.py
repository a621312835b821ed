import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from sparsernn import native
from sparsernn.methods.engines import rewiring
from sparsernn.sparsifying import gradients, sparse_run

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = sys.modules[f"benchmark_{name}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def overhead(monkeypatch):
    module = load("masking_overhead")
    for name, value in {"VOCABULARY": 50, "UNITS": 16, "BATCH": 2, "TIME": 4}.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.mark.parametrize("method", ["static", "magnitude", "st_rnn", "rigl"])
def test_masking_overhead_compares_steps(overhead, method):
    row = overhead.compare("SGD", method, rounds=10, every=100)
    assert row["ratio"] > 0 and row["steps_timed"] == 10
    assert (row["ratio_step_with_event"] is None) == (method == "static")


@pytest.mark.filterwarnings("ignore:.*absent weights were not zero")
def test_masking_overhead_refuses_a_figure_if_a_zero_is_wrong(overhead, monkeypatch):
    for module in (sparse_run, gradients):
        monkeypatch.setattr(module, "zero_absent_", lambda tensor, kept: None)
    with pytest.raises(SystemExit, match="absent weights that are not zero"):
        overhead.compare("SGD", "static", rounds=10, every=100)


@pytest.fixture
def event(monkeypatch):
    module = load("rewiring_event")
    for name, value in {"VOCABULARY": 50, "BATCH": 2, "TIME": 4}.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.mark.parametrize("method", ["st_rnn", "set", "rigl", "snfs"])
def test_rewiring_event_is_compared_with_an_epoch(event, method):
    row = event.measure(method, units=16, rounds=3, epoch=10)
    assert row["event_of_epoch"] == pytest.approx(row["ms_event"] / (10 * row["ms_step"])) and row["ms_event"] > 0
    assert row["weights"] == 2 * 50 * 16 + 4 * 64 * 16


def test_rewiring_event_refuses_a_figure_if_a_weight_is_lost(event, monkeypatch):
    monkeypatch.setattr(rewiring, "pick", lambda candidates, number, generator: torch.zeros_like(candidates))
    with pytest.raises(SystemExit, match=r"no figure for st_rnn: after step 3, \d+ weights became \d+"):
        event.measure("st_rnn", units=16, rounds=3, epoch=10)


@pytest.mark.filterwarnings("ignore:.*absent weights were not zero")
def test_peak_memory_is_read_and_refused_if_a_zero_is_wrong(monkeypatch):
    memory = load("peak_memory")
    for name, value in {"VOCABULARY": 50, "BATCH": 2, "TIME": 4}.items():
        monkeypatch.setattr(memory, name, value)
    for name in ("dense", *memory.METHODS):
        assert memory.train(name, units=16, steps=4, momentum=0.9) > 1e7
    for module in (sparse_run, gradients):
        monkeypatch.setattr(module, "zero_absent_", lambda tensor, kept: None)
    with pytest.raises(SystemExit, match="no figure for static"):
        memory.train("static", units=16, steps=4, momentum=0.9)


def test_compaction_speed_refuses_a_figure_if_an_output_changed(monkeypatch):
    speed = load("compaction_speed")
    networks = speed.rivals(16, 5)
    assert list(networks)[0] == "dense" and networks["compacted"].rnn.hidden_size == 4
    assert isinstance(networks["dense"](torch.zeros(1, 5, speed.INPUTS)), torch.Tensor)
    monkeypatch.setattr(speed, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit, match="no figure for 16 units"):
        speed.rivals(16, 5)


@pytest.mark.skipif(native.module is None, reason="the extension is not built here")
def test_scan_speed_refuses_a_figure_if_the_kernel_is_wrong(monkeypatch):
    speed = load("scan_speed")
    rows = speed.compare(5, batch=2, tokens=3, rounds=5, seconds=1)
    assert [row["rounds"] for row in rows] == [5, 5, 5] and rows[0]["times_slower"] == 1
    monkeypatch.setattr(speed, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit, match="no figure for 5 inputs"):
        speed.compare(5, batch=2, tokens=3, rounds=5, seconds=1)


def test_one_shot_cost_refuses_a_figure_if_a_score_is_wrong(monkeypatch):
    cost = load("one_shot_cost")
    row = cost.compare(units=5, rounds=3)
    assert set(row["methods"]) >= {"snip", "jacobian / step", "grasp"} and row["methods"]["snip"]["ratio"] == 1
    monkeypatch.setattr(cost.SNIP, "importance", lambda self, run: cost.METHODS["jacobian"].importance(run))
    with pytest.raises(SystemExit, match="no figure for 5 units: the scores of"):
        cost.compare(units=5, rounds=3)


def test_file_sizes_are_those_of_files(tmp_path):
    module = load("file_sizes")

    def make() -> torch.nn.Module:
        return module.Classifier(vocabulary=50, inputs=16, classes=2, units=32)

    row = module.measure("a network", make, module.Magnitude(0.9), "cell.*", tmp_path)
    assert row["dense"] == row["cut"] > 2 * row["exact"] and row["exact_error"] == 0
    assert row["exact"] > row["float16"] > row["int8"] == (tmp_path / "small.safetensors").stat().st_size


def test_bayesian_step_refuses_a_figure_if_the_kernel_is_wrong(monkeypatch):
    step = load("bayesian_step")
    for name, value in {"STEPS": 3, "BATCH": 2, "INPUTS": 4, "UNITS": 5}.items():
        monkeypatch.setattr(step, name, value)
    rows = {row["configuration"]: row for row in step.compare(rounds=3)}
    assert {"nn.LSTM", "W", "W+G+N per minibatch", "W+G+N per sequence"} < set(rows)
    assert rows["nn.LSTM"]["ratio"] == 1 and all(row["us"] > 0 for row in rows.values())
    monkeypatch.setattr(step, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit, match="no figure: the kernels differ"):
        step.compare(rounds=3)


@pytest.mark.skipif(native.module is None, reason="the extension is not built here")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("steps", [1, 3])
def test_sequence_times_ours_beside_dense_rivals_and_refuses_what_is_wrong(cell, steps, monkeypatch):
    sequence = load("sequence")
    monkeypatch.setattr(sequence, "ROUND_SECONDS", 1e-5)
    monkeypatch.setattr(sequence, "in_onnxruntime", lambda *arguments: [])
    setting = sequence.Setting(cell, hidden=33, inputs=20, sparsity=0.9, steps=steps, batch=2, threads=1)
    rows = sequence.measure(setting, rounds=3)
    assert [row["format"] for row in rows if row["provider"] == "cpu_native"] == list(sequence.ZEROS)
    assert {"torch"} < {row["provider"] for row in rows} and all(row["us"] > 0 for row in rows)
    assert all(row["max_error"] <= sequence.TOLERANCE[row["dtype"]] for row in rows)
    about = sequence.machine(1)
    assert about["instruction_sets"] == native.module.instruction_sets()
    lines = sequence.table([vars(setting) | row for row in rows], about).splitlines()
    assert lines[2].startswith("| cell | units | steps | batch | cpu_native dense |") and len(lines) == 5
    monkeypatch.setattr(sequence, "TOLERANCE", {"float32": -1.0, "int8": -1.0})
    with pytest.raises(SystemExit, match="no figure: dense differs"):
        sequence.measure(setting, rounds=3)


@pytest.mark.skipif(native.module is None, reason="the extension is not built here")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_onnxruntime_computes_the_layer_that_is_timed(cell):
    pytest.importorskip("onnxruntime")
    sequence = load("sequence")
    setting = sequence.Setting(cell, hidden=8, inputs=5, sparsity=0.5, steps=4, batch=2, threads=1)
    weights, x = sequence.weights_of(setting, (1, 1)), sequence.inputs_of(setting)
    rivals = sequence.in_onnxruntime(setting, weights, x, "dense", ("float32", "int8"))
    assert [rival.dtype for rival in rivals][: 1 if cell == "gru" else 2] == ["float32", "int8"][: len(rivals)]
    assert rivals[0].error < 1e-5
    rivals[0].call()
