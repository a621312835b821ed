"""Recurrent models that other tools for structured pruning refuse or get wrong: stacks, directions, states, gates."""

import copy

import pytest
import torch
from torch import nn

from sparsernn.compaction.compact import compact
from tests.structure.networks import difference, masked, without_neurons

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")
UNITS = 7
DEAD = {"rnn": [0, 3], "rnn.l0": [0, 3], "rnn.l1": [2, 6], "rnn.l0_reverse": [1, 5], "rnn.l1_reverse": [4, 5]}


class Classifier(nn.Module):
    """A recurrent module of any shape, read in one of several ways; its start state may be handed in."""

    def __init__(self, rnn, read, width):
        super().__init__()
        self.before, self.rnn, self.read, self.head = nn.Linear(3, 5), rnn, read, nn.Linear(width, 2)

    def forward(self, x, state=None):
        return self.head(self.read(*self.rnn(self.before(x), state)))


def hidden(state):
    return state[0] if isinstance(state, tuple) else state


READ = {
    "outputs": lambda output, state: output,
    "the last output": lambda output, state: output[:, -1],
    "the final states": lambda output, state: torch.cat(hidden(state).unbind(0), -1),
}


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_stacks_and_directions_lose_their_units(kind, layers, directions, read):
    torch.manual_seed(0)
    rnn = kind(5, UNITS, layers, batch_first=True, bidirectional=directions == 2)
    width = UNITS * directions * (layers if read == "the final states" else 1)
    model, x = Classifier(rnn, READ[read], width), torch.randn(4, 6, 3)
    masks = without_neurons(model, DEAD, x)
    small, _ = compact(model, masks, example=x)
    assert type(small.rnn) is kind and small.rnn.hidden_size == UNITS - 2
    assert small.head.in_features == width // UNITS * (UNITS - 2)
    for inputs in (x, torch.randn(1, 2, 3), torch.randn(9, 11, 3)):
        assert difference(masked(model, masks).eval(), copy.deepcopy(small).eval(), inputs) <= 1e-6


def test_gates_of_one_unit_go_together():
    """Rows of all four gates and the columns that read them: position by position what is left of the large layer."""
    model, x = Classifier(nn.LSTM(5, UNITS, batch_first=True), READ["outputs"], UNITS), torch.randn(4, 6, 3)
    small, _ = compact(model, without_neurons(model, {"rnn": [2, 4]}, x), example=x)
    left = [0, 1, 3, 5, 6]
    rows = [gate * UNITS + unit for gate in range(4) for unit in left]
    assert torch.equal(small.rnn.weight_ih_l0, model.rnn.weight_ih_l0[rows])
    assert torch.equal(small.rnn.weight_hh_l0, model.rnn.weight_hh_l0[rows][:, left])
    assert torch.equal(small.rnn.bias_ih_l0, model.rnn.bias_ih_l0[rows])
    assert torch.equal(small.head.weight, model.head.weight[:, left])


@pytest.mark.parametrize("directions", [1, 2])
def test_projected_layers(directions):
    rnn = nn.LSTM(5, UNITS, batch_first=True, proj_size=4, bidirectional=directions == 2)
    model, x = Classifier(rnn, READ["outputs"], 4 * directions), torch.randn(4, 6, 3)
    masks = without_neurons(model, {"rnn": [0, 3], "rnn.l0": [0, 3], "rnn.l0_reverse": [1, 5]}, x)
    small, _ = compact(model, masks, example=x)
    assert sum(p.numel() for p in small.rnn.parameters()) < sum(p.numel() for p in rnn.parameters())
    assert difference(masked(model, masks), small, torch.randn(2, 9, 3)) <= 1e-6


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_state_that_comes_in(kind):
    """Nothing reads the units that go, so it does not matter where they begin."""
    model, x = Classifier(kind(5, UNITS, batch_first=True), READ["the final states"], UNITS), torch.randn(4, 6, 3)
    start = torch.randn(1, 4, UNITS)
    state = (start, -start) if kind is nn.LSTM else start
    masks = without_neurons(model, DEAD, x, state)
    small, _ = compact(model, masks, example=(x, state))
    assert small.rnn.hidden_size == UNITS - 2
    state = tuple(torch.randn(1, 3, UNITS) for _ in range(2)) if kind is nn.LSTM else torch.randn(1, 3, UNITS)
    assert difference(masked(model, masks), small, torch.randn(3, 4, 3), state) <= 1e-6
