"""Who may stand beside a recurrent layer: units that carry nothing are cut exactly, or a sentence says why not."""

import base64
import copy
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from sparsernn.compaction.compact import compact
from sparsernn.compaction.files import load_compact, save_compact
from sparsernn.errors import UserError
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
    "slopes of each unit": lambda: Beside(lambda m, x: m.act(channels(m, x))[..., 0], act=settled(nn.PReLU(UNITS))),
    "one slope": lambda: Beside(lambda m, x: m.act(out(m, x))[:, 0], act=nn.PReLU()),
    "convolution": lambda: Beside(
        lambda m, x: m.conv(channels(m, x))[..., -1], 5, conv=nn.Conv1d(UNITS, 5, 3, padding=1)
    ),
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
    "a parameter between two states by one einsum": lambda: Beside(
        lambda m, x: attended(m, x, torch.einsum("bth,bsk,hk->bts", o := out(m, x), o, m.w)), w=raw(UNITS, UNITS)
    ),
    "products of pairs of units": lambda: Beside(
        lambda m, x: m.pairs(o := out(m, x), o.flip(1))[:, -1], 5, pairs=nn.Bilinear(UNITS, UNITS, 5)
    ),
    "windows of steps": lambda: Beside(lambda m, x: out(m, x).unfold(1, 2, 1).mean(-1)[:, -1]),
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
    "sum of differences": lambda: Beside(lambda m, x: apart(m, x, lambda a, b: (a - b).abs().sum(1, keepdim=True))),
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
    "padded": lambda: Beside(lambda m, x: pad_sequence([*out(m, x[:1]), *out(m, x[:, :2])], True).mean(1)),
    "padded at the front": lambda: Beside(
        lambda m, x: pad_sequence([*out(m, x), out(m, x[:1, 1:])[0]], padding_side="left")[-1]
    ),
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


REFUSED = {
    "mean runs over its units": lambda: Beside(lambda m, x: out(m, x)[:, -1] * out(m, x).mean(-1)[:, -1:]),
    "amax runs over its units": lambda: Beside(lambda m, x: out(m, x)[:, -1] * out(m, x).amax(-1, keepdim=True)[:, -1]),
    "max_pool1d runs over its units": lambda: Beside(lambda m, x: F.max_pool1d(out(m, x), 2)[:, -1], UNITS // 2),
    "softmax runs over its units": lambda: Beside(lambda m, x: torch.softmax(out(m, x), -1)[:, -1]),
    "divides by the root of its width": lambda: Beside(
        lambda m, x: F.scaled_dot_product_attention(o := out(m, x), o, o)[:, -1]
    ),
    "group_norm reads it in groups of 3": lambda: Beside(
        lambda m, x: m.norm(channels(m, x))[..., -1], norm=nn.GroupNorm(2, UNITS)
    ),
    "pairwise_distance reads it": lambda: Beside(
        lambda m, x: apart(m, x, lambda a, b: F.pairwise_distance(a, b, keepdim=True))
    ),
    "what it gets of a unit that is zero is not zero": lambda: Beside(
        lambda m, x: m.norm(torch.sigmoid(out(m, x)))[:, -1], norm=nn.LayerNorm(UNITS)
    ),
    "sums over its units, and what it gets": lambda: Beside(
        lambda m, x: (o := out(m, x)[:, -1]) * torch.sigmoid(o).sum(-1, keepdim=True)
    ),
    "tanh writes it into a tensor that is there": lambda: Beside(
        lambda m, x: torch.tanh(out(m, x), out=torch.empty(len(x), x.shape[1], UNITS))[:, -1]
    ),
    "combines it with a tensor of its own width": lambda: Beside(
        lambda m, x: m.head.weight.new_ones(len(x), UNITS) * out(m, x)[:, -1]
    ),
    "sum sums over its units, and what it gets of a unit that is zero is not zero": lambda: Beside(
        lambda m, x: (
            (o := pad_sequence([*out(m, x[:, :1]), out(m, x[:1])[0]], True, 0.5)).sum(1) * o.sum((1, 2))[:, None]
        )
    ),
    "conv1d reads it in groups of 2": lambda: Beside(
        lambda m, x: m.conv(channels(m, x))[..., -1], conv=nn.Conv1d(UNITS, UNITS, 3, padding=1, groups=3)
    ),
    "conv1d reads it": lambda: Beside(
        lambda m, x: m.conv(channels(m, x))[..., -1], 2 * UNITS, conv=nn.Conv1d(UNITS, 2 * UNITS, 1, groups=UNITS)
    ),
    "they begin in a state that is not zero": lambda: Beside(
        lambda m, x: m.norm(m.rnn(x, m.start.repeat(1, len(x), 1))[0])[:, -1],
        cell=nn.GRU(3, UNITS, batch_first=True),
        start=raw(1, 1, UNITS),
        norm=nn.LayerNorm(UNITS),
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_cut_says_why(reason):
    torch.manual_seed(1)
    model, (x, *others) = REFUSED[reason](), inputs()
    masks = without_neurons(model, {"rnn": DEAD}, x)
    with pytest.warns(UserWarning, match=f"0 of {UNITS} units of rnn can go, because .*{reason}"):
        small, _ = check(model, masks, x, *others)
    assert small.rnn.hidden_size == UNITS


def test_of_two_readers_the_one_that_counts_zeros_decides():
    model = Beside(
        lambda m, x: out(m, x)[:, -1] * torch.softmax(m.other(x)[0], -1).amax(-1)[:, -1:],
        other=nn.GRU(3, 4, batch_first=True),
    )
    x, *others = inputs()
    masks = without_neurons(model, {"rnn": DEAD, "other": [0, 2]}, x)
    with pytest.warns(UserWarning, match="0 of 4 units of other can go, because softmax runs over its units"):
        small, _ = check(model, masks, x, *others)
    assert (small.rnn.hidden_size, small.other.hidden_size) == (LEFT, 4)


GROUPED = {
    "group norm": (lambda m, x: m.part(channels(m, x))[..., -1], lambda groups: settled(nn.GroupNorm(groups, UNITS))),
    "group norm without weights": (
        lambda m, x: m.part(channels(m, x))[..., -1],
        lambda groups: nn.GroupNorm(groups, UNITS, affine=False),
    ),
    "grouped convolution": (
        lambda m, x: m.part(channels(m, x))[..., -1],
        lambda groups: nn.Conv1d(UNITS, UNITS, 3, padding=1, groups=groups),
    ),
    "grouped convolution without a shift": (
        lambda m, x: m.part(channels(m, x))[..., -1],
        lambda groups: nn.Conv1d(UNITS, UNITS, 3, padding=1, groups=groups, bias=False),
    ),
    "depthwise after group norm": (
        lambda m, x: m.part(channels(m, x)).mean(-1),
        lambda groups: nn.Sequential(
            settled(nn.GroupNorm(groups, UNITS)), nn.Conv1d(UNITS, UNITS, 3, padding=1, groups=UNITS)
        ),
    ),
}


@pytest.mark.parametrize(
    "groups, dead, left", [(2, [3, 4, 5], 3), (3, [0, 1, 4], 4), (6, DEAD, LEFT), (3, [1, 2, 3], 4)]
)
@pytest.mark.parametrize("way", GROUPED)
def test_whole_groups_go(way, groups, dead, left, tmp_path):
    """A group of which some units live keeps all of them."""
    torch.manual_seed(3)
    between, make = GROUPED[way]
    model, (x, *others) = Beside(between, part=make(groups)), inputs()
    masks = without_neurons(model, {"rnn": dead}, x)
    small, left_masks = check(model, masks, x, *others)
    assert small.rnn.hidden_size == small.head.in_features == left
    for module in small.part.modules():
        if isinstance(module, nn.GroupNorm):
            assert (module.num_channels, module.num_groups) == (left, left * groups // UNITS)
        elif isinstance(module, nn.Conv1d):
            assert module.in_channels == module.out_channels == left == len(module.weight)
    save_compact(tmp_path / "small", small, left_masks)
    torch.manual_seed(4)
    loaded = load_compact(tmp_path / "small", Beside(between, part=make(groups))).eval()
    assert difference(loaded, small.eval(), x) == 0


def test_a_file_that_keeps_part_of_a_group_is_refused(tmp_path):
    torch.manual_seed(3)
    model, (x, *_) = Beside(*GROUPED["group norm"][:1], part=nn.GroupNorm(3, UNITS)), inputs()
    small, left = compact(model, without_neurons(model, {"rnn": [2, 3]}, x), example=x)
    (step,) = small._sparsernn_cuts
    assert step["part"]["kept"]["unit"][0] == step["rnn"]["kept"]["hidden_0"][0]
    flags = np.array([1, 1, 0, 1, 0, 1], bool)  # as many units, of three groups
    step["part"]["kept"]["unit"] = ["bits", base64.b64encode(np.packbits(flags, bitorder="little").tobytes()).decode()]
    save_compact(tmp_path / "small", small, left)
    with pytest.raises(UserError, match="stay in part"):
        load_compact(tmp_path / "small", Beside(*GROUPED["group norm"][:1], part=nn.GroupNorm(3, UNITS)))


class Directions(nn.Module):
    """Both directions of a layer, brought together in one of several ways."""

    def __init__(self, together, inputs=UNITS):
        super().__init__()
        self.rnn = nn.GRU(3, UNITS, batch_first=True, bidirectional=True)
        self.head, self.together = nn.Linear(inputs, 2), together

    def forward(self, x):
        return self.head(self.together(self, x, *self.rnn(x)))


TOGETHER = {
    "view and sum": lambda m, x, o, h: o.view(*o.shape[:2], 2, -1).sum(2)[:, -1],
    "unflatten and mean": lambda m, x, o, h: o.unflatten(-1, (2, -1)).mean(-2)[:, -1],
    "unflatten and maximum": lambda m, x, o, h: o.unflatten(-1, (2, -1)).amax(-2, keepdim=True)[:, -1, 0],
    "chunks": lambda m, x, o, h: sum(o.chunk(2, dim=-1))[:, -1],
    "slices": lambda m, x, o, h: (o[..., : m.rnn.hidden_size] + o[..., m.rnn.hidden_size :])[:, -1],
    "final states": lambda m, x, o, h: h.sum(0),
    "final states stacked": lambda m, x, o, h: torch.stack([h[0], h[1]], -1).sum(-1),
}


@pytest.mark.parametrize("way", TOGETHER)
def test_two_directions_are_added_up(way):
    torch.manual_seed(2)
    model, (x, *others) = Directions(TOGETHER[way]), inputs()
    small, _ = check(model, without_neurons(model, {"rnn.l0": DEAD}, x), x, *others)
    assert small.rnn.hidden_size == LEFT and small.head.in_features == LEFT


def test_chunks_that_are_not_added_stay_as_wide_as_each_other():
    model, (x, *others) = (
        Directions(lambda m, x, o, h: torch.cat([part.tanh() for part in o.chunk(2, -1)], -1)[:, -1], 2 * UNITS),
        inputs(),
    )
    masks = without_neurons(model, {"rnn.l0": [0, 1, 2], "rnn.l0_reverse": [5]}, x)
    small, _ = check(model, masks, x, *others)
    assert small.rnn.hidden_size == UNITS - 1


class Heads(nn.Module):
    """Attention with several heads, by hand; the scores are scaled by a number."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, UNITS, batch_first=True), nn.Linear(UNITS, 2)

    def forward(self, x):
        o = self.rnn(x)[0]
        q = o.unflatten(-1, (2, -1)).transpose(1, 2)
        attended = torch.softmax(q @ q.mT / math.sqrt(3), -1) @ q
        return self.head(attended.transpose(1, 2).flatten(2)[:, -1])


def test_heads_lose_the_same_number_of_units_each():
    model, (x, *others) = Heads(), inputs()
    small, _ = check(model, without_neurons(model, {"rnn": [0, 4]}, x), x, *others)
    assert small.rnn.hidden_size == UNITS - 2
    small, _ = check(model, without_neurons(model, {"rnn": [0, 1, 4]}, x), x, *others)
    assert small.rnn.hidden_size == UNITS - 2


class HandsOut(nn.Module):
    """A layer whose states or outputs go out of the model."""

    def __init__(self, give, cell):
        super().__init__()
        self.rnn, self.give = cell, give

    def forward(self, x):
        return self.give(self, x)


class HandsOutBeside(HandsOut):
    """The same, beside what a head makes of them."""

    def __init__(self, give, cell):
        super().__init__(give, cell)
        self.head = nn.Linear(UNITS, 2)


def stepped(m, x):
    state = None
    for step in x.unbind(1):
        state = m.rnn(step, state)
    return (m.head(state[0] if isinstance(state, tuple) else state), state)


def a_layer(kind=nn.LSTM, **options):
    return kind(3, UNITS, batch_first=True, **options)


GIVEN = {
    "outputs and states": (lambda m, x: m.rnn(x), a_layer),
    "a state that the head reads too": (lambda m, x: (m.head((h := m.rnn(x)[1][0])[-1]), h), a_layer),
    "states in one tensor": (lambda m, x: (m.head((r := m.rnn(x))[0][:, -1]), torch.stack(r[1])), a_layer),
    "states of two layers": (lambda m, x: (m.head((r := m.rnn(x))[0][:, -1]), r[1]), lambda: a_layer(num_layers=2)),
    "both directions": (lambda m, x: [*m.rnn(x)], lambda: a_layer(nn.GRU, bidirectional=True)),
    "outputs beside the input": (lambda m, x: torch.cat([x, m.rnn(x)[0]], -1), a_layer),
    "channels": (lambda m, x: [m.rnn(x)[0].transpose(1, 2)], a_layer),
    "the same states twice": (lambda m, x: [(r := m.rnn(x))[1], r[0], [r[1], r[1][0]]], a_layer),
    "states in a row": (lambda m, x: m.rnn(x)[1].transpose(0, 1).flatten(1), lambda: a_layer(nn.GRU, num_layers=2)),
    "steps of a cell": (stepped, lambda: nn.LSTMCell(3, UNITS)),
    "steps of another cell": (stepped, lambda: nn.GRUCell(3, UNITS)),
}


@pytest.mark.parametrize("way", GIVEN)
def test_what_goes_out_keeps_its_width(way, tmp_path):
    torch.manual_seed(3)
    give, cell = GIVEN[way]
    kind = HandsOutBeside if "head" in give.__code__.co_names else HandsOut
    model, (x, *others) = kind(give, cell()), inputs()
    labels = ["rnn", "rnn.l0", "rnn.l1", "rnn.l0_reverse"]
    masks = without_neurons(model, dict.fromkeys(labels, DEAD), x)
    small, left = check(model, masks, x, *others)
    assert small.rnn.hidden_size == LEFT
    save_compact(tmp_path / "small.safetensors", small)
    loaded = load_compact(tmp_path / "small.safetensors", model)
    assert difference(loaded.eval(), small.eval(), others[0]) == 0
    again, _ = compact(small, more := without_neurons(small, dict.fromkeys(labels, [0]), x), example=x)
    assert again.rnn.hidden_size == LEFT - 1
    assert difference(again.eval(), masked(small, more).eval(), others[0]) <= 1e-6


def test_layers_of_unequal_widths_are_filled_in_row_by_row():
    model, (x, *others) = HandsOutBeside(GIVEN["states of two layers"][0], a_layer(num_layers=2)), inputs()
    small, _ = check(model, without_neurons(model, {"rnn.l0": [0, 5], "rnn.l1": [3]}, x), x, *others)
    assert small.rnn.widths == [4, 5]


def test_layers_whose_states_go_out_side_by_side_stay_as_wide_as_each_other():
    model, (x, *others) = HandsOut(GIVEN["states in a row"][0], a_layer(nn.GRU, num_layers=2)), inputs()
    small, _ = check(model, without_neurons(model, {"rnn.l0": [0, 5], "rnn.l1": [3]}, x), x, *others)
    assert small.rnn.hidden_size == 5


def test_a_place_of_the_result_that_holds_different_things_is_not_filled_in():
    class Either(HandsOutBeside):
        def forward(self, x):
            o = self.rnn(x)[0]
            return (self.head(o), o) if x.shape[1] > 3 else (self.head(o), x)

    model, (x, *others) = Either(None, a_layer()), inputs()
    masks = without_neurons(model, {"rnn": DEAD}, x)
    with pytest.warns(UserWarning, match="the model returns it in the place of something else"):
        small, _ = compact(model, masks, examples=[x, x[:, :2]])
    for one in (x, x[:, :2], *others):
        assert difference(masked(model, masks).eval(), small.eval(), one) <= 1e-6
    assert small.rnn.hidden_size == UNITS


class OwnCell(nn.Module):
    """A GRU written with linear layers, gates in one product; its state begins where a test says."""

    def __init__(self, start):
        super().__init__()
        self.i, self.h, self.head = nn.Linear(3, 3 * UNITS), nn.Linear(UNITS, 3 * UNITS), nn.Linear(UNITS, 2)
        self.start = start

    def forward(self, x):
        h = self.start(self, x)
        for step in x.unbind(1):
            reset, update, new = self.i(step).chunk(3, -1)
            r, z, n = self.h(h).chunk(3, -1)
            r, z = torch.sigmoid(reset + r), torch.sigmoid(update + z)
            h = (1 - z) * torch.tanh(new + r * n) + z * h
        return self.head(h)


def own_masks(model, x):
    """Masks without units 1 and 4 of a cell: all gates of them, what they read and what reads them."""
    masks = Masks({name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if "." in name})
    for unit in DEAD:
        for name in ("i.weight", "i.bias", "h.weight", "h.bias"):
            masks.kept[name].view(3, UNITS, -1)[:, unit] = False
        masks.kept["h.weight"][:, unit] = masks.kept["head.weight"][:, unit] = False
    return masks


def test_a_cell_of_ones_own_that_begins_at_zero_is_cut():
    model, (x, *others) = OwnCell(lambda m, x: x.new_zeros(len(x), m.h.in_features)), inputs()
    small, _ = check(model, own_masks(model, x), x, *others)
    assert (small.h.in_features, small.h.out_features, small.i.out_features) == (LEFT, 3 * LEFT, 3 * LEFT)


def test_a_cell_of_ones_own_that_begins_elsewhere_is_left_alone():
    model, (x, *others) = OwnCell(lambda m, x: torch.ones(len(x), UNITS)), inputs()
    with pytest.warns(UserWarning, match="units of [hi] can go, because"):
        small, _ = check(model, own_masks(model, x), x, *others)
    assert small.h.in_features == UNITS
    assert any("tensor of its own width from outside" in line for line in small.cut_report)


def test_batch_statistics_of_units_that_stay_are_the_same_in_training():
    model, (x, *_) = CUT["batch norm"](), inputs()
    small, _ = check(model, masks := without_neurons(model, {"rnn": DEAD}, x), x)
    reference = masked(model, masks).train()
    assert difference(reference, small.train(), x) <= 1e-6
    assert torch.allclose(small.norm.running_mean, reference.norm.running_mean[[0, 2, 3, 5]])


def test_a_convolution_before_a_layer_loses_the_channels_that_nothing_reads():
    class Convolved(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn, self.head = (
                nn.Conv1d(3, UNITS, 2),
                nn.GRU(UNITS, UNITS, batch_first=True),
                nn.Linear(UNITS, 2),
            )

        def forward(self, x):
            return self.head(self.rnn(torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))[0])

    model, (x, *others) = Convolved(), inputs()
    masks = Masks({"rnn.weight_ih_l0": torch.ones(3 * UNITS, UNITS, dtype=torch.bool)})
    masks.kept["rnn.weight_ih_l0"][:, DEAD] = False
    small, _ = check(model, masks, x, *others)
    assert small.conv.out_channels == small.rnn.input_size == LEFT and small.rnn.hidden_size == UNITS


def test_a_zero_that_something_writes_over_is_no_zero():
    def begins(m, x):
        state = x.new_zeros(2, len(x), UNITS)
        state[0].copy_(torch.ones(UNITS))
        return m.rnn(x, state[:1])[0][:, -1]

    model, (x, *others) = Beside(lambda m, x: begins(m, x), cell=nn.GRU(3, UNITS, batch_first=True)), inputs()
    masks = without_neurons(model, {"rnn": DEAD}, x)
    masks.kept["head.weight"][:] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(model, masks, x, *others)
