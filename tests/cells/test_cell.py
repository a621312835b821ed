"""What all cells share: options, lengths, states, recurrent dropout, refusals."""

import copy
import inspect

import pytest
import torch
from torch.overrides import TorchFunctionMode

from sparsernn import folders
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork
from sparsernn.cells.rnn import RNN
from sparsernn.errors import UserError
from sparsernn.nn import module_of
from sparsernn.running.jacobians import StepsOf
from sparsernn.structure.layer import layout_of

CELLS = folders.entries("cells")
THINNED = [name for name, kind in CELLS.items() if kind().reads_state and kind.dropout_per == "forward"]


def states_of(state):
    return state if isinstance(state, tuple) else (state,)


def reads_hidden(cell, local):
    return cell.cell.axes[local].endswith("<- hidden")


def test_the_folder_holds_nine_cells_with_usual_names():
    recurrent = {"rnn", "lstm", "peephole_lstm", "gru", "recurrent_highway"}
    assert set(CELLS) == recurrent | {"rational", "sru", "qrnn", "fastgrnn"}
    assert folders.find("cells", "RHN") is RecurrentHighwayNetwork
    assert folders.find("cells", "peephole") is PeepholeLSTM


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_declares_what_it_stores(name):
    cell = CELLS[name](3, 4, 2, bidirectional=True)
    kind = cell.cell
    for local, text in kind.axes.items():
        layout = layout_of(kind, local)
        view = layout.view(cell.get_parameter(cell.names[0][local]))
        assert view.dim() == len(layout.stored), text
        assert "gate" not in layout.stored or view.shape[0] == len(kind.gates_of(local))
    assert kind.silent in kind.gates and set(kind.levels) >= {"neuron", "gate", "input"}


@pytest.mark.parametrize("name", CELLS)
def test_one_step_of_the_declaration_is_one_step_of_the_cell(name):
    cell = CELLS[name](3, 4)
    x = torch.randn(2, 3)
    start = tuple(torch.randn(2, cell.sizes[0][axis]) for axis in cell.cell.state_axes)
    weights = {local: cell.get_parameter(full) for local, full in cell.names[0].items()}
    after = StepsOf(cell.cell, weights).step(x, start)
    given = tuple(part.unsqueeze(0) for part in start)
    _, expected = cell(x.unsqueeze(0), given if len(given) > 1 else given[0])
    assert all(torch.allclose(a, b[0], atol=1e-6) for a, b in zip(after, states_of(expected), strict=True))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("both", [False, True])
def test_lengths_give_the_final_states_of_each_sequence_alone(name, both):
    torch.manual_seed(0)
    cell = CELLS[name](3, 4, 2, bidirectional=both)
    lengths, x = torch.tensor([5, 1, 3]), torch.randn(5, 3, 3)
    output, state = cell(x, lengths=lengths)
    spoilt = x.clone()
    for b, length in enumerate(lengths.tolist()):
        spoilt[length:, b] = float("nan")
    again, again_state = cell(spoilt.nan_to_num(nan=1e4), lengths=lengths)
    assert torch.allclose(output, again, atol=1e-6)
    for b, length in enumerate(lengths.tolist()):
        alone, alone_state = cell(x[:length, b : b + 1])
        assert torch.allclose(output[:length, b], alone[:, 0], atol=1e-6) and not output[length:, b].any()
        for part, other, expected in zip(states_of(state), states_of(again_state), states_of(alone_state), strict=True):
            assert torch.allclose(part[:, b], expected[:, 0], atol=1e-6) and torch.allclose(part, other, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_states_carried_over_continue_the_sequence(name):
    cell, x = CELLS[name](3, 4, 2), torch.randn(7, 2, 3)
    whole, end = cell(x)
    first, state = cell(x[:4])
    second, state = cell(x[4:], state)
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(states_of(state), states_of(end), strict=True))


class Reads(TorchFunctionMode):
    """Counts the functions that are given one of the parameters itself."""

    def __init__(self, parameters):
        super().__init__()
        self.counts = {id(parameter): 0 for parameter in parameters}

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if getattr(function, "__name__", "") != "__get__":
            for leaf in torch.utils._pytree.tree_leaves((arguments, keywords or {})):
                if id(leaf) in self.counts:
                    self.counts[id(leaf)] += 1
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("name", THINNED)
def test_recurrent_dropout_thins_each_recurrent_matrix_once_a_forward(name):
    cell = CELLS[name](3, 4, recurrent_dropout=0.5).train()
    recurrent = [cell.get_parameter(full) for local, full in cell.names[0].items() if reads_hidden(cell, local)]
    reads = Reads(recurrent)
    with reads:
        cell(torch.randn(9, 2, 3))
    ours = [count for key, count in reads.counts.items()]
    first = [2] + [1] * (len(recurrent) - 1)
    assert ours == first


@pytest.mark.parametrize("name", THINNED)
def test_recurrent_dropout_leaves_out_the_same_units_at_every_step(name):
    torch.manual_seed(0)
    cell, x = CELLS[name](3, 8, recurrent_dropout=0.5).double().train(), torch.randn(6, 2, 3, dtype=torch.float64)
    torch.manual_seed(5)
    thinned, _ = cell(x)
    torch.manual_seed(5)
    mask = torch.empty(8, dtype=torch.float64).bernoulli_(0.5) / 0.5
    assert 0 < int((mask == 0).sum()) < 8
    with torch.no_grad():
        for local, full in cell.names[0].items():
            if reads_hidden(cell, local):
                cell.get_parameter(full).mul_(mask)
    assert torch.allclose(cell.eval()(x)[0], thinned, atol=1e-12)


def test_a_highway_network_drops_units_of_each_sequence_over_time_and_depth():
    torch.manual_seed(0)
    cell = RecurrentHighwayNetwork(3, 8, depth=3, recurrent_dropout=0.5).double().train()
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    torch.manual_seed(5)
    dropped, _ = cell(x)
    torch.manual_seed(5)
    masks = torch.empty(4, 8, dtype=torch.float64).bernoulli_(0.5) / 0.5
    assert len({tuple(mask.tolist()) for mask in masks}) == 4
    for sequence, mask in enumerate(masks):
        alone = copy.deepcopy(cell).eval()
        with torch.no_grad():
            for level in range(3):
                alone.get_parameter(f"weight_hh_d{level}_l0").mul_(mask)
        expected, _ = alone(x[:, sequence : sequence + 1])
        assert torch.allclose(expected[:, 0], dropped[:, sequence], atol=1e-12)


@pytest.mark.parametrize("cell_type", [LSTM, RecurrentHighwayNetwork])
def test_recurrent_dropout_follows_the_type_of_the_weights(cell_type):
    cell = cell_type(3, 4, recurrent_dropout=0.5).to(torch.bfloat16).train()
    assert cell(torch.randn(2, 2, 3, dtype=torch.bfloat16))[0].dtype == torch.bfloat16


def test_the_forget_bias_is_set_once_over_both_vectors():
    cell = LSTM(3, 4, 2, bidirectional=True, forget_bias=1.5)
    for names in cell.names:
        total = cell.get_parameter(names["bias_ih"]) + cell.get_parameter(names["bias_hh"])
        assert torch.equal(total[4:8], torch.full((4,), 1.5)) and not torch.any(total[:4] == 1.5)
    LSTM(3, 4, bias=False, forget_bias=1.0)


def test_the_transform_bias_is_set_at_every_depth():
    cell = RecurrentHighwayNetwork(3, 4, depth=2, transform_bias=-2.0)
    assert torch.equal((cell.bias_ih_l0 + cell.bias_hh_d0_l0)[4:], torch.full((4,), -2.0))
    assert torch.equal(cell.bias_hh_d1_l0[4:], torch.full((4,), -2.0))


@pytest.mark.parametrize("name", CELLS)
def test_copies_move_and_convert(name):
    cell = CELLS[name](3, 4, 2)
    x = torch.randn(5, 2, 3)
    clone = copy.deepcopy(cell)
    assert torch.equal(clone(x)[0], cell(x)[0])
    assert clone.double()(x.double())[0].dtype == torch.float64 and cell(x)[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LSTM(0, 4), "input_size is 0"),
        (lambda: LSTM(3, 4.0), "hidden_size is 4.0"),
        (lambda: GRU(3, 4, True), "num_layers is True"),
        (lambda: RNN(3, 4, dropout=1.0), "dropout is 1.0"),
        (lambda: RNN(3, 4, recurrent_dropout=-0.1), "recurrent_dropout is -0.1"),
        (lambda: RNN(3, 4, nonlinearity="sigmoid"), "nonlinearity is"),
        (lambda: GRU(3, 4, reset="never"), "reset is"),
        (lambda: GRU(3, 4, gate_activation="tanh"), "gate_activation is"),
        (lambda: LSTM(3, 4, gate_activation="tanh"), "gate_activation is"),
        (lambda: RNN(3, 4, activation="sigmoid"), "activation is"),
        (lambda: PeepholeLSTM(3, 4, peephole="half"), "peephole is"),
        (lambda: RecurrentHighwayNetwork(3, 4, depth=0), "depth is 0"),
        (lambda: GRU(reset="never"), "reset is"),
        (lambda: CELLS["sru"](3, 4, recurrent_dropout=0.5), "SRU, which has no recurrent matrix"),
        (lambda: CELLS["qrnn"](3, 4, recurrent_dropout=0.5), "QRNN, which has no recurrent matrix"),
    ],
)
def test_options_that_do_not_exist(make, match):
    with pytest.raises(UserError, match=match):
        make()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((torch.randn(5, 2, 4),), r"shape \[5, 2, 4\]. Expected 3 features"),
        ((torch.randn(5, 2, 3), torch.zeros(1, 2, 4)), "initial states"),
        ((torch.randn(5, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))), "initial states"),
        ((torch.randn(5, 2, 3), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5))), "initial states"),
        ((torch.randn(5, 2, 3), None, torch.tensor([5])), "lengths are"),
        ((torch.randn(5, 2, 3), None, torch.tensor([0, 5])), "lengths are"),
        ((torch.randn(5, 2, 3), None, torch.tensor([6, 5])), "lengths are"),
    ],
)
def test_inputs_that_do_not_fit(arguments, match):
    with pytest.raises(UserError, match=match):
        LSTM(3, 4)(*arguments)


@pytest.mark.parametrize("name", CELLS)
def test_the_call_starts_as_torchs(name):
    parameters = list(inspect.signature(module_of(CELLS[name])).parameters)
    assert parameters[:3] == ["input_size", "hidden_size", "num_layers"]
