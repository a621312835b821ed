"""Compaction on known masks: exact sizes, what keeps a unit alive, what is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.errors import UserError
from sparsernn.structure.compaction import compact
from sparsernn.structure.groups import Groups
from sparsernn.structure.masks import Masks
from sparsernn.structure.stacked import Stacked
from sparsernn.structure.wiring import Wiring
from tests.structure.networks import Reading, check_exact, difference, flat, masked, random_masks, size_of

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")


def without_neurons(model: nn.Module, dead: dict[str, list[int]], *example) -> Masks:
    """Masks in which hidden units are gone, by the label of their layer."""
    wiring = Wiring.of(model, example)
    groups = Groups.of(wiring, model, "neuron")
    masks, kept = Masks.full(wiring, model, set(groups.names)), torch.ones(groups.count, dtype=torch.bool)
    for family in groups.families:
        kept[[family.start + unit for unit in dead.get(family.label, [])]] = False
    groups.keep(masks, kept)
    return masks


def full_masks(model: nn.Module, *example) -> Masks:
    wiring = Wiring.of(model, example or None)
    return Masks.full(wiring, model, {name for name, weight in wiring.weights.items()})


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
    stacked, _ = check_exact(model, masks, ids)
    uniform, _ = check_exact(model, masks, ids, uniform=True)
    assert type(stacked.cell) is Stacked and stacked.cell.hidden_size == 5
    assert type(uniform.cell) is nn.LSTM and uniform.cell.hidden_size == 5
    assert size_of(uniform.cell) == lstm_size(4, 5) + lstm_size(5, 5)
    equal, _ = check_exact(model, without_neurons(model, {"cell.l0": [1], "cell.l1": [3]}, ids), ids)
    assert type(equal.cell) is nn.LSTM


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN, LSTM])
def test_a_layer_without_any_weight_keeps_one_unit(cell):
    model, ids = Reading(cell(4, 6, 2), "mean"), torch.randint(7, (5, 2))
    small, _ = check_exact(model, without_neurons(model, {"cell.l0": list(range(6))}, ids), ids)
    first = small.cell.layers[0] if isinstance(small.cell, Stacked) else small.cell
    assert first.weight_hh_l0.shape[1] == 1
    assert small.embedding.weight.shape == (7, 1)


def test_a_direction_that_nobody_reads_is_cut_although_its_units_read_each_other():
    class Forward(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(4, 6, bidirectional=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[1][0][0])

    model, x = Forward(), torch.randn(5, 2, 4)
    small, _ = check_exact(model, full_masks(model, x), x)
    assert small.rnn.layers[0].hidden_size == 6
    assert small.rnn.layers[1].hidden_size == 1


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN, LSTM, GRU])
def test_a_bias_alone_keeps_a_unit(cell):
    model, ids = Reading(cell(4, 3), "output"), torch.randint(7, (5, 2))
    masks = random_masks(model, "gate", 0, 0, example=(ids,))
    small, _ = check_exact(model, masks, ids)
    assert small.cell.hidden_size == 3
    for name, parameter in model.cell.named_parameters():
        if "bias" in name:
            candidate = {12: 2, 9: 2, 3: 0}[len(parameter)] * 3
            nn.init.zeros_(parameter.data[candidate + 1 : candidate + 2])
    small, _ = check_exact(model, masks, ids)
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
    assert set(masks.find_constant_gates(Wiring.of(model), model)) == expected
    small, left = check_exact(model, masks, ids)
    assert set(left.constant_gates) == expected and small.cell.hidden_size == 5


def test_the_original_grus_candidate_is_constant_without_weights():
    model = GRU(4, 5, reset="before")
    masks = random_masks(model, "gate", 0, 0)
    assert len(masks.find_constant_gates(Wiring.of(model), model)) == 15


def test_a_gate_with_a_peephole_or_without_a_mask_is_not_constant():
    model = PeepholeLSTM(4, 2)
    masks = random_masks(model, "weight", 0, 0)
    masks.kept["weight_ch_l0"][0] = True
    assert masks.find_constant_gates(Wiring.of(model), model) == [
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
            Wiring.of(nn.LSTM(4, 2)), nn.LSTM(4, 2)
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


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, LSTM, GRU])
def test_states_carried_through_the_model_keep_their_width(cell):
    model, ids = Reading(cell(4, 6, 2, bias=False), "returned states"), torch.randint(7, (5, 2))
    masks = random_masks(model, "neuron", 0.4, 1, example=(ids,))
    state = model(ids)[1]
    assert all(part.abs().sum() > 0 for part in flat(state))
    small, _ = check_exact(model, masks, ids)
    reference = masked(model, masks)
    assert size_of(small) < size_of(model)
    start = torch.zeros_like(flat(state)[0])
    kept, want = (small, (start, start) if isinstance(state, tuple) else start), (reference, None)
    for _ in range(3):
        (output, after), (expected, wanted) = kept[0](ids, kept[1]), want[0](ids, want[1])
        assert torch.allclose(output, expected, atol=1e-6, rtol=0)
        assert all(torch.allclose(a, b, atol=1e-6, rtol=0) for a, b in zip(flat(after), flat(wanted), strict=True))
        kept, want = (small, after), (reference, wanted)
    with_states, _ = check_exact(model, masks, ids, state)
    assert difference(masked(model, masks), with_states, ids, state) <= 1e-6
    again, _ = check_exact(with_states, Masks({}), ids, state)
    assert difference(masked(model, masks), again, ids, state) <= 1e-6


def test_a_state_that_is_read_and_another_that_goes_out():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(4, 6, 2), nn.Linear(6, 2)

        def forward(self, x):
            _, (h, c) = self.rnn(x)
            return self.head(h[-1]), c

    model, x = Both(), torch.randn(5, 2, 4)
    small, _ = check_exact(model, without_neurons(model, {"rnn.l0": [0, 1], "rnn.l1": [2]}, x), x)
    assert size_of(small.rnn) < size_of(model.rnn)


def test_states_of_the_wrong_width_are_refused_and_never_sliced():
    model, ids = Reading(nn.GRU(4, 6, 2), "output"), torch.randint(7, (5, 2))
    small, _ = check_exact(model, without_neurons(model, {"cell.l0": [1, 4, 5], "cell.l1": [0]}, ids), ids)
    with pytest.raises(UserError, match="initial states have shapes"):
        small(ids, torch.randn(2, 2, 6))
    ours, _ = check_exact(
        Reading(GRU(4, 6, 2), "output"), without_neurons(Reading(GRU(4, 6, 2), "output"), {"cell.l0": [1]}, ids), ids
    )
    with pytest.raises(UserError, match="initial states have shapes"):
        ours(ids, torch.randn(2, 2, 7))


class FixedWidth(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        output, _ = self.rnn(x)
        if output.shape[-1] != 6:
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


def test_a_forward_that_splits_at_a_fixed_place_is_found_by_its_result():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(4, 6, bidirectional=True), nn.Linear(12, 2)

        def forward(self, x):
            output, _ = self.rnn(x)
            half = output.shape[-1] // 2
            return self.head(torch.cat([output[-1, :, :half], output[0, :, half:]], -1))

    model, x = Halves(), torch.randn(5, 2, 4)
    with pytest.raises(UserError, match="values that differ by"):
        compact(model, without_neurons(model, {"rnn.l0": [0, 1, 2, 3], "rnn.l0_reverse": []}, x), example=(x,))
    check_exact(model, without_neurons(model, {"rnn.l0": [0, 1], "rnn.l0_reverse": [3, 4]}, x), x)


def test_wrappers_are_taken_off():
    for wrap in (nn.DataParallel, AveragedModel, lambda inner: torch.compile(inner, backend="eager")):
        reading, ids = Reading(nn.LSTM(4, 6), "output"), torch.randint(7, (5, 2))
        masks = without_neurons(reading, {"cell": [0, 5]}, ids)
        small, _ = compact(wrap(reading), masks, example=ids)
        assert type(small) is Reading and small.cell.hidden_size == 4
        assert difference(masked(reading, masks), small, ids) <= 1e-6


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_other_types_of_numbers(kind):
    model, ids = Reading(nn.GRU(4, 6, 2), "output").to(kind), torch.randint(7, (5, 2))
    masks = without_neurons(model, {"cell.l0": [0, 5], "cell.l1": [1]}, ids)
    small, _ = compact(model, masks, example=ids)
    assert {parameter.dtype for parameter in small.parameters()} == {kind}
    assert difference(masked(model, masks), small, ids) <= (1e-12 if kind is torch.float64 else 0.02)


def test_a_model_in_training_keeps_its_mode_and_its_running_averages():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.drop, self.head, self.norm = (
                nn.GRU(4, 6),
                nn.Dropout(0.5),
                nn.Linear(6, 3),
                nn.BatchNorm1d(3),
            )

        def forward(self, x):
            return self.norm(self.head(self.drop(self.rnn(x)[1][-1])))

    model, x = Normalised().train(), torch.randn(5, 4, 4)
    model.drop.eval()
    state = torch.random.get_rng_state()
    small, _ = check_exact(model, without_neurons(model, {"rnn": [2]}, x), x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert small.rnn.hidden_size == 5
    assert small.training and not small.drop.training and small.norm.training
    assert torch.equal(small.norm.running_mean, torch.zeros(3)) and int(small.norm.num_batches_tracked) == 0
    assert small(x).requires_grad


def test_a_module_with_two_names_is_replaced_under_both():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.LSTM(4, 6, 2)
            self.again = self.first
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.first(x)[0]) + self.head(self.again(x.flip(0))[0])

    model, x = Twice(), torch.randn(5, 2, 4)
    small, _ = check_exact(model, without_neurons(model, {"first.l0": [0, 1], "first.l1": [2]}, x), x)
    assert small.first is small.again and isinstance(small.first, Stacked)


def test_hooks_of_the_user_survive():
    model, ids, seen = Reading(nn.LSTM(4, 6, 2), "output"), torch.randint(7, (5, 2)), []
    model.cell.register_forward_hook(lambda module, *_: seen.append(type(module)))
    masks = without_neurons(model, {"cell.l0": [1, 4]}, ids)
    small, _ = compact(model, masks, example=ids)
    seen.clear()
    small(ids)
    assert seen == [Stacked]


def test_a_compacted_model_copies_and_trains():
    model, ids = Reading(nn.LSTM(4, 6, 2, dropout=0.3), "final state"), torch.randint(7, (5, 2))
    small, _ = check_exact(model, without_neurons(model, {"cell.l0": [1, 4], "cell.l1": [3]}, ids), ids)
    clone = copy.deepcopy(small)
    assert difference(small.eval(), clone.eval(), ids) == 0
    optimizer = torch.optim.Adam(clone.parameters(), 0.01)
    before = F.cross_entropy(clone(ids), torch.tensor([0, 1]))
    for _ in range(20):
        loss = F.cross_entropy(clone.train()(ids), torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert F.cross_entropy(clone.eval()(ids), torch.tensor([0, 1])) < before
    assert (
        difference(
            small, compact(model, without_neurons(model, {"cell.l0": [1, 4], "cell.l1": [3]}, ids), ids)[0].eval(), ids
        )
        == 0
    )


@pytest.mark.parametrize("form", ["plain", "batch first", "unbatched", "packed", "packed unsorted"])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_unequal_layers_take_every_input_that_torch_takes(cell, form):
    first = form == "batch first"
    model = cell(4, 6, 2, bidirectional=True, batch_first=first)

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = copy.deepcopy(model)
            self.head = nn.Linear(12, 2)

        def forward(self, x):
            output, state = self.rnn(x)
            if isinstance(output, nn.utils.rnn.PackedSequence):
                output, _ = nn.utils.rnn.pad_packed_sequence(output)
            return self.head(output), state

    wrapped, plain = Wrapped(), torch.randn(5, 3, 4)
    masks = without_neurons(wrapped, {"rnn.l0": [1, 2, 3], "rnn.l0_reverse": [0], "rnn.l1_reverse": [5]}, plain)
    x = {
        "plain": plain,
        "batch first": plain,
        "unbatched": torch.randn(5, 4),
        "packed": nn.utils.rnn.pack_padded_sequence(plain, [5, 4, 2]),
        "packed unsorted": nn.utils.rnn.pack_padded_sequence(plain, [2, 5, 4], enforce_sorted=False),
    }[form]
    small, _ = check_exact(wrapped, masks, x)
    assert isinstance(small.rnn, Stacked) and [layer.hidden_size for layer in small.rnn.layers] == [3, 5, 6, 5]


def test_masks_of_the_small_model_count_the_same_tensors():
    model, ids = Reading(nn.LSTM(4, 6, 2), "output"), torch.randint(7, (5, 2))
    wiring = Wiring.of(model, (ids,))
    masks = Masks.full(wiring, model, {"cell.weight_hh_l0", "cell.weight_hh_l1"})
    masks.kept["cell.weight_hh_l0"].view(4, 6, 6)[:, 2] = False
    masks.kept["cell.weight_hh_l0"][0, 1] = False
    small, left = compact(model, masks, example=ids)
    assert left.selected == set(left.kept) == {"cell.weight_hh_l0", "cell.weight_hh_l1"}
    assert 0 < left.sparsity() < 1


def test_without_an_example_only_containers_are_followed():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    wiring = Wiring.of(model)
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
