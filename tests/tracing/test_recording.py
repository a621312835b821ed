"""Who reads what: the units of every layer, joined through the forward of models as users write them."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsernn.compaction.compact import compact
from sparsernn.models.language_model import LanguageModel
from sparsernn.structure.groups import Groups
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.recorder import Recorder
from sparsernn.tracing.recording import trace
from tests.structure.networks import Reading, check_exact, random_masks, size_of

pytestmark = pytest.mark.filterwarnings("ignore:0 of ")


class Plain(nn.Module):
    """A recurrent layer of 6 units and a head of as many inputs; each test gives the forward between them."""

    def __init__(self, forward, inputs: int = 6, extra: dict | None = None, cell=None):
        super().__init__()
        self.rnn, self.head = cell or nn.LSTM(4, 6), nn.Linear(inputs, 2)
        self.between = forward
        for name, module in (extra or {}).items():
            setattr(self, name, module)

    def forward(self, x):
        return self.head(self.between(self, x))


def wired(model: nn.Module, *example) -> Wiring:
    return trace(model, example)


def is_read_by(wiring: Wiring, weight: str, axis: str = "input", cell: str = "rnn", key: str = "hidden_0") -> bool:
    return wiring.weights[weight].axes[axis].tolist() == wiring.axes[cell][key].tolist()


def is_free(wiring: Wiring, cell: str = "rnn", key: str = "hidden_0") -> bool:
    return not set(wiring.axes[cell][key].tolist()) & set(wiring.external)


JOINING = {
    "output": lambda m, x: m.rnn(x)[0],
    "last step": lambda m, x: m.rnn(x)[0][-1],
    "final state": lambda m, x: m.rnn(x)[1][0][-1],
    "memory": lambda m, x: m.rnn(x)[1][1][-1],
    "squeezed state": lambda m, x: m.rnn(x)[1][0].squeeze(0),
    "states joined": lambda m, x: sum(m.rnn(x)[1]),
    "mean over time": lambda m, x: m.rnn(x)[0].mean(0),
    "max over time": lambda m, x: torch.max(m.rnn(x)[0], dim=0)[0],
    "amax, dimension kept": lambda m, x: m.rnn(x)[0].amax(0, keepdim=True),
    "sum over time and batch": lambda m, x: m.rnn(x)[0].sum((0, 1)),
    "masked mean": lambda m, x: (m.rnn(x)[0] * (x[..., :1] > 0)).sum(0) / x.shape[0],
    "masked fill": lambda m, x: m.rnn(x)[0].masked_fill(x[..., :1] > 0, -1e9).amax(0),
    "gather": lambda m, x: m.rnn(x)[0].gather(
        0, torch.zeros(1, 2, 1, dtype=torch.long).expand(1, 2, m.rnn.hidden_size)
    ),
    "index select": lambda m, x: m.rnn(x)[0].index_select(0, torch.tensor([0, 2])),
    "boolean index": lambda m, x: m.rnn(x)[0][x[..., 0] > 0],
    "permute and back": lambda m, x: m.rnn(x)[0].permute(1, 2, 0)[:, :, -1],
    "reshape": lambda m, x: m.rnn(x)[0].reshape(-1, m.rnn.hidden_size),
    "dropout and tanh": lambda m, x: F.dropout(torch.tanh(m.rnn(x)[0]), 0.3, m.training),
    "sigmoid": lambda m, x: torch.sigmoid(m.rnn(x)[0]),
    "clamp": lambda m, x: m.rnn(x)[0].clamp(-0.1, 0.1),
    "add a number": lambda m, x: m.rnn(x)[0] + 1,
    "scaled": lambda m, x: 0.5 * m.rnn(x)[0] / 2,
    "zeros like": lambda m, x: torch.where(x[..., :1] > 0, o := m.rnn(x)[0], torch.zeros_like(o)),
    "ones like": lambda m, x: (o := m.rnn(x)[0]) + torch.ones_like(o),
    "type": lambda m, x: m.rnn(x)[0].double().float().to(x).type_as(x),
    "written step by step": lambda m, x: _written(m, x),
    "detached": lambda m, x: m.rnn(x)[1][0].detach()[-1],
    "residual with itself": lambda m, x: (o := m.rnn(x)[0]) + o.flip(0),
    "stacked": lambda m, x: torch.stack(list(m.rnn(x)[0].unbind(0))),
    "padded in time": lambda m, x: F.pad(m.rnn(x)[0], (0, 0, 0, 0, 2, 0), value=3.0),
    "softmax over time": lambda m, x: (o := m.rnn(x)[0]) * torch.softmax(o, 0),
    "packed": lambda m, x: pad_packed_sequence(m.rnn(pack_padded_sequence(x, [4, 2]))[0], padding_value=-1e9)[0],
    "named arguments": lambda m, x: m.rnn(hx=(x.new_zeros(1, 2, 6), x.new_zeros(1, 2, 6)), input=x)[0],
}


def _written(model, x):
    output = model.rnn(x)[0]
    buffer = torch.zeros(4, 2, output.shape[-1])
    for time in range(4):
        buffer[time] = output[time]
    return buffer


@pytest.mark.parametrize("way", JOINING)
def test_a_head_reads_the_hidden_units(way):
    model, x = Plain(JOINING[way]), torch.randn(4, 2, 4)
    wiring = wired(model, x)
    assert is_read_by(wiring, "head.weight") and is_free(wiring)
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=(x,)), x)
    assert small.rnn.hidden_size == small.head.in_features < 6
    check_exact(model, random_masks(model, "weight", 0.3, 4, lambda name: True, (x,)), x)
    model.rnn.bias_ih_l0.data.zero_(), model.rnn.bias_hh_l0.data.zero_()
    check_exact(model, random_masks(model, "gate", 0.4, 5, example=(x,)), x)


SHIFTING = ["sigmoid", "add a number", "ones like", "padded in time", "packed", "masked fill"]


@pytest.mark.parametrize("way", SHIFTING)
def test_a_silent_unit_stays_where_zero_turns_into_another_number(way):
    model, x = Plain(JOINING[way], cell=nn.LSTM(4, 6, bias=False)), torch.randn(4, 2, 4)
    wiring = wired(model, x)
    masks = Masks.full(wiring, model, {"rnn.weight_ih_l0", "rnn.weight_hh_l0"})
    for kept in masks.kept.values():
        kept.view(4, 6, -1)[:, 2] = False
    small, _ = check_exact(model, masks, x)
    assert small.rnn.hidden_size == 6
    model.between = JOINING["output"]
    assert check_exact(model, masks, x)[0].rnn.hidden_size == 5


UNKNOWN = {
    "cumprod reads it": lambda m, x: torch.cumprod(m.rnn(x)[0], 0),
    "layer_norm reads it": lambda m, x: F.layer_norm(m.rnn(x)[0], (6,)),
    "linear combines it with a tensor of its own width": lambda m, x: F.linear(m.rnn(x)[0], torch.eye(6)),
    "mean runs over its units": lambda m, x: m.rnn(x)[0].mean(-1, keepdim=True).expand(-1, -1, 6),
    "softmax runs over its units": lambda m, x: torch.softmax(m.rnn(x)[0], -1),
    "combines it with a tensor of its own width from outside": lambda m, x: m.rnn(x)[0] * torch.arange(6.0),
    "item looks at its values": lambda m, x: m.rnn(x)[0] * m.rnn(x)[0][0, 0, 0].item(),
    "written into a view": lambda m, x: _written_view(m, x),
    "copy_ reads it": lambda m, x: torch.zeros(4, 2, 6).copy_(m.rnn(x)[0]),
    "spreads it over others": lambda m, x: m.rnn(x)[0] * m.rnn(x)[0][..., :1],
}


def _written_view(model, x):
    whole = torch.zeros(5, 2, 6)
    part = whole[1:]
    part[:] = model.rnn(x)[0]
    return whole


@pytest.mark.parametrize("reason", UNKNOWN)
def test_what_is_unknown_keeps_its_units_and_says_why(reason):
    model, x = Plain(UNKNOWN[reason]), torch.randn(4, 2, 4)
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=(x,)), x)
    assert any(line.startswith("rnn hidden_0:") and reason in line for line in small.cut_report), small.cut_report
    assert small.rnn.hidden_size >= 1


def test_attention_over_time_is_followed():
    model = Reading(nn.GRU(4, 6), "attention")
    ids = torch.randint(7, (5, 2))
    wiring = wired(model, ids)
    assert is_read_by(wiring, "head.weight", cell="cell") and is_read_by(wiring, "score.weight", cell="cell")
    assert is_free(wiring, "cell")


def test_both_directions_joined_by_cat():
    model = Plain(
        lambda m, x: torch.cat([m.rnn(x)[1][0][0], m.rnn(x)[1][0][1]], 1), 12, cell=nn.LSTM(4, 6, bidirectional=True)
    )
    wiring = wired(model, torch.randn(4, 2, 4))
    assert (
        wiring.weights["head.weight"].axes["input"].tolist()
        == torch.cat([wiring.axes["rnn"][key] for key in ("hidden_0", "hidden_1")]).tolist()
    )
    assert wiring.states_read == {("rnn", 0): set(wiring.writes("rnn").tolist())}


def test_layers_below_and_above_share_units():
    model = Reading(nn.LSTM(4, 6, 2, bidirectional=True), "output")
    wiring = wired(model, torch.randint(7, (5, 2)))
    below = torch.cat([wiring.axes["cell"]["hidden_0"], wiring.axes["cell"]["hidden_1"]])
    for name in ("cell.weight_ih_l1", "cell.weight_ih_l1_reverse"):
        assert torch.equal(wiring.weights[name].axes["input"], below)
    assert torch.equal(
        wiring.weights["embedding.weight"].axes["unit"], wiring.weights["cell.weight_ih_l0"].axes["input"]
    )


def test_a_residual_sum_joins_layers_and_they_are_cut_together():
    model = Plain(lambda m, x: (a := m.rnn(x)[0]) + m.above(a)[0], extra={"above": nn.GRU(6, 6)})
    x = torch.randn(4, 2, 4)
    wiring = wired(model, x)
    assert is_read_by(wiring, "above.weight_hh_l0", "hidden")
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=(x,)), x)
    assert small.rnn.hidden_size == small.above.hidden_size == small.above.input_size < 6


def test_a_tied_language_model_keeps_its_weights_tied():
    model, ids = LanguageModel(11, units=6, layers=2, tied=True), torch.randint(11, (5, 2))
    wiring = wired(model, ids)
    assert "head.weight" not in wiring.weights and wiring.tied == {"head.weight": "embedding.weight"}
    assert is_read_by(wiring, "embedding.weight", "unit", "cells.1")
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=(ids,)), ids)
    assert small.head.weight is small.embedding.weight and small.embedding.embedding_dim < 6
    assert small.cells[0].input_size == small.cells[1].hidden_size == small.head.in_features


def test_a_weight_read_by_the_forward_itself_is_left_alone():
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn = nn.Embedding(7, 4), nn.GRU(4, 4)

        def forward(self, ids):
            return F.linear(self.rnn(self.embedding(ids))[0], self.embedding.weight)

    model, ids = Raw(), torch.randint(7, (5, 2))
    masks = random_masks(model, "neuron", 0.5, 6, example=(ids,))
    masks.kept["rnn.weight_ih_l0"][:, 0] = False
    small, _ = check_exact(model, masks, ids)
    assert size_of(small) == size_of(model)
    assert any("linear reads embedding.weight itself" in line for line in small.cut_report)


def test_a_weight_that_only_lends_its_type_is_cut():
    model = Plain(lambda m, x: m.rnn(x, (m.head.weight.new_zeros(1, 2, 6), m.head.weight.data.new_zeros(1, 2, 6)))[0])
    x = torch.randn(4, 2, 4)
    assert is_free(wired(model, x))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize("batched", [True, False])
def test_loops_of_ones_own_over_cells(kind, batched):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = kind(4, 6), kind(6, 5), nn.Linear(5, 2)

        def forward(self, x, start=None):
            low = high = start
            outputs = []
            for step in x:
                low = self.first(step, low)
                high = self.second(low[0] if isinstance(low, tuple) else low, high)
                outputs.append(high[0] if isinstance(high, tuple) else high)
            return self.head(torch.stack(outputs))

    model, x = Loop(), torch.randn(4, 2, 4) if batched else torch.randn(4, 4)
    wiring = wired(model, x)
    assert is_read_by(wiring, "second.weight_ih", cell="first") and is_read_by(wiring, "head.weight", cell="second")
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=(x,)), x)
    assert small.first.hidden_size < 6 or small.second.hidden_size < 5


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize("batched", [True, False])
def test_a_loop_that_makes_its_own_first_state(kind, batched):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head, self.start = kind(4, 6), nn.Linear(6, 2), nn.Parameter(torch.randn(6))

        def forward(self, x):
            state = self.start.expand(*x.shape[1:-1], 6)
            state = (state, torch.zeros_like(state)) if kind is nn.LSTMCell else state
            for step in x:
                state = self.cell(step, state)
            return self.head(state[0] if kind is nn.LSTMCell else state)

    model, x = Loop(), torch.randn(4, 2, 4) if batched else torch.randn(4, 4)
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=(x,)), x)
    assert small.cell.hidden_size < 6


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_an_encoder_hands_its_state_to_a_decoder(kind):
    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder, self.head = kind(4, 6, 2), kind(3, 6, 2), nn.Linear(6, 2)

        def forward(self, x, y):
            return self.head(self.decoder(y, self.encoder(x)[1])[0])

    model, inputs = Translator(), (torch.randn(5, 2, 4), torch.randn(3, 2, 3))
    wiring = wired(model, *inputs)
    for key in ("hidden_0", "hidden_1"):
        assert torch.equal(wiring.axes["encoder"][key], wiring.axes["decoder"][key])
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=inputs), *inputs)
    assert size_of(small) < size_of(model)
    for name in ("bias_ih_l0", "bias_hh_l0", "bias_ih_l1", "bias_hh_l1"):
        getattr(model.decoder, name).data.zero_()
    check_exact(model, random_masks(model, "gate", 0.3, 2, "decoder.*", inputs), *inputs)


def test_a_state_read_from_a_layer_is_passed_on_as_well():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(4, 6, 2), nn.Linear(6, 2)

        def forward(self, x):
            _, state = self.rnn(x)
            _, state = self.rnn(x, state)
            return self.head(state[-1]) + self.head(self.rnn(x, state[:2].contiguous())[1][1])

    model, x = Twice(), torch.randn(5, 2, 4)
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=(x,)), x)
    assert size_of(small) < size_of(model)


def test_states_of_two_batches_together_join_all_rows():
    class Batches(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.after, self.head = nn.GRU(4, 6), nn.GRU(4, 6), nn.GRU(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.after(torch.cat([x, x], 1), torch.cat([self.left(x)[1], self.right(x)[1]], 1))[0])

    model, x = Batches(), torch.randn(5, 2, 4)
    wiring = wired(model, x)
    assert is_read_by(wiring, "right.weight_hh_l0", "hidden", "left")
    small, _ = check_exact(model, random_masks(model, "neuron", 0.5, 6, example=(x,)), x)
    assert small.left.hidden_size == small.right.hidden_size == small.after.hidden_size


def test_an_unbatched_model_reads_its_final_state():
    model, x = Plain(lambda m, x: m.rnn(x)[1][0][-1], cell=nn.LSTM(4, 6, 2)), torch.randn(5, 4)
    masks = random_masks(model, "neuron", 0.5, 6, example=(x,))
    small, _ = check_exact(model, masks, x)
    assert small.head.in_features < 6


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    note: str = "hidden in a dataclass"


@pytest.mark.parametrize(
    "wrap", [Result, lambda logits: {"deep": [{"logits": logits}]}, lambda logits: type("Anything", (), {})().__class__]
)
def test_results_in_containers_of_ones_own(wrap):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return wrap(self.head(self.rnn(x)[0]))

    model, x = Wrapped(), torch.randn(5, 2, 4)
    small, _ = compact(model, random_masks(model, "neuron", 0.5, 6, example=(x,)), example=(x,))
    assert small.head.out_features == 2
    seen = not isinstance(wrap(torch.zeros(1)), type)
    assert (small.rnn.hidden_size < 6) == seen
    assert seen or any("returned no tensor" in line for line in small.cut_report)


def test_a_module_that_the_example_does_not_use_is_left_alone():
    model, x = Plain(JOINING["output"], extra={"spare": nn.LSTM(4, 6)}), torch.randn(4, 2, 4)
    with pytest.warns(UserWarning, match="no example ran spare: its units stay"):
        small, _ = check_exact(model, random_masks(model, "neuron", 0.4, 2, "rnn.*", (x,)), x)
    assert size_of(small.spare) == size_of(model.spare)
    assert any("the example did not use it" in line for line in small.cut_report)


@pytest.mark.parametrize(
    "wrap", [nn.utils.parametrizations.weight_norm, lambda layer: nn.utils.parametrizations.spectral_norm(layer)]
)
def test_a_weight_made_by_a_parametrization_is_unknown(wrap):
    model, x = (
        Plain(lambda m, x: m.extra(m.rnn(x)[0]), extra={"extra": wrap(nn.Linear(6, 6))}).eval(),
        torch.randn(4, 2, 4),
    )
    wiring = wired(model, x)
    assert "extra.weight" not in wiring.weights and not is_free(wiring)
    check_exact(model, random_masks(model, "neuron", 0.4, 2, example=(x,)), x)


def test_an_embedding_that_rescales_its_rows_is_unknown():
    assert not trace(nn.Embedding(5, 4, max_norm=1.0)).weights


@pytest.mark.parametrize("kind", ["element", "variational"])
def test_a_language_model_in_training_is_followed_through_its_dropout(kind):
    model, ids = (
        LanguageModel(11, units=6, layers=2, dropout=0.5, dropout_kind=kind, embedding_dropout=0.2),
        torch.randint(11, (5, 2)),
    )
    recorder = Recorder(model, Wiring.local(model))
    with recorder:
        result = model.train()(ids)
    recorder.finish(result)
    assert is_read_by(recorder.wiring, "head.weight", cell="cells.1") and is_free(recorder.wiring, "cells.1")


def test_groups_cross_layers_through_the_wiring():
    model, ids = Reading(nn.LSTM(4, 6, 2), "final state"), torch.randint(7, (5, 2))
    groups = Groups.of(wired(model, ids), model, "neuron")
    assert {piece.name for piece in groups.pieces} >= {"cell.weight_ih_l1", "head.weight"}
