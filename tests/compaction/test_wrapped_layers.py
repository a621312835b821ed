"""Recurrent layers whose class does something around torch's own forward, and states that come from elsewhere whole."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsernn import Sparsifier, analyse, compact, explain_kernels, load_compact, save_compact
from sparsernn.deploy.eight_bits import eight_bits
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from tests.structure.networks import difference, masked, without_neurons

UNITS, DEAD = 6, [1, 4]
LABELS = ["rnn", "rnn.l0", "rnn.l1", "rnn.l0_reverse"]


class WithLengths(nn.LSTM):
    """Takes lengths, and doubles what comes out."""

    def forward(self, x, lengths=None, hx=None):
        if lengths is None:
            output, states = super().forward(x, hx)
        else:
            packed = pack_padded_sequence(x, lengths.clamp(min=1), batch_first=True, enforce_sorted=False)
            output, states = super().forward(packed, hx)
            output, _ = pad_packed_sequence(output, batch_first=True)
        return 2 * output, states


class Normed(nn.GRU):
    """Holds a module of its own."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.norm = nn.LayerNorm(sizes[0])

    def forward(self, x, lengths=None):
        output, state = nn.GRU.forward(self, self.norm(x))
        return torch.tanh(output), state


class Twofold(nn.LSTMCell):
    """Two steps on one input."""

    def forward(self, x, states=None):
        return super().forward(x, super().forward(x, states))


class Network(nn.Module):
    def __init__(self, rnn, width=UNITS):
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(width, 2)

    def forward(self, x, lengths=None):
        if isinstance(self.rnn, nn.LSTMCell):
            return self.head(self.rnn(x[:, 1], self.rnn(x[:, 0]))[0])
        return self.head(self.rnn(x, lengths)[0])


MADE = {
    "one layer": lambda: Network(WithLengths(3, UNITS, batch_first=True)),
    "two layers": lambda: Network(WithLengths(3, UNITS, num_layers=2, batch_first=True)),
    "both directions": lambda: Network(WithLengths(3, UNITS, bidirectional=True, batch_first=True), 2 * UNITS),
    "a module inside": lambda: Network(Normed(3, UNITS, batch_first=True)),
    "a cell": lambda: Network(Twofold(3, UNITS)),
}


@pytest.mark.parametrize("made", MADE)
def test_what_a_subclass_does_around_a_layer_is_followed(made, tmp_path):
    torch.manual_seed(0)
    model = MADE[made]()
    calls = [(torch.randn(4, 5, 3), torch.tensor([5, 2, 3, 1])), (torch.randn(2, 9, 3), torch.tensor([4, 9]))]
    others = [(torch.randn(1, 7, 3), None), (torch.randn(3, 2, 3),)]
    masks = without_neurons(model, dict.fromkeys(LABELS, DEAD), *calls[0])
    small, _ = compact(model, masks, example=calls[0])
    assert type(small.rnn) is type(model.rnn) and small.rnn.hidden_size == UNITS - len(DEAD)
    for call in [*calls, *others]:
        assert difference(masked(model, masks).eval(), copy.deepcopy(small).eval(), *call) <= 1e-6
    save_compact(tmp_path / "small", small)
    assert difference(load_compact(tmp_path / "small", MADE[made]()).eval(), small.eval(), *calls[1]) == 0


def test_layers_of_a_subclass_stay_equally_wide():
    torch.manual_seed(0)
    model, x = MADE["two layers"](), torch.randn(4, 5, 3)
    masks = without_neurons(model, {"rnn.l0": [0, 5], "rnn.l1": [3]}, x)
    small, _ = compact(model, masks, example=x)
    assert type(small.rnn) is WithLengths and small.rnn.hidden_size == 5
    assert difference(masked(model, masks), small, torch.randn(2, 8, 3)) <= 1e-6


class ReadsItsWeights(nn.GRU):
    def forward(self, x, lengths=None):
        output, state = super().forward(x)
        return output + self.weight_hh_l0.abs().mean(), state


class Never(nn.GRU):
    def forward(self, x, lengths=None):
        return super().forward(x, None) if lengths is not None else (x.repeat(1, 1, 2), None)


@pytest.mark.parametrize(
    "kind, reason", [(ReadsItsWeights, "reads rnn.weight_hh_l0 itself"), (Never, "did not use it")]
)
def test_units_stay_where_a_subclass_does_something_else(kind, reason):
    torch.manual_seed(0)
    model, x = Network(kind(3, UNITS, batch_first=True)), torch.randn(4, 5, 3)
    masks = without_neurons(model, {"rnn": DEAD}, x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small, _ = compact(model, masks, example=x)
    sentences = [str(one.message) for one in caught]
    assert any("0 of 6 units of rnn can go, because" in sentence and reason in sentence for sentence in sentences)
    assert small.rnn.hidden_size == UNITS and difference(masked(model, masks), small, x) <= 1e-6


def test_without_an_example_a_subclass_is_left_whole():
    class Doubled(nn.GRU):
        def forward(self, x):
            return 2 * super().forward(x)[0]

    model = nn.Sequential(Doubled(3, UNITS, batch_first=True), nn.Linear(UNITS, 2))
    masks = without_neurons(model, {"0": DEAD}, torch.randn(2, 4, 3))
    with pytest.warns(UserWarning, match="0 of 6 units of 0 can go, because no example was given"):
        small, _ = compact(model, masks)
    assert small[0].hidden_size == UNITS


def test_nothing_runs_a_layer_past_the_forward_of_its_class():
    torch.manual_seed(0)
    model, x = MADE["one layer"](), torch.randn(4, 5, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    run = Sparsifier(model, Magnitude(0.9), optimizer, steps=2, example=(x, torch.tensor([5, 4, 3, 2])))
    for _ in range(2):
        optimizer.zero_grad()
        model(x, torch.tensor([5, 4, 3, 2])).square().mean().backward()
        optimizer.step()
    masks = run.finalize()
    assert "torch" in explain_kernels(model)[0].kernel
    plain = nn.LSTM(3, UNITS, batch_first=True)
    plain.load_state_dict(model.rnn.state_dict())
    assert masks.sparsity() > 0.8
    torch.testing.assert_close(model(x), model.head(2 * plain(x)[0]))
    with pytest.raises(UserError, match="WithLengths is a subclass with a forward of its own"), eight_bits(model):
        model(x)
    with pytest.raises(UserError, match="WithLengths is a subclass with a forward of its own"):
        analyse(model, [(x, x)], lambda model, batch: model(batch[0]).square().mean())


class BeginsElsewhere(nn.Module):
    """A layer that begins with what a model's inner width holds; a softmax over that width keeps all of it."""

    def __init__(self, stays, layers=1):
        super().__init__()
        self.inner, self.stays = nn.Linear(3, UNITS), stays
        self.rnn, self.head = nn.GRU(3, UNITS, layers, batch_first=True), nn.Linear(UNITS, 2)

    def forward(self, x):
        inner = self.inner(x.mean(1))
        state = torch.tanh(inner).expand(self.rnn.num_layers, -1, -1).contiguous()
        output = self.head(self.rnn(x, state)[0])
        return output * torch.softmax(inner, -1).amax(-1).view(-1, 1, 1) if self.stays else output


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("stays", [True, False])
def test_a_state_of_which_nothing_can_go_comes_in_whole(stays, layers, tmp_path):
    torch.manual_seed(0)
    model, x = BeginsElsewhere(stays, layers), torch.randn(4, 5, 3)
    masks = without_neurons(model, dict.fromkeys(LABELS, DEAD), x)
    for number in range(layers):  # what an earlier unit leaves behind is read by nobody
        for part in (f"weight_hh_l{number}", f"weight_ih_l{number}" if number else "weight_hh_l0"):
            masks.kept[f"rnn.{part}"][:, DEAD] = False
    masks.kept["head.weight"] = torch.ones(2, UNITS, dtype=torch.bool)
    masks.kept["head.weight"][:, DEAD] = False
    small, _ = compact(model, masks, example=x)
    assert small.rnn.hidden_size == UNITS - len(DEAD)
    assert small.inner.out_features == (UNITS if stays else UNITS - len(DEAD))
    for other in (torch.randn(1, 8, 3), torch.randn(6, 2, 3)):
        assert difference(masked(model, masks), small, other) <= 1e-6
    save_compact(tmp_path / "small", small)
    assert difference(load_compact(tmp_path / "small", BeginsElsewhere(stays, layers)), small, x) == 0


class Shortest(nn.Module):
    """Takes its states in another order where a sequence has no step."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, UNITS, 2, batch_first=True), nn.Linear(UNITS, 2)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.clamp(min=1), batch_first=True)
        return self.head(self.rnn(packed)[1][int(lengths.min() > 0)])


def test_sequences_without_a_step_are_among_the_inputs_that_are_compared():
    torch.manual_seed(0)
    model, x = Shortest(), torch.randn(3, 5, 3)
    lengths = torch.tensor([5, 4, 3])
    masks = without_neurons(model, {"rnn.l0": [0, 1, 5], "rnn.l1": [2, 3, 4]}, x, lengths)
    with pytest.warns(UserWarning, match="0 of 12 units of rnn can go, because the forward joins each of them"):
        small, _ = compact(model, masks, example=(x, lengths))
    for other in (lengths, torch.tensor([5, 2, 0])):
        assert difference(masked(model, masks), small, x, other) <= 1e-6
