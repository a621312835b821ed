"""Loops that read the frame before, or begin with the first one, as ONNX and as C, against the forward."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as tree

from sparsernn import export_c, export_onnx
from sparsernn.errors import UserError
from tests.deploy.test_c_source import Program, seeded

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: sparsernn[export]")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: sparsernn[export]")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")


class FrameBefore(nn.Module):
    """What changed since the frame before, from zeros; an average that begins with the first one; a word of Python."""

    def __init__(self):
        super().__init__()
        self.front, self.cell = nn.Linear(5, 4), nn.GRUCell(8, 6)
        self.heads = nn.ModuleDict({"class": nn.Linear(6, 2)})

    def forward(self, x):
        frames = [torch.relu(self.front(x[:, number])) for number in range(x.shape[1])]
        y, outputs = torch.stack(frames, 1), []
        hidden, before, average = x.new_zeros(len(x), 6), torch.zeros_like(y[:, 0]), y[:, 0]
        for number in range(y.shape[1]):
            average = 0.9 * average + 0.1 * y[:, number]
            hidden = self.cell(torch.cat([y[:, number] - before, average], -1), hidden)
            before = y[:, number]
            outputs.append(self.heads["class"](hidden))
        return torch.stack(outputs, 1)


class Told(nn.Module):
    """A decoder that reads the word before, and a learned one at the start, forward; and backward the frame behind."""

    def __init__(self):
        super().__init__()
        self.encoder, self.cell, self.start = (
            nn.GRU(3, 4, batch_first=True),
            nn.GRUCell(3, 4),
            nn.Parameter(torch.ones(3)),
        )
        self.back = nn.GRUCell(6, 5)

    def forward(self, x, told):
        hidden, read, outputs = self.encoder(x)[1][0], self.start.expand(len(x), -1), []
        for number in range(told.shape[1]):
            hidden = self.cell(read, hidden)
            read = told[:, number]
            outputs.append(hidden)
        back, last, behind = x.new_zeros(len(x), 5), torch.zeros_like(told[:, 0]), []
        for number in reversed(range(told.shape[1])):
            back = self.back(torch.cat([told[:, number], last], 1), back)
            last = told[:, number]
            behind.append(back)
        return torch.stack(outputs, 1), torch.stack(behind[::-1], 1)


def frames(batch, time):
    return (torch.randn(batch, time, 5),)


def two_texts(batch, time):
    return torch.randn(batch, time, 3), torch.randn(batch, time + 2, 3)


@pytest.mark.parametrize(("make", "inputs"), [(FrameBefore, frames), (Told, two_texts)])
def test_a_file_reads_the_frame_before_at_every_size(make, inputs, tmp_path):
    model, path = seeded(make), tmp_path / "model.onnx"
    export_onnx(model, path, example=inputs(3, 5), dynamic={"batch", "time"})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in ((4, 9), (1, 1), (2, 14)):
        arguments = inputs(*size)
        with torch.no_grad():
            expected = tree.tree_leaves(model(*arguments))
        names = [one.name for one in session.get_inputs()]
        outputs = session.run(None, {name: one.numpy() for name, one in zip(names, arguments, strict=True)})
        for array, value in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(array, value, rtol=1e-5, atol=3e-6)


class OfPlace(nn.Module):
    """A layer whose first state is made of what stays the same, and a mean over the steps that a mask leaves."""

    def __init__(self):
        super().__init__()
        self.rnn, self.start = nn.LSTM(5, 6, batch_first=True), nn.Linear(3, 6)

    def forward(self, x, place, lengths):
        hidden = torch.tanh(self.start(place)).unsqueeze(0)
        y = self.rnn(x, (hidden, torch.zeros_like(hidden)))[0]
        mask = (torch.arange(x.shape[1]) < lengths.unsqueeze(1)).float().unsqueeze(-1)
        return y, (y * mask).sum(1) / mask.sum(1).clamp(min=1)


@needs_gcc
def test_states_are_computed_from_the_first_step(tmp_path):
    model, x = seeded(FrameBefore), torch.randn(9, 5)
    with torch.no_grad():
        expected = model(x.unsqueeze(0))[0]
    written = export_c(model, tmp_path, "frames", example=frames(2, 4))
    np.testing.assert_allclose(Program(written).run(x), expected, rtol=1e-5, atol=3e-6)
    model, place = seeded(OfPlace), torch.randn(1, 3)
    with torch.no_grad():
        steps, mean = model(x.unsqueeze(0), place, torch.tensor([9]))
    written = export_c(model, tmp_path, "place", (*frames(2, 4), torch.randn(2, 3), torch.tensor([4, 2])))
    outputs = Program(written).run(torch.cat([x, place.expand(9, -1)], 1))
    np.testing.assert_allclose(outputs[:, :6], steps[0], rtol=1e-5, atol=3e-6)
    np.testing.assert_allclose(outputs[-1, 6:], mean[0], rtol=1e-5, atol=3e-6)


class Applied(nn.Module):
    """A function of what a layer puts out."""

    def __init__(self, function):
        super().__init__()
        self.rnn, self.function = nn.GRU(5, 4, batch_first=True), function

    def forward(self, x):
        return self.function(self.rnn(x)[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("model", "example", "message"),
    [
        (Applied(lambda y: y + torch.from_numpy(np.tanh(y.detach().numpy()))), frames(2, 4), "decides by the numbers"),
        (Applied(lambda y: torch.tensor(y.tolist())), frames(2, 4), "decides by the numbers"),
        (Applied(torch.tanh), torch.randn(0, 4, 5), "shape \\[0, 4, 5\\]"),
        (Applied(torch.tanh), frames(2, 4)[0].numpy(), "no tensor"),
        (None, frames(2, 4), "script of torch.jit"),
    ],
    ids=["numpy", "a list", "nothing", "an array", "a script"],
)
def test_what_cannot_be_written_is_refused_in_a_sentence(model, example, message, tmp_path):
    script: Any = torch.jit.trace(nn.Linear(5, 2), torch.randn(2, 5))
    model = model or script
    for export in (export_c, export_onnx):
        if export is export_onnx and message.startswith("decides"):
            continue
        with pytest.raises(UserError, match=message):
            export(model, tmp_path / "network", example=example)
