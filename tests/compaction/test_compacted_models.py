"""What a compacted model still does: states in and out, every form of input, copies, hooks, types, modes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.compaction.compact import compact
from sparsernn.errors import UserError
from sparsernn.nn import module_of
from sparsernn.structure.masks import Masks
from tests.structure.networks import (
    Reading,
    check_exact,
    difference,
    flat,
    masked,
    random_masks,
    size_of,
    without_neurons,
)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:0 of ")


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, LSTM, GRU])
def test_states_carried_through_the_model_keep_their_width(cell):
    model, ids = Reading(cell(4, 6, 2, bias=False), "returned states"), torch.randint(7, (5, 2))
    masks = random_masks(model, "neuron", 0.4, 1, example=(ids,))
    state = model(ids)[1]
    assert all(part.abs().sum() > 0 for part in flat(state))
    small, _ = check_exact(model, masks, ids, carried_states=True)
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


def test_states_of_the_width_before_are_taken_and_others_never_sliced():
    model, ids = Reading(nn.GRU(4, 6, 2), "output"), torch.randint(7, (5, 2))
    masks = without_neurons(model, {"cell.l0": [1, 4, 5], "cell.l1": [0]}, ids)
    small, _ = check_exact(model, masks, ids)
    assert size_of(small) < size_of(model)
    assert difference(masked(model, masks), small, ids, torch.randn(2, 2, 6)) <= 1e-6
    ours, _ = check_exact(
        Reading(GRU(4, 6, 2), "output"), without_neurons(Reading(GRU(4, 6, 2), "output"), {"cell.l0": [1]}, ids), ids
    )
    for compacted in (small, ours):
        with pytest.raises(UserError, match="initial states have shapes"):
            compacted(ids, torch.randn(2, 2, 7))


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
    assert small.first is small.again and type(small.first) is module_of(LSTM)


def test_hooks_of_the_user_survive():
    model, ids, seen = Reading(nn.LSTM(4, 6, 2), "output"), torch.randint(7, (5, 2)), []
    model.cell.register_forward_hook(lambda module, *_: seen.append(type(module)))
    masks = without_neurons(model, {"cell.l0": [1, 4]}, ids)
    small, _ = compact(model, masks, example=ids)
    seen.clear()
    small(ids)
    assert seen == [module_of(LSTM)]


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
    assert type(small.rnn) is module_of(LSTM if cell is nn.LSTM else GRU) and small.rnn.widths == [3, 5, 6, 5]


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, LSTM, GRU])
@pytest.mark.parametrize("dead", [{"rnn.l0": [0, 3], "rnn.l1": [1]}, {"rnn.l0": [0], "rnn.l1": [1]}])
def test_a_forward_may_ask_the_module_for_its_sizes(cell, dead):
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = cell(4, 6, 2), nn.Linear(6, 2)

        def forward(self, x):
            places = self.rnn.num_layers * (2 if self.rnn.bidirectional else 1)
            start = x.new_zeros(places, x.shape[1], self.rnn.hidden_size)
            assert x.shape[-1] == self.rnn.input_size and self.rnn.bias
            return self.head(self.rnn(x, (start, start) if cell in (nn.LSTM, LSTM) else start)[0])

    model, x = Asking(), torch.randn(5, 2, 4)
    small, _ = check_exact(model, without_neurons(model, dead, x), x)
    assert size_of(small.rnn) < size_of(model.rnn)
    assert small.rnn.proj_size == 0
    if isinstance(model.rnn, nn.RNNBase):
        assert small.rnn.mode == model.rnn.mode
