"""Who may stand beside a recurrent layer: units that carry nothing are cut exactly, or a sentence says why not."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsernn.compaction.compact import compact
from sparsernn.compaction.files import load_compact, save_compact
from sparsernn.structure.masks import Masks
from tests.structure.networks import difference, masked, without_neurons

UNITS, DEAD = 6, [1, 4]
LEFT = UNITS - len(DEAD)


class Beside(nn.Module):
    """A recurrent layer of 6 units, what a test puts behind it, and a head; batches come first."""

    def __init__(self, between, inputs=UNITS, cell=None, **parts):
        super().__init__()
        self.rnn, self.head = cell or nn.LSTM(3, UNITS, batch_first=True), nn.Linear(inputs, 2)
        self.between = between
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.head(self.between(self, x))


def settled(module):
    """A normalisation that has seen data, with weights of its own for every unit."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + (0.5 if "var" in name or name == "weight" else -0.5))
    return module


def out(m, x):
    return m.rnn(x)[0]


def channels(m, x):
    return out(m, x).transpose(1, 2)


def attended(m, x, scores):
    return torch.bmm(torch.softmax(scores, -1), out(m, x))[:, -1]


def raw(*shape):
    return nn.Parameter(torch.randn(shape))


def apart(m, x, distance):
    """Both a value of each unit and a distance over all of them, of a sequence and its mirror image."""
    a, b = out(m, x)[:, -1], out(m, x.flip(1))[:, -1]
    return a * torch.exp(-distance(a, b))


CUT = {
    "layer norm": lambda: Beside(lambda m, x: m.norm(out(m, x))[:, -1], norm=settled(nn.LayerNorm(UNITS))),
    "layer norm without a shift": lambda: Beside(
        lambda m, x: m.norm(out(m, x))[:, -1], norm=settled(nn.LayerNorm(UNITS, bias=False))
    ),
    "layer norm without weights": lambda: Beside(
        lambda m, x: m.norm(out(m, x))[:, -1], norm=nn.LayerNorm(UNITS, elementwise_affine=False)
    ),
    "two layer norms": lambda: Beside(
        lambda m, x: m.b(m.a(out(m, x)))[:, -1], a=settled(nn.LayerNorm(UNITS)), b=settled(nn.LayerNorm(UNITS))
    ),
    "root mean square norm": lambda: Beside(lambda m, x: m.norm(out(m, x))[:, -1], norm=settled(nn.RMSNorm(UNITS))),
    "residual and layer norm": lambda: Beside(
        lambda m, x: m.norm(out(m, x) + out(m, x.flip(1)))[:, -1], norm=settled(nn.LayerNorm(UNITS))
    ),
    "batch norm": lambda: Beside(lambda m, x: m.norm(channels(m, x))[..., -1], norm=settled(nn.BatchNorm1d(UNITS))),
    "batch norm of the last step": lambda: Beside(
        lambda m, x: m.norm(out(m, x)[:, -1]), norm=settled(nn.BatchNorm1d(UNITS))
    ),
    "batch norm without weights": lambda: Beside(
        lambda m, x: m.norm(channels(m, x))[..., -1], norm=settled(nn.BatchNorm1d(UNITS, affine=False))
    ),
    "dropout of channels": lambda: Beside(lambda m, x: m.drop(channels(m, x))[..., -1], drop=nn.Dropout1d(0.2)),
    "slopes of each unit": lambda: Beside(
        lambda m, x: m.act(channels(m, x))[..., 0], act=settled(nn.PReLU(UNITS))
    ),
    "one slope": lambda: Beside(lambda m, x: m.act(out(m, x))[:, 0], act=nn.PReLU()),
    "convolution": lambda: Beside(lambda m, x: m.conv(channels(m, x))[..., -1], 5, conv=nn.Conv1d(UNITS, 5, 3, padding=1)),
    "causal convolution": lambda: Beside(
        lambda m, x: m.conv(F.pad(channels(m, x), (2, 0)))[..., -1], 5, conv=nn.Conv1d(UNITS, 5, 3, bias=False)
    ),
    "maximum over time": lambda: Beside(lambda m, x: F.max_pool1d(channels(m, x), x.shape[1]).squeeze(2)),
    "pooled maximum over time": lambda: Beside(
        lambda m, x: m.pool(channels(m, x)).squeeze(-1), pool=nn.AdaptiveMaxPool1d(1)
    ),
    "pooled mean over time": lambda: Beside(
        lambda m, x: m.pool(channels(m, x)).flatten(1), pool=nn.AdaptiveAvgPool1d(1)
    ),
    "windows of means": lambda: Beside(lambda m, x: F.avg_pool1d(channels(m, x), 2, 1, 1)[..., 0]),
    "largest two over time": lambda: Beside(lambda m, x: out(m, x).topk(2, dim=-2).values.mean(1)),
    "interpolated": lambda: Beside(lambda m, x: F.interpolate(channels(m, x), scale_factor=2, mode="linear")[..., 0]),
    "dot attention": lambda: Beside(lambda m, x: attended(m, x, (o := out(m, x)) @ o.transpose(-2, -1))),
    "dot attention by einsum": lambda: Beside(
        lambda m, x: torch.einsum(
            "bts,bsh->bth", torch.softmax(torch.einsum("bth,bsh->bts", o := out(m, x), o), -1), o
        )[:, -1]
    ),
    "attention of torch": lambda: Beside(
        lambda m, x: F.scaled_dot_product_attention(o := out(m, x), o, o, scale=0.4)[:, -1]
    ),
    "attention to a query of its own": lambda: Beside(
        lambda m, x: attended(m, x, m.q(x) @ out(m, x).transpose(1, 2)), q=nn.Linear(3, UNITS)
    ),
    "a parameter weighs the steps": lambda: Beside(
        lambda m, x: (torch.softmax(torch.matmul(torch.tanh(out(m, x)), m.w), 1) * out(m, x)).sum(1), w=raw(UNITS, 1)
    ),
    "a vector weighs the steps": lambda: Beside(
        lambda m, x: (torch.softmax(out(m, x) @ m.w, 1).unsqueeze(-1) * out(m, x)).sum(1), w=raw(UNITS)
    ),
    "a parameter between two states": lambda: Beside(
        lambda m, x: attended(m, x, (o := out(m, x)) @ m.w @ o.mT), w=raw(UNITS, UNITS)
    ),
    "a layer by hand": lambda: Beside(
        lambda m, x: torch.relu(F.linear(out(m, x)[:, -1], m.w, m.b)), 5, w=raw(5, UNITS), b=raw(5)
    ),
    "scales and shifts by hand": lambda: Beside(
        lambda m, x: out(m, x)[:, -1] * m.scale + m.shift, scale=raw(UNITS), shift=raw(1, UNITS)
    ),
    "a start that is learnt": lambda: Beside(
        lambda m, x: m.rnn(x, m.start.expand(-1, len(x), -1).contiguous())[0][:, -1],
        cell=nn.GRU(3, UNITS, batch_first=True),
        start=raw(1, 1, UNITS),
    ),
    "sum of differences": lambda: Beside(
        lambda m, x: apart(m, x, lambda a, b: (a - b).abs().sum(1, keepdim=True))
    ),
    "sum of squares": lambda: Beside(lambda m, x: apart(m, x, lambda a, b: (a - b).square().sum(dim=-1)[:, None])),
    "norm": lambda: Beside(lambda m, x: apart(m, x, lambda a, b: torch.linalg.norm(a - b, dim=-1, keepdim=True))),
    "angle": lambda: Beside(lambda m, x: apart(m, x, lambda a, b: F.cosine_similarity(a, b)[:, None])),
    "distances to the others": lambda: Beside(
        lambda m, x: apart(m, x, lambda a, b: torch.cdist(a[:, None], b[:, None])[:, 0])
    ),
    "unit length": lambda: Beside(lambda m, x: F.normalize(out(m, x), dim=-1)[:, -1]),
    "gated by another layer": lambda: Beside(
        lambda m, x: (o := out(m, x)[:, -1]) * torch.sigmoid(m.gate(o)), gate=nn.Linear(UNITS, UNITS)
    ),
    "a shifted reader and a sum": lambda: Beside(
        lambda m, x: torch.sigmoid(o := out(m, x)[:, -1]) * o.sum(-1, keepdim=True)
    ),
    "joined with the input before a norm": lambda: Beside(
        lambda m, x: m.norm(torch.cat([out(m, x), x], -1))[:, -1], UNITS + 3, norm=settled(nn.LayerNorm(UNITS + 3))
    ),
    "written into zeros": lambda: Beside(lambda m, x: written(m, x)),
    "time first": lambda: Beside(
        lambda m, x: m.rnn(x.transpose(0, 1))[0].permute(1, 2, 0).amax(-1), cell=nn.GRU(3, UNITS)
    ),
}


def written(m, x):
    """Steps of a layer in a buffer that begins with one more step of zeros."""
    output = out(m, x)
    buffer = output.new_zeros(len(x), x.shape[1] + 1, m.rnn.hidden_size)
    buffer[:, 1:] = output
    return buffer.mean(1)


def check(model, masks, x, *others):
    """The compacted model gives what the masked one does, on the example and on inputs of other sizes."""
    small, left = compact(model, masks, example=x)
    reference = masked(model, masks).eval()
    for inputs in (x, *others):
        assert difference(reference, copy.deepcopy(small).eval(), inputs) <= 2e-6
    return small, left


def inputs():
    return torch.randn(4, 5, 3), torch.randn(1, 9, 3), torch.randn(7, 2, 3)


@pytest.mark.parametrize("way", CUT)
def test_units_that_carry_nothing_are_cut(way, tmp_path):
    torch.manual_seed(1)
    model, (x, *others) = CUT[way](), inputs()
    small, _ = check(model, without_neurons(model, {"rnn": DEAD}, x), x, *others)
    assert small.rnn.hidden_size == LEFT
    save_compact(tmp_path / "small.safetensors", small)
    loaded = load_compact(tmp_path / "small.safetensors", model)
    assert difference(loaded.eval(), small.eval(), x) == 0
    again, _ = compact(small, Masks({}), example=x)
    assert difference(again.eval(), small.eval(), others[0]) <= 1e-6
