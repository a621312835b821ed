"""What is alive: the counts of the published tables, and rules one by one."""

import pytest
import torch
from torch import nn

from sparsernn.cells.gru import GRU
from sparsernn.measure.alive import fixed_point, one_pass
from sparsernn.structure.masks import Masks
from sparsernn.tracing.recording import trace


class Reviews(nn.Module):
    """Words, an LSTM, one number: 6,220,164 weights at the published size."""

    def __init__(self, words=20003, width=300, units=128, rnn=nn.LSTM):
        super().__init__()
        self.embedding, self.rnn, self.head = nn.Embedding(words, width), rnn(width, units), nn.Linear(units, 1)

    def forward(self, ids):
        return self.head(self.rnn(self.embedding(ids))[0][-1])


def emptied(model):
    wiring = trace(model, (torch.zeros(2, 1, dtype=torch.long),))
    masks = Masks({name: torch.zeros_like(p, dtype=torch.bool) for name, p in wiring.parameters(model).items()})
    return wiring, masks


@pytest.mark.parametrize(("alive", "compression"), [(335, 18567), (348, 17874), (315, 19747)])
def test_compression_of_the_published_table(alive, compression):
    model = Reviews()
    wiring, masks = emptied(model)
    masks.kept["rnn.weight_ih_l0"].view(4, 128, 300)[:, 0, 0] = True
    masks.kept["embedding.weight"][: alive - 5, 0] = True
    masks.kept["head.weight"][0, 0] = True
    masks.kept["rnn.weight_ih_l0"].view(4, 128, 300)[:, 5, 0] = True  # of a unit that nothing reads
    for count in (one_pass(wiring, masks), fixed_point(wiring, masks)):
        assert (count.weights, count.all_weights) == (alive, 6_220_164)
        assert abs(count.compression - compression) < 1  # the table rounds one of them down and one up
        assert count.words == {"embedding": alive - 5} and count.components == {"embedding": 1}
        assert count.units == {"rnn.l0": 1} or count.units == {"rnn": 1}
        assert list(count.gates.values()) == [4]


def test_what_only_dead_units_read_is_alive_in_one_pass_and_dead_in_the_end():
    wiring, masks = emptied(Reviews(10, 4, 3))
    gates = masks.kept["rnn.weight_ih_l0"].view(4, 3, 4)
    gates[0, 0, 1] = gates[2, 1, 2] = True  # unit 0 reads component 1, unit 1 component 2
    masks.kept["head.weight"][0, 0] = True  # only unit 0 is read
    masks.kept["embedding.weight"][:6, 1] = True
    masks.kept["embedding.weight"][5:9, 2] = True
    first, last = one_pass(wiring, masks), fixed_point(wiring, masks)
    assert (first.words["embedding"], first.components["embedding"], first.weights) == (9, 2, 1 + 1 + 6 + 4)
    assert (last.words["embedding"], last.components["embedding"], last.weights) == (6, 1, 1 + 1 + 6)
    assert list(first.gates.values()) == list(last.gates.values()) == [1]


def test_a_unit_lives_by_the_recurrent_matrix_too_and_its_gates_with_it():
    wiring, masks = emptied(Reviews(10, 4, 3))
    masks.kept["rnn.weight_hh_l0"].view(4, 3, 3)[1, 0, 2] = True
    count = one_pass(wiring, masks)
    assert list(count.units.values()) == [1] and list(count.gates.values()) == [0]
    assert count.weights == 0 and count.compression == float("inf")


def test_a_dense_network_of_another_cell_is_whole():
    model = Reviews(10, 4, 3, GRU)
    wiring = trace(model, (torch.zeros(2, 1, dtype=torch.long),))
    count = one_pass(wiring, Masks({}))
    assert count.compression == 1 and list(count.units.values()) == [3] and list(count.gates.values()) == [9]
