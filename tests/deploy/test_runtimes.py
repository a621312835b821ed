"""One ONNX file in every runtime that is installed; what one of them does not take is stated here and in the docs.

OpenVINO is looked for in Python, onnxruntime-web in the folder of modules that MODULES names (`npm install
onnxruntime-web`).
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import sparsernn.nn as recurrent
from sparsernn import compact, export_onnx, sparsify
from sparsernn.methods.magnitude import Magnitude

pytest.importorskip("onnxruntime")
MODULES = os.environ.get("MODULES", "")


class Sequences(nn.Module):
    """Outputs and last states of a recurrent module, batch first."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(rnn.hidden_size * (1 + int(rnn.bidirectional)), 3)

    def forward(self, x):
        output, state = self.rnn(x)
        return self.head(output), state[0] if isinstance(state, tuple) else state


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.rnn, self.head = nn.Embedding(20, 6), nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.table(ids), lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.rnn(packed)[1][-1])


def cut():
    """Two layers of unequal widths."""
    model, x = Sequences(nn.LSTM(4, 12, 2, batch_first=True)).eval(), torch.randn(2, 5, 4)
    masks = sparsify(model, Magnitude(0.6, granularity="neuron"), example=(x,))
    return compact(model, masks, example=(x,))[0]


MODELS = {
    "LSTM": lambda: Sequences(nn.LSTM(4, 7, batch_first=True)),
    "LSTM, two layers, both directions": lambda: Sequences(nn.LSTM(4, 7, 2, batch_first=True, bidirectional=True)),
    "GRU": lambda: Sequences(nn.GRU(4, 7, batch_first=True)),
    "GRU, reset before": lambda: Sequences(recurrent.GRU(4, 7, batch_first=True, reset="before")),
    "RNN": lambda: Sequences(nn.RNN(4, 7, nonlinearity="relu", batch_first=True)),
    "compacted": cut,
    "words and lengths": Words,
    "PeepholeLSTM": lambda: Sequences(recurrent.PeepholeLSTM(4, 7, batch_first=True)),
    "RecurrentHighwayNetwork": lambda: Sequences(recurrent.RecurrentHighwayNetwork(4, 7, batch_first=True)),
    "FastGRNN": lambda: Sequences(recurrent.FastGRNN(4, 7, batch_first=True, hidden_rank=3)),
    "Rational": lambda: Sequences(recurrent.Rational(4, 7, batch_first=True)),
}
REFUSED: dict[str, tuple[str, ...]] = {
    "openvino": ("words and lengths",),
    "tract": ("LSTM, two layers, both directions", "RNN", "compacted", "words and lengths", "Rational"),
}
"""Models that a runtime does not take, or makes others of, as docs/export.md says."""


def by_onnxruntime(path, feeds):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [session.run(None, one) for one in feeds]


def by_openvino(path, feeds):
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [[np.array(array) for array in compiled(one).values()] for one in feeds]


def by_tract(path, feeds):
    import tract

    program = tract.onnx().load(str(path)).into_model().into_runnable()
    return [[array.to_numpy() for array in program.run(list(one.values()))] for one in feeds]


def by_web(path, feeds):
    described = [
        {name: {"kind": one.dtype.name, "data": one.ravel().tolist(), "dims": one.shape} for name, one in each.items()}
        for each in feeds
    ]
    inputs = path.with_suffix(".json")
    inputs.write_text(json.dumps(described))
    program = Path(__file__).with_name("runtimes.mjs")
    done = subprocess.run(["node", program, path, inputs], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [[np.reshape(one["data"], one["dims"]) for one in outputs.values()] for outputs in json.loads(done.stdout)]


def here(name):
    if name == "onnxruntime-web":
        return bool(MODULES) and Path(MODULES, "onnxruntime-web").is_dir() and shutil.which("node") is not None
    return importlib.util.find_spec(name) is not None


RUNTIMES = {"onnxruntime": by_onnxruntime, "openvino": by_openvino, "tract": by_tract, "onnxruntime-web": by_web}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Each model with its file, made once."""
    folder, made = tmp_path_factory.mktemp("files"), {}

    def file(name):
        if name not in made:
            torch.manual_seed(0)
            model, path = MODELS[name]().eval(), folder / f"{len(made)}.onnx"
            export_onnx(model, path, example=inputs(model, 2, 5), dynamic={"batch", "time"})
            made[name] = model, path
        return made[name]

    return file


def inputs(model, batch, time):
    generator = torch.Generator().manual_seed(batch * 100 + time)
    if isinstance(model, Words):
        lengths = torch.randint(1, time + 1, (batch,), generator=generator)
        lengths[0] = time
        return torch.randint(20, (batch, time), generator=generator), lengths
    return (torch.randn(batch, time, 4, generator=generator),)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_computes_what_the_model_does(runtime, name, files):
    if not here(runtime):
        pytest.skip(f"{runtime} is not installed")
    model, path = files(name)
    sizes = [(2, 5), (1, 1), (3, 8)]
    calls = [inputs(model, *size) for size in sizes]
    names = ("ids", "lengths") if isinstance(model, Words) else ("x",)
    feeds = [{name: one.numpy() for name, one in zip(names, call, strict=True)} for call in calls]
    around = pytest.raises(Exception) if name in REFUSED.get(runtime, ()) else contextlib.nullcontext()
    with around:
        compare(model, calls, RUNTIMES[runtime](path, feeds))


def compare(model, calls, results):
    for call, outputs in zip(calls, results, strict=True):
        with torch.no_grad():
            expected = model(*call)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for ours, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
