"""Attention with several heads beside recurrent layers: its weights stay, the layers that it reads become small."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from sparsernn import compact, load_compact, save_compact
from sparsernn.errors import UserError
from sparsernn.structure.masks import Masks
from tests.structure.networks import difference, masked, without_neurons

UNITS, HEADS = 8, 2
DEAD = {"rnn.l0": [0, 3, 4, 6], "rnn.l0_reverse": [1, 2, 3, 5, 7], "asks": [2, 3, 9]}


class Attending(nn.Module):
    """States of two directions, read by themselves, or asked for by a layer that reads the first steps."""

    def __init__(self, to_itself=False, last=False, **options):
        super().__init__()
        self.rnn = nn.GRU(3, UNITS, batch_first=True, bidirectional=True)
        self.asks = nn.LSTM(3, 2 * UNITS, batch_first=True)
        self.attention = nn.MultiheadAttention(2 * UNITS, HEADS, **options)
        self.head, self.to_itself, self.last = nn.Linear(4 * UNITS, 2), to_itself, last

    def forward(self, x, hidden=None):
        states = self.rnn(x)[0]
        asking = states if self.to_itself else self.asks(x[:, :2])[0]
        asking = asking[:, -1:] if self.last else asking
        if not self.attention.batch_first:
            told, weights = self.attention(asking.transpose(0, 1), *[states.transpose(0, 1)] * 2, hidden)
            told = told.transpose(0, 1)
        elif self.to_itself:
            told, weights = self.attention(states, states, states, key_padding_mask=hidden)
            told = told[:, -1:] if self.last else told
        else:
            told, weights = self.attention(value=states, query=asking, key=states, key_padding_mask=hidden)
        return self.head(torch.cat([asking, told], -1)), weights


WAYS = {
    "batches first": {"batch_first": True},
    "time first": {},
    "to itself": {"batch_first": True, "to_itself": True},
    "the last step asks": {"batch_first": True, "last": True},
    "keys of another width": {"batch_first": True, "kdim": 2 * UNITS, "vdim": 2 * UNITS},
    "without biases": {"batch_first": True, "bias": False},
    "keys of its own": {"batch_first": True, "add_bias_kv": True, "add_zero_attn": True},
}


def hidden(*lengths):
    """Which steps are behind the ends of sequences of these lengths."""
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("way", WAYS)
def test_what_it_reads_becomes_small(way, tmp_path):
    torch.manual_seed(1)
    model, x = Attending(**WAYS[way]), torch.randn(3, 5, 3)
    dead = {label: units for label, units in DEAD.items() if label != "asks" or not model.to_itself}
    examples = [(x,), (x, hidden(5, 3, 1))]
    unused = pytest.warns(UserWarning, match="no example ran asks") if model.to_itself else nullcontext()
    with unused:
        masks = without_neurons(model, dead, x)
        small, _ = compact(model, masks, examples=examples)
        fewer = without_neurons(small, {"rnn.l0": [1]}, x)
        again, _ = compact(copy.deepcopy(small), fewer, examples=examples)
    widths = [small.get_parameter(f"rnn.weight_hh_l0{side}").shape[1] for side in ("", "_reverse")]
    assert widths == [4, 3] and small.asks.hidden_size == 2 * UNITS - len(dead.get("asks", []))
    reference = masked(model, masks)
    for one, other in ((reference.eval(), small.eval()), (reference.train(), small.train())):
        for inputs in ((x,), (torch.randn(2, 9, 3), hidden(9, 4)), (torch.randn(1, 2, 3),)):
            assert difference(one, other, *inputs) <= 1e-6
    save_compact(tmp_path / "small", small)
    loaded = load_compact(tmp_path / "small", Attending(**WAYS[way]))
    assert difference(loaded.eval(), small.eval(), *examples[1]) == 0
    assert again.get_parameter("rnn.weight_hh_l0").shape[1] == 3
    assert difference(again.eval(), masked(small, fewer).eval(), x) <= 1e-6


class Above(nn.Module):
    """A layer of a transformer that reads a recurrent one."""

    def __init__(self, layer, way):
        super().__init__()
        self.rnn, self.layer, self.head = nn.LSTM(3, UNITS, batch_first=True), layer, nn.Linear(UNITS, 2)
        self.way, self.question = way, nn.Parameter(torch.randn(1, 2, UNITS))

    def forward(self, x):
        states = self.rnn(x)[0]
        if self.way == "memory":
            return self.head(self.layer(self.question.expand(len(x), -1, -1), states))
        return self.head(self.layer(states))


SIZES = {"d_model": UNITS, "nhead": HEADS, "dim_feedforward": 6, "batch_first": True}


@pytest.mark.parametrize("first", [False, True])
def test_a_transformer_that_adds_to_what_it_reads_is_refused(first):
    torch.manual_seed(2)
    model, x = Above(nn.TransformerEncoderLayer(**SIZES, norm_first=first), "").eval(), torch.randn(3, 5, 3)
    masks = without_neurons(model, {"rnn": [1, 4]}, x)
    with pytest.warns(UserWarning, match="0 of 8 units of rnn can go, because"):
        small, _ = compact(model, masks, example=x)
    assert difference(masked(model, masks), small, torch.randn(2, 7, 3)) <= 1e-6


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
def test_the_memory_of_a_transformer_becomes_small():
    torch.manual_seed(3)
    model, x = Above(nn.TransformerDecoderLayer(**SIZES), "memory").eval(), torch.randn(3, 5, 3)
    masks = without_neurons(model, {"rnn": [1, 4]}, x)
    small, _ = compact(model, masks, example=x)
    assert small.rnn.hidden_size == UNITS - 2
    assert difference(masked(model, masks), small, torch.randn(2, 7, 3)) <= 1e-6
    with pytest.raises(UserError, match="torch.jit.script cannot compile an attention"):
        torch.jit.script(small.layer)


def test_an_attention_that_nothing_was_cut_of_is_as_it_was():
    model, x = Attending(batch_first=True), torch.randn(3, 5, 3)
    small, _ = compact(model, Masks({}), example=x)
    assert type(small.attention) is nn.MultiheadAttention and difference(model.eval(), small.eval(), x) == 0
