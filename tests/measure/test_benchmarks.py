import importlib.util
from pathlib import Path

import pytest
import torch

from sparsernn.methods.zeroing import Zeroing

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
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


def test_masking_overhead_refuses_a_figure_if_a_zero_is_wrong(overhead, monkeypatch):
    monkeypatch.setattr(Zeroing, "zero_", lambda self, name, tensor: None)
    with pytest.raises(SystemExit, match="absent weights that are not zero"):
        overhead.compare("SGD", "static", rounds=10, every=100)


def test_compaction_speed_refuses_a_figure_if_an_output_changed(monkeypatch):
    speed = load("compaction_speed")
    networks = speed.rivals(16, 5)
    assert list(networks)[0] == "dense" and networks["compacted"].rnn.hidden_size == 4
    assert isinstance(networks["dense"](torch.zeros(1, 5, speed.INPUTS)), torch.Tensor)
    monkeypatch.setattr(speed, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit, match="no figure for 16 units"):
        speed.rivals(16, 5)
