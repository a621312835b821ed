"""Forwards that work with fixed numbers of a layer's units: it computes fewer, and gives zeros for those that went."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsernn import compact, load_compact, save_compact
from tests.structure.networks import difference, masked, without_neurons

UNITS = 8


class Directions(nn.Module):
    """Adds the two directions up, whose width it knows by itself."""

    dead = {"rnn.l0": [1, 3, 4, 6, 7], "rnn.l0_reverse": [0, 2, 3, 4, 5, 6]}

    def __init__(self, kind=nn.LSTM, layers=1):
        super().__init__()
        self.rnn = kind(4, UNITS, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(UNITS, 3)

    def outputs(self, x):
        return self.rnn(x)[0]

    def forward(self, x):
        output = self.outputs(x)
        return self.head(output[..., :UNITS] + output[..., UNITS:])


class Packed(Directions):
    def __init__(self, enforce_sorted):
        super().__init__()
        self.enforce_sorted = enforce_sorted

    def outputs(self, x):
        lengths = torch.full((len(x),), x.shape[1])
        lengths[-1] = max(1, x.shape[1] - 1)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=self.enforce_sorted)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


class StartStates(Directions):
    def outputs(self, x):
        start = torch.zeros(2, len(x), UNITS)
        return self.rnn(x, (start, start))[0]


class OneByOne(Directions):
    def outputs(self, x):
        return torch.stack([self.rnn(sequence)[0] for sequence in x])


class LastStates(Directions):
    dead = {"rnn.l0": [1, 3], "rnn.l0_reverse": [1, 2, 3, 4, 5], "rnn.l1": [0, 7], "rnn.l1_reverse": [2, 4, 5]}

    def __init__(self):
        super().__init__(nn.GRU, 2)

    def forward(self, x):
        states = self.rnn(x)[1].view(2, 2, len(x), UNITS)
        return self.head(states[1, 0] * states[1, 1] + states[0].sum(0))


class Remembering(nn.Module):
    """A cell that reads a mean of its own states, the first of which are zeros of a fixed width."""

    dead = {"rnn": [0, 2, 7]}

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRUCell(4 + UNITS, UNITS), nn.Linear(UNITS, 3)

    def forward(self, x):
        states = [torch.zeros(len(x), UNITS)]
        for step in x.unbind(1):
            read = torch.stack(states, 1)
            weights = torch.einsum("bh,bth->bt", states[-1], read).softmax(-1)
            states.append(self.rnn(torch.cat([step, (weights.unsqueeze(-1) * read).sum(1)], -1), states[-1]))
        return self.head(states[-1])


class OwnLoop(nn.Module):
    dead = {"rnn": [1, 3]}  # units that are multiplied with each other go together

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTMCell(4, UNITS), nn.Linear(UNITS // 2, 3)

    def forward(self, x):
        state = torch.zeros(len(x), UNITS), torch.zeros(len(x), UNITS)
        for step in x.unbind(1):
            state = self.rnn(step, state)
        return self.head(state[0][:, : UNITS // 2] * state[0][:, UNITS // 2 :])


MODELS = {
    "sliced": Directions,
    "packed, sorted": lambda: Packed(True),
    "packed, unsorted": lambda: Packed(False),
    "start states": StartStates,
    "without a batch": OneByOne,
    "states of two layers": LastStates,
    "a memory of its states": Remembering,
    "a loop of one's own": OwnLoop,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_layer_gets_smaller_and_its_results_keep_their_width(name, tmp_path):
    model = MODELS[name]()
    x = torch.randn(3, 5, 4)
    masks = without_neurons(model, model.dead, x)
    small, remaining = compact(model, masks, example=(x,))
    assert small.rnn.hidden_size == UNITS - min(map(len, model.dead.values())) * (2 if "loop" in name else 1)
    assert any("gives zeros" in line and "test_fixed_widths.py" in line for line in small.cut_report)
    save_compact(tmp_path / "small", small)
    again, _ = compact(small, remaining, example=(x,))
    for other in (x, torch.randn(1, 2, 4), torch.randn(4, 9, 4)):
        for model_of_it in (small, copy.deepcopy(small), again, load_compact(tmp_path / "small", MODELS[name]())):
            assert difference(masked(model, masks), model_of_it, other) <= 1e-6


def test_only_the_layer_at_which_the_forward_splits_gives_as_many_as_before():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rnn = nn.GRU(4, UNITS), nn.GRU(UNITS, UNITS)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            output = self.rnn(self.first(x)[0])[0]
            return self.head(output[..., :4] * output[..., 4:])

    model, x = Two(), torch.randn(5, 2, 4)
    masks = without_neurons(model, {"first": [3, 4, 5, 6, 7], "rnn": [1, 3]}, x)
    small, _ = compact(model, masks, example=(x,))
    assert small.rnn.weight_ih_l0.shape == (3 * 4, 3)
    assert [line.split()[0] for line in small.cut_report if "gives zeros" in line] == ["rnn"]
    assert difference(masked(model, masks), small, x) <= 1e-6
