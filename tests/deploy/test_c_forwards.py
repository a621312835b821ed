"""C of whatever a forward does in a step, compiled strictly, against the forward of whole sequences."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.nn.utils.weight_norm import WeightNorm

from sparsernn import compact, export_c, sparsify
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from tests.deploy.test_c_source import Program, seeded

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
]


class Around(nn.Module):
    """A linear layer before, norms and inputs added around layers, two linear layers behind."""

    def __init__(self):
        super().__init__()
        self.front, self.head = nn.Linear(5, 12), nn.Sequential(nn.Linear(12, 9), nn.GELU(), nn.Linear(9, 3))
        self.layers = nn.ModuleList([nn.GRU(12, 12, batch_first=True), nn.LSTM(12, 12, batch_first=True)])
        self.norms = nn.ModuleList([nn.LayerNorm(12), nn.LayerNorm(12)])

    def forward(self, x):
        x = torch.tanh(self.front(x))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + norm(layer(x)[0])
        return F.log_softmax(self.head(x), -1)


class Masks(nn.Module):
    """Two branches over the same frames, a mask on these and a second result."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.slow, self.quick = nn.GRU(5, 14, batch_first=True), nn.LSTM(5, 10, proj_size=4, batch_first=True)
        self.mask, self.voice = nn.Linear(18, 5), nn.Linear(14, 1)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        frames = self.norm(x.transpose(1, 2)).transpose(1, 2)
        slow, state = self.slow(frames)
        quick, _ = self.quick(frames.flip(-1))
        mask = torch.sigmoid(self.mask(torch.cat([slow, F.silu(quick)], -1)))
        return {"sound": mask * x, "voice": self.voice(slow).sigmoid(), "state": state}


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(5, 12, 2, batch_first=True), nn.Linear(12, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.head(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])


class Steps(nn.Module):
    """A loop over two cells, from a learned state."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.LSTMCell(5, 8), nn.GRUCell(8, 8), nn.Linear(8, 2)
        self.start = nn.Parameter(torch.randn(3, 8))

    def forward(self, x):
        h, c, s = (part.expand(len(x), -1) for part in self.start)
        outputs = []
        for number in range(x.shape[1]):
            h, c = self.first(x[:, number], (h, c))
            s = self.second(h.relu(), s)
            outputs.append(self.head(s))
        return torch.stack(outputs, 1)


class HandedOn(nn.Module):
    """A cell of one's own, whose state goes in and comes out."""

    def __init__(self):
        super().__init__()
        self.gates, self.head = nn.Linear(13, 16), nn.Linear(8, 2, bias=False)

    def forward(self, x, hidden):
        update, candidate = self.gates(torch.cat([x, hidden], -1)).chunk(2, -1)
        hidden = torch.lerp(hidden, torch.tanh(candidate), update.sigmoid())
        return self.head(hidden), hidden


class Pooled(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.rnn, self.head = how, nn.GRU(5, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        y, last = self.rnn(x)
        if self.how == "mean":
            y = y.mean(1)
        elif self.how == "largest":
            y = y.max(1).values
        elif self.how == "all":
            y = torch.cat([y.mean(1), y.amax(1), y.sum(1), last[-1]], -1)[:, 6:30:2]
        else:
            y = F.adaptive_avg_pool1d(y.transpose(1, 2), 1).squeeze(2)
        return self.head(y)


class Causal(nn.Module):
    """Convolutions over the past, one that pads both sides and drops the future; other channels in groups."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv1d(5, 8, 3, padding=4, dilation=2), nn.Conv1d(8, 8, 3, groups=4)
        self.rnn, self.head = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x):
        y = F.elu(self.one(x.transpose(1, 2))[..., : x.shape[1]])
        y = F.leaky_relu(self.two(F.pad(y, (2, 0), value=0.5)))
        return self.head(self.rnn(y.transpose(1, 2))[0]) * x


class Spectrum(nn.Module):
    """A convolution over frequencies and the past, a group norm, and how loud frames are."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=(0, 1)), nn.GroupNorm(3, 15)
        self.rnn, self.head = nn.RNN(15, 10, batch_first=True), nn.Linear(10, 5)

    def forward(self, x):
        y = F.relu(self.conv(F.pad(x.unsqueeze(1), (0, 0, 2, 0)))).permute(0, 2, 1, 3).flatten(2)
        y = self.norm(y.reshape(-1, 15)).view_as(y)
        loud = torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-3)
        return self.head(self.rnn(y)[0]).softmax(-1).clamp(0.05, 0.6) * torch.log(loud) * x.amax(-1, keepdim=True)


class Tied(nn.Module):
    """Words in and the logarithms of words out, by one table; time first."""

    def __init__(self):
        super().__init__()
        self.table, self.rnn = nn.Embedding(11, 12), nn.LSTM(12, 12)

    def forward(self, ids):
        y = self.rnn(self.table(ids))[0]
        return F.log_softmax(y @ self.table.weight.t(), -1)


class Written(nn.Module):
    """Results put into a tensor that was made before, step by step."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(5, 8), nn.Linear(8, 2)

    def forward(self, x):
        result, h = x.new_zeros(len(x), x.shape[1], 4), None
        for number in range(x.shape[1]):
            h = self.cell(x[:, number], h)
            result[:, number, :2] = self.out(h)
            result[:, number, 3] += x[:, number, 0] ** 2
        return result


class ByHand(nn.Module):
    """A loop with a cell of its own behind a layer, and one with torch's, both with states of the forward's own."""

    def __init__(self):
        super().__init__()
        self.rnn, self.norm = nn.GRU(5, 6, batch_first=True), nn.LayerNorm(8)
        self.gates, self.cell = nn.Linear(10, 8), nn.GRUCell(4, 7)

    def forward(self, x):
        frames, hidden, outputs = self.rnn(x)[0], torch.full((len(x), 4), 0.5), []
        slow = torch.zeros(len(x), 7)
        for frame in frames.unbind(1):
            keep, new = self.norm(self.gates(torch.cat([frame, hidden], -1))).chunk(2, -1)
            hidden = torch.lerp(new.tanh(), hidden, keep.sigmoid())
            slow = 0.1 * slow + 0.9 * self.cell(hidden[:, [1, 0, 3, 2]], slow)
            outputs.append(torch.cat([slow, hidden], -1))
        return torch.stack(outputs, 1)


class Channels(nn.Module):
    """Every channel is a sequence of its own for two layers; of what goes on nobody reads the memory."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(1, 6, 2, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        output = self.rnn(x.transpose(1, 2).reshape(-1, x.shape[1], 1))[0]
        return self.head(output).unflatten(0, (-1, 5)).transpose(1, 2).flatten(2)


class Video(nn.Module):
    """Maxima and means over windows of pictures, seen in an order that no view has, and one of four classes."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(14, 8, batch_first=True)
        WeightNorm.apply(self.rnn, "weight_hh_l0", 0)

    def forward(self, x):
        pictures = torch.cat([x, x.flip(-1)], -1).unflatten(-1, (2, 5)).flatten(0, 1).unsqueeze(1)
        largest = F.max_pool2d(pictures, (1, 2), padding=(0, 1), stride=(1, 2))
        means = F.avg_pool2d(pictures, 2, stride=1)
        seen = torch.cat([largest.transpose(2, 3).reshape(len(pictures), -1), means.flatten(1)], 1)
        loud = F.one_hot(x[..., 0].clamp(0, 3).ge(1).long(), 4).float()
        return self.rnn(torch.cat([seen.view(*x.shape[:2], -1), loud], -1))[0]


POOLED = [lambda how=how: Pooled(how) for how in ("mean", "largest", "all", "both")]
FRAMES = [Around, Masks, Steps, Causal, Written, Spectrum, ByHand, Channels, Video, *POOLED]


def expected_of(model, x, *more):
    with torch.no_grad():
        result = model(x.unsqueeze(0), *more)
    results = [result[name] for name in ("sound", "voice")] if isinstance(result, dict) else [result]
    return torch.cat(results, -1).squeeze(0).numpy()


def check(model, written, x, *more):
    outputs, expected = Program(written).run(x), expected_of(model, x, *more)
    outputs = outputs if expected.ndim > 1 else outputs[-1]
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("make", FRAMES)
def test_a_step_of_any_forward_is_the_forward(make, tmp_path):
    model, x, example = seeded(make), torch.randn(9, 5), torch.randn(2, 4, 5)
    check(model, export_c(model, tmp_path, example=example), x)


@pytest.mark.parametrize("make", [Around, Masks, Causal])
@pytest.mark.parametrize(
    ("granularity", "sparsity", "options"), [("neuron", 0.5, {}), ("weight", 0.98, {"format": "rows"})]
)
def test_what_is_pruned_and_compacted_is_the_same(make, granularity, sparsity, options, tmp_path):
    model, x, example = seeded(make), torch.randn(9, 5), torch.randn(2, 4, 5)
    masks = sparsify(model, Magnitude(sparsity, granularity=granularity), example=example)
    small, _ = compact(model, masks, example=example)
    check(model, export_c(small, tmp_path, example=example, **options), x)


def test_what_amplifies_rounding_is_written(tmp_path):
    model = Chain(lambda model, x, run: 30 * ((run(x) + 3000).mean(1) - 3000)).eval()
    assert export_c(model, tmp_path, example=torch.randn(1, 40, 5)).outputs == 3


def test_eight_bits_are_near(tmp_path):
    model, x = seeded(Around), torch.randn(9, 5)
    written = export_c(model, tmp_path, example=torch.randn(2, 4, 5), int8=True)
    np.testing.assert_allclose(Program(written).run(x), expected_of(model, x), atol=0.05)
    assert written.constants < export_c(model, tmp_path, "f", torch.randn(2, 4, 5)).constants / 2


def test_lengths_are_the_steps_so_far_and_words_are_numbers(tmp_path):
    model, x = seeded(Packed), torch.randn(9, 5)
    written = export_c(model, tmp_path, "packed", (torch.randn(3, 6, 5), torch.tensor([6, 2, 3])))
    for count in (9, 3):
        check(model, written, x[:count], torch.tensor([count]))
    tied, ids = seeded(Tied), torch.tensor([3, 0, 10, 10, 7])
    written = export_c(tied, tmp_path, "tied", torch.randint(11, (6, 2)))
    with torch.no_grad():
        expected = tied(ids.unsqueeze(1)).squeeze(1).numpy()
    np.testing.assert_allclose(Program(written).run(ids), expected, rtol=1e-5, atol=3e-6)


def test_states_that_a_forward_takes_and_returns_lie_in_the_state(tmp_path):
    model, x = seeded(HandedOn), torch.randn(7, 5)
    written = export_c(model, tmp_path, example=(torch.randn(2, 5), torch.zeros(2, 8)))
    assert (written.state, written.inputs, written.outputs) == (8, 5, 2)
    program, hidden = Program(written), torch.zeros(1, 8)
    for frame in x:
        with torch.no_grad():
            output, hidden = model(frame.unsqueeze(0), hidden)
        np.testing.assert_allclose(program.step(frame), output[0], rtol=1e-5, atol=3e-6)
        np.testing.assert_allclose(program.state, hidden[0], rtol=1e-5, atol=3e-6)


class OfShops(nn.Module):
    """Frames of the shop with a number, which is no length."""

    def __init__(self):
        super().__init__()
        self.shops, self.rnn = nn.Embedding(3, 4), nn.GRU(9, 6, batch_first=True)

    def forward(self, x, shop):
        places = self.shops(shop).unsqueeze(1).expand(-1, x.shape[1], -1)
        return self.rnn(torch.cat([x, places], -1))[0]


def test_a_whole_number_may_be_another_than_a_length(tmp_path):
    model, x = seeded(OfShops), torch.randn(7, 5)
    written = export_c(model, tmp_path, example=(torch.randn(2, 4, 5), torch.tensor([2, 0])))
    for shop in range(3):
        frames = np.concatenate([x.numpy(), np.full((7, 1), shop)], 1)
        np.testing.assert_allclose(
            Program(written).run(frames), expected_of(model, x, torch.tensor([shop])), rtol=1e-5, atol=3e-6
        )


class StateFirst(nn.Module):
    """A state without time in front of the frames, in numbers of 64 bits."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.double()

    def forward(self, hidden, x):
        output, hidden = self.rnn(x, hidden.unsqueeze(0))
        return output, hidden[0]


def test_a_state_may_come_first_and_numbers_have_64_bits(tmp_path):
    model, x = seeded(StateFirst), torch.randn(7, 5).double()
    written = export_c(model, tmp_path, example=(torch.zeros(2, 6).double(), torch.randn(2, 4, 5).double()))
    assert (written.state, written.inputs, written.outputs) == (6, 5, 6)
    with torch.no_grad():
        expected = model(torch.zeros(1, 6).double(), x.unsqueeze(0))[0][0]
    np.testing.assert_allclose(Program(written).run(x), expected, rtol=1e-5, atol=3e-6)


class Reversed(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.conv = how, nn.Conv1d(6, 4, 3, padding=1)
        self.rnn = nn.GRU(5, 6, batch_first=True, bidirectional=how == "both")

    def forward(self, x):
        y, last = self.rnn(x)
        if self.how == "backwards":
            return self.rnn(y.flip(1)[..., :5])[0]
        if self.how == "attention":
            return (torch.softmax(y @ last[-1].unsqueeze(2), 1) * y).sum(1)
        if self.how == "decides":
            return torch.tanh(y) * (2 if y.sum() > 0 else 1)
        if self.how == "state":
            return self.rnn(y[..., :5], last)[0]
        return self.conv(y.transpose(1, 2)) if self.how == "future" else torch.linalg.qr(y)[0]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("both", "reads backwards"),
        ("backwards", "cannot run a step at a time"),
        ("attention", "cannot run a step at a time"),
        ("future", "cannot run a step at a time"),
        ("state", "cannot run a step at a time"),
        ("decides", "decides by the numbers"),
        ("qr", "linalg_qr has no form in C"),
    ],
)
def test_what_no_step_can_do_is_refused_in_a_sentence(how, message, tmp_path):
    with pytest.raises(UserError, match=message):
        export_c(seeded(lambda: Reversed(how)), tmp_path / "folder", example=torch.randn(2, 6, 5))
    assert not (tmp_path / "folder").exists()


class Chain(nn.Module):
    """A GRU and a head, with something on the way that the example need not show."""

    def __init__(self, way):
        super().__init__()
        self.way, self.rnn, self.head = way, nn.GRU(5, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        return self.way(self, x, lambda x: self.head(self.rnn(x)[0]))


@pytest.mark.parametrize(
    "way",
    [
        lambda model, x, run: run(x) * 2 if float(x.abs().max()) > 50 else run(x),
        lambda model, x, run: run(x) + 1 if (x > 50).any() else run(x),
        lambda model, x, run: run(x * 2 if x.shape[1] > 8 else x),
    ],
    ids=["a number", "any number", "more steps"],
)
def test_a_chain_that_the_example_alone_shows_is_refused(way, tmp_path):
    with pytest.raises(UserError):
        export_c(Chain(way).eval(), tmp_path, example=(torch.randn(1, 6, 5),))


def test_what_a_chain_does_with_large_numbers_alone_is_written(tmp_path):
    model = Chain(lambda model, x, run: run(x.clamp(-50, 50))).eval()
    export_c(model, tmp_path, name="g", example=(torch.randn(1, 6, 5),))
    assert "50" in (tmp_path / "g.c").read_text()
