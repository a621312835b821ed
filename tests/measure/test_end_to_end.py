"""Every form of a network that is shipped is scored on the same outputs, and one that differs gives no figure."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: sparsernn[export]")
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")
FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def end_to_end(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("end_to_end", FOLDER / "end_to_end.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "end_to_end", module)
    spec.loader.exec_module(module)
    return module


def made(module, layer):
    """A case whose quality is how often the first of three outputs is positive."""
    torch.manual_seed(0)
    model = module.Reader(layer(4, 9, batch_first=True), 3).eval()
    sequences = [np.random.default_rng(length).normal(size=(length, 4)).astype(np.float32) for length in (9, 12)]
    expected = np.concatenate(module.of_torch(model, sequences))[:, 0] > 0

    def score(outputs):
        return float((np.concatenate(outputs)[:, 0] > 0).mean())

    return module.Case(model, model, model, sequences, score), expected.mean()


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
def test_all_forms_are_one_network(end_to_end, layer, tmp_path):
    case, quality = made(end_to_end, layer)
    machines = [machine for machine in end_to_end.MACHINES if machine.name == "this processor"]
    lines = {line.form: line for line in end_to_end.forms(case, tmp_path, machines)}
    exact = ["torch, dense", "torch, small", "ONNX", "C float32, this processor"]
    assert [lines[name].quality for name in exact] == [quality] * 4
    assert [lines[name].difference < 1e-6 for name in exact[1:]] == [True] * 3
    assert 1e-4 < lines["C int8, this processor"].difference < 0.05
    as_it_is = [line for name, line in lines.items() if name.endswith("no update saw it")]
    assert len(as_it_is) == 2 and all(1e-4 < line.difference < 0.05 and line.bytes < 4 * 500 for line in as_it_is)
    assert all(line.microseconds > 0 for line in lines.values() if line not in as_it_is)
    numbers = sum(parameter.numel() for parameter in case.dense.parameters())
    assert lines["torch, dense"].bytes == 4 * numbers


def test_another_network_gives_no_figure(end_to_end, tmp_path, monkeypatch):
    case, _ = made(end_to_end, nn.GRU)
    monkeypatch.setattr(end_to_end, "run_onnx", lambda session, x: np.ones((len(x), 3), np.float32))
    with pytest.raises(SystemExit, match="the outputs of ONNX differ"):
        end_to_end.forms(case, tmp_path, [])


def test_training_ends_with_three_networks_that_are_read_again(end_to_end, tmp_path):
    torch.manual_seed(0)
    model = end_to_end.Reader(nn.GRU(2, 6, batch_first=True), 1)
    batches = [torch.randn(3, 5, 2) for _ in range(4)]
    setup = end_to_end.Setup(
        model=model,
        batches=batches,
        again=batches,
        rate=1e-2,
        loss=lambda model, x: model(x).square().mean(),
        quality=lambda model: 0.0,
        how=end_to_end.How(rounds=1, steps=2, batches=2),
        sequences=[batches[0][0].numpy()],
        score=lambda outputs: 1.0,
    )
    first = end_to_end.trained(setup, keep=tmp_path / "networks")
    again = end_to_end.trained(setup, keep=tmp_path / "networks")
    assert first.small.layer.hidden_size < 6
    for name in ("dense", "small", "rounded"):
        outputs = [end_to_end.of_torch(getattr(case, name), setup.sequences)[0] for case in (first, again)]
        assert np.array_equal(*outputs)
