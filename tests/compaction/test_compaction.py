"""Compaction on known masks: exact sizes, what keeps a unit alive, what is refused."""

import copy

import pytest
import torch
from torch import nn

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.compaction.compact import compact
from sparsernn.errors import UserError
from sparsernn.nn import module_of
from sparsernn.structure.masks import Masks
from sparsernn.tracing.recording import trace
from tests.structure.networks import (
    Reading,
    check_exact,
    difference,
    full_masks,
    masked,
    random_masks,
    size_of,
    without_neurons,
)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:0 of ")


def lstm_size(inputs: int, hidden: int) -> int:
    return 4 * hidden * (inputs + hidden + 2)


@pytest.mark.parametrize("cell", [nn.LSTM, LSTM])
def test_removed_neurons_shrink_the_tensors_to_exact_counts(cell):
    model, ids = Reading(cell(4, 6, 2), "final state"), torch.randint(7, (5, 2))
    masks = without_neurons(model, {"cell.l0": [1, 4, 5], "cell.l1": [0]}, ids)
    small, left = check_exact(model, masks, ids)
    assert size_of(small.cell) == lstm_size(4, 3) + lstm_size(3, 5)
    assert tuple(small.head.weight.shape) == (3, 5)
    assert size_of(small) == 7 * 4 + lstm_size(4, 3) + lstm_size(3, 5) + 3 * 5 + 3
    assert left.sparsity() == 0


@pytest.mark.parametrize("cell", [nn.GRU, GRU])
def test_both_directions_that_are_read_together_get_one_width(cell):
    model, ids = Reading(cell(4, 6, 2, bidirectional=True), "final state"), torch.randint(7, (5, 2))
    dead = {"cell.l0": [0, 1], "cell.l0_reverse": [2], "cell.l1": [0, 1, 2, 3], "cell.l1_reverse": [5]}
    small, _ = check_exact(model, without_neurons(model, dead, ids), ids)
    shapes = [tuple(parameter.shape) for name, parameter in small.cell.named_parameters() if "weight" in name]
    assert shapes == [(12, 4), (12, 4), (15, 4), (15, 5), (15, 9), (15, 5), (15, 9), (15, 5)]


def test_unequal_layers_stay_one_torch_module_if_uniform():
    model, ids = Reading(nn.LSTM(4, 6, 2), "output"), torch.randint(7, (5, 2))
    masks = without_neurons(model, {"cell.l0": [1, 4, 5], "cell.l1": [0]}, ids)
    unequal, _ = check_exact(model, masks, ids)
    uniform, _ = check_exact(model, masks, ids, uniform=True)
    assert type(unequal.cell) is module_of(LSTM) and unequal.cell.hidden_size == 5
    assert list(unequal.state_dict()) == list(model.state_dict())
    assert type(uniform.cell) is nn.LSTM and uniform.cell.hidden_size == 5
    assert size_of(uniform.cell) == lstm_size(4, 5) + lstm_size(5, 5)
    equal, _ = check_exact(model, without_neurons(model, {"cell.l0": [1], "cell.l1": [3]}, ids), ids)
    assert type(equal.cell) is nn.LSTM


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN, LSTM])
def test_a_layer_without_any_weight_keeps_one_unit(cell):
    model, ids = Reading(cell(4, 6, 2), "mean"), torch.randint(7, (5, 2))
    small, _ = check_exact(model, without_neurons(model, {"cell.l0": list(range(6))}, ids), ids)
    assert small.cell.weight_hh_l0.shape[1] == 1
    assert small.embedding.weight.shape == (1, 1)


def test_a_direction_that_nobody_reads_is_cut_although_its_units_read_each_other():
    class Forward(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(4, 6, bidirectional=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[1][0][0])

    model, x = Forward(), torch.randn(5, 2, 4)
    small, _ = check_exact(model, full_masks(model, x), x)
    assert small.rnn.widths == [6, 1]


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN, LSTM, GRU])
def test_a_bias_alone_keeps_a_unit(cell):
    model, ids = Reading(cell(4, 3), "output"), torch.randint(7, (5, 2))
    masks = random_masks(model, "gate", 0, 0, example=(ids,))
    small, _ = check_exact(model, masks, ids, carried_states=True)
    assert small.cell.hidden_size == 3
    for name, parameter in model.cell.named_parameters():
        if "bias" in name:
            candidate = {12: 2, 9: 2, 3: 0}[len(parameter)] * 3
            nn.init.zeros_(parameter.data[candidate + 1 : candidate + 2])
    small, _ = check_exact(model, masks, ids, carried_states=True)
    assert small.cell.hidden_size == 2


def test_torchs_candidate_is_constant_only_without_b_hn_or_with_a_constant_reset_gate():
    model, ids = Reading(nn.GRU(4, 5), "output"), torch.randint(7, (5, 2))
    masks = random_masks(model, "gate", 1, 0, example=(ids,))
    for name in ("cell.weight_ih_l0", "cell.weight_hh_l0"):
        gates = masks.kept[name].view(3, 5, -1)
        gates[2, :3] = False
        gates[0, 1] = False
    nn.init.zeros_(model.cell.bias_hh_l0.data[10:11])
    expected = {("cell", "candidate", 0), ("cell", "candidate", 1), ("cell", "reset", 1)}
    assert set(masks.find_constant_gates(trace(model), model)) == expected
    small, left = check_exact(model, masks, ids)
    assert set(left.constant_gates) == expected and small.cell.hidden_size == 5


def test_the_original_grus_candidate_is_constant_without_weights():
    model = GRU(4, 5, reset="before")
    masks = random_masks(model, "gate", 0, 0)
    assert len(masks.find_constant_gates(trace(model), model)) == 15


def test_a_gate_with_a_peephole_or_without_a_mask_is_not_constant():
    model = PeepholeLSTM(4, 2)
    masks = random_masks(model, "weight", 0, 0)
    masks.kept["weight_ch_l0"][0] = True
    assert masks.find_constant_gates(trace(model), model) == [
        ("", "input", 1),
        ("", "forget", 0),
        ("", "forget", 1),
        ("", "candidate", 0),
        ("", "candidate", 1),
        ("", "output", 0),
        ("", "output", 1),
    ]
    assert (
        random_masks(nn.LSTM(4, 2), "weight", 0, 0, "weight_hh_l0").find_constant_gates(
            trace(nn.LSTM(4, 2)), nn.LSTM(4, 2)
        )
        == []
    )


@pytest.mark.parametrize("projection", [0, 2])
def test_a_unit_that_starts_at_another_number_than_zero_stays(projection):
    cell = nn.LSTM(4, 5, bias=False, proj_size=projection)
    model, ids = Reading(cell, "output", learned_start=True), torch.randint(7, (5, 2))
    masks = full_masks(model, ids)
    if projection:
        masks.kept["cell.weight_hr_l0"][1] = False
    else:
        for name in ("cell.weight_ih_l0", "cell.weight_hh_l0"):
            masks.kept[name].view(4, 5, -1)[:, 1] = False
    small, _ = check_exact(model, masks, ids)
    assert small.cell.hidden_size == 5 and small.cell.proj_size == projection
    for start in model.starts:
        nn.init.zeros_(start)
    small, _ = check_exact(model, masks, ids)
    assert (small.cell.proj_size or small.cell.hidden_size) == (1 if projection else 4)


class FixedWidth(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        output, _ = self.rnn(x)
        if self.rnn.hidden_size != 6:
            raise AssertionError
        return self.head(output)


def test_a_forward_with_a_fixed_width_is_named_with_its_line_and_nothing_changes():
    model, x = FixedWidth(), torch.randn(5, 2, 4)
    before = copy.deepcopy(model.state_dict())
    masks = without_neurons(model, {"rnn": [1, 3]}, x)
    line = FixedWidth.forward.__code__.co_firstlineno + 3
    with pytest.raises(UserError, match=rf"test_compaction\.py:{line}") as caught:
        compact(model, masks, example=(x,))
    assert "AssertionError" in str(caught.value) and "where=" in caught.value.do
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(kept.shape == before[name].shape for name, kept in masks.kept.items())


def test_masks_of_the_small_model_count_the_same_tensors():
    model, ids = Reading(nn.LSTM(4, 6, 2), "output"), torch.randint(7, (5, 2))
    wiring = trace(model, (ids,))
    masks = Masks.full(wiring, model, {"cell.weight_hh_l0", "cell.weight_hh_l1"})
    masks.kept["cell.weight_hh_l0"].view(4, 6, 6)[:, 2] = False
    masks.kept["cell.weight_hh_l0"][0, 1] = False
    small, left = compact(model, masks, example=ids)
    assert left.selected == set(left.kept) == {"cell.weight_hh_l0", "cell.weight_hh_l1"}
    assert 0 < left.sparsity() < 1


def test_without_an_example_only_containers_are_followed():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    wiring = trace(model)
    masks = Masks.full(wiring, model, set(wiring.weights))
    masks.kept["2.weight"][:, 4] = False
    masks.kept["4.weight"][:, [0, 1]] = False
    small, _ = compact(model, masks)
    assert [tuple(layer.weight.shape) for layer in small if isinstance(layer, nn.Linear)] == [(5, 4), (4, 5), (2, 4)]
    assert difference(masked(model, masks), small, torch.randn(3, 4)) <= 1e-6
    rnn = nn.LSTM(4, 6)
    small, _ = compact(rnn, random_masks(rnn, "neuron", 0.5, 0))
    assert small.hidden_size == 6
    assert any("no example was given" in line for line in small.cut_report)


def test_a_layer_used_twice_in_a_container_is_left_alone_without_an_example():
    twice = nn.Linear(4, 4)
    model = nn.Sequential(twice, nn.ReLU(), nn.Linear(4, 4), twice)
    masks = full_masks(model)
    masks.kept["2.weight"][:, 0] = False
    small, _ = compact(model, masks)
    assert difference(masked(model, masks), small, torch.randn(3, 4)) <= 1e-6


def test_masks_of_layers_that_are_unknown_are_kept_as_they_are():
    model = nn.Sequential(nn.Conv1d(3, 4, 1), nn.Flatten(), nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 2))
    masks = Masks({"0.weight": torch.rand(4, 3, 1) < 0.5, "4.weight": torch.tensor([[True] * 4 + [False] * 2] * 2)})
    small, left = check_exact(model, masks, torch.randn(2, 3, 5))
    assert torch.equal(left.kept["0.weight"], masks.kept["0.weight"]) and small[2].out_features == 4
    assert left.selected == {"0.weight", "4.weight"}


@torch.no_grad()
def test_units_that_only_the_returned_state_shows_are_cut_where_states_are_carried():
    """Nothing reads unit 3, which is not zero: it goes only if the state is handed to the model alone."""

    class Speech(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(4, 6), nn.Linear(6, 5)

        def forward(self, x, state=None):
            output, state = self.rnn(x, state)
            return self.head(output), state

    torch.manual_seed(0)
    model, x = Speech().eval(), torch.randn(7, 2, 4)
    masks = Masks({"rnn.weight_hh_l0": torch.ones(24, 6, dtype=torch.bool), "head.weight": torch.ones(5, 6) > 0})
    for kept in masks.kept.values():
        kept[:, 3] = False
    masks.apply_(model)
    kept_all, _ = compact(model, masks, example=(x,))
    assert kept_all.rnn.hidden_size == 6
    small, left = compact(model, masks, example=(x,), carried_states=True)
    assert small.rnn.hidden_size == 5 and left.kept["head.weight"].shape == (5, 5)
    output, state = model(x)
    found, after = small(x)
    assert torch.allclose(found, output, atol=1e-6)
    assert after[0].shape == state[0].shape and not bool(after[0][..., 3].any())
    assert torch.allclose(small(x, after)[0], model(x, state)[0], atol=1e-6)
