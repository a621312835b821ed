"""Random networks of every cell, pruned: what compaction, ONNX and C make of them computes what the masked one does.

The slow test draws a thousand; the quick one a few of them.
"""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import sparsernn.nn as recurrent
from sparsernn import compact, export_c, export_onnx, folders, sparsify
from sparsernn.methods.magnitude import Magnitude

pytest.importorskip("onnxruntime")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")
OPTIONS = {
    "fastgrnn": [{}, {"hidden_rank": 3}, {"input_rank": 2, "gate_activation": "hard_sigmoid"}],
    "gru": [{}, {"reset": "before"}, {"activation": "selu"}],
    "lstm": [{}, {"gate_activation": "hard_sigmoid"}, {"proj_size": 2}],
    "peephole_lstm": [{}, {"peephole": "full"}],
    "recurrent_highway": [{"depth": 1}, {"depth": 2}],
    "rnn": [{}, {"nonlinearity": "relu"}],
    "rational": [{"lengths": 2}, {"lengths": 3, "semiring": "max_times"}],
}


class Network(nn.Module):
    def __init__(self, cell, options, sizes):
        super().__init__()
        words, inputs, units, layers, classes = sizes
        self.table = nn.Embedding(words, inputs) if words else None
        make = recurrent.module_of(folders.find("cells", cell))
        self.rnn = make(inputs, units, layers, batch_first=True, **options)
        self.head = nn.Linear(options.get("proj_size", units), classes)

    def forward(self, x):
        return self.head(self.rnn(x if self.table is None else self.table(x))[0])


@st.composite
def networks(draw):
    cell = draw(st.sampled_from(sorted(folders.entries("cells"))))
    options = draw(st.sampled_from(OPTIONS.get(cell, [{}])))
    whole = st.integers
    sizes = (
        draw(whole(0, 1)) * draw(whole(2, 9)),
        draw(whole(1, 6)),
        draw(whole(3, 20)),
        draw(whole(1, 3)),
        draw(whole(1, 4)),
    )
    torch.manual_seed(draw(whole(0, 10**6)))
    model = Network(cell, options, sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    level = draw(st.sampled_from(["weight", "neuron", "16x1"]))
    return (
        model,
        Magnitude(draw(st.sampled_from([0.3, 0.6, 0.9])), granularity=level),
        draw(st.sampled_from([None, "rows", "blocks", "lookup", "dense", "smallest"])),
    )


def inputs(model, batch, time):
    if model.table is not None:
        return torch.randint(model.table.num_embeddings, (batch, time))
    return torch.randn(batch, time, model.rnn.input_size)


def by_c(source, x):
    """Outputs of every step of one sequence."""
    library = source.source.with_suffix(".so")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1"]
    subprocess.run(["gcc", *strict, "-shared", "-fPIC", source.source, "-o", library], check=True)
    program, outputs = ctypes.CDLL(str(library)), []
    state, output = np.zeros(source.state, np.float32), np.zeros(source.outputs, np.float32)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (state, output)]
    program.g_reset(pointers[0])
    for frame in np.atleast_2d(x.numpy().astype(np.float32).reshape(len(x), -1)):
        program.g_step(pointers[0], np.ascontiguousarray(frame).ctypes.data_as(ctypes.c_void_p), pointers[1])
        outputs.append(output.copy())
    return np.stack(outputs)


def check(drawn):
    import onnxruntime

    model, method, format = drawn
    example = inputs(model, 2, 4)
    masks = sparsify(model, method, example=(example,))
    small, _ = compact(model, masks, example=(example,))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder, "g.onnx")
        export_onnx(small, path, example=example, dynamic={"batch", "time"})
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for batch, time in ((1, 1), (3, 9)):
            x = inputs(model, batch, time)
            expected = model(x).numpy()
            scale = 1 + np.abs(expected).max()
            assert np.abs(small(x).numpy() - expected).max() <= 1e-5 * scale
            (outputs,) = session.run(None, {"x": x.numpy()})
            assert np.abs(outputs - expected).max() <= 1e-5 * scale
        source = export_c(small, folder, "g", example=(example,), format=format)
        assert np.abs(by_c(source, x[0]) - expected[0]).max() <= 1e-5 * scale


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


@needs_gcc
@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)
@given(networks())
def test_a_few_random_networks_are_the_same_everywhere(drawn):
    check(drawn)


@needs_gcc
@pytest.mark.slow
@settings(max_examples=1000, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)
@given(networks())
def test_a_thousand_random_networks_are_the_same_everywhere(drawn):
    check(drawn)
