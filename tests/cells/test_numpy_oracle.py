"""Cells that torch does not have, against five lines of numpy each."""

import numpy as np
import pytest
import torch

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.minimum(np.maximum(0.2 * x + 0.5, 0), 1)


def lstm_hard(w, x, h, c):
    i, f, g, o = np.split(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"], 4)
    c = hard_sigmoid(f) * c + hard_sigmoid(i) * np.tanh(g)
    return hard_sigmoid(o) * np.tanh(c), c


def peephole_diagonal(w, x, h, c):
    i, f, g, o = np.split(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"], 4)
    p_i, p_f, p_o = np.split(w["weight_ch"], 3)
    new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    return sigmoid(o + p_o * new) * np.tanh(new), new


def peephole_full(w, x, h, c):
    i, f, g, o = np.split(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"] + w["weight_ch"] @ c, 4)
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(new), new


def gru_before(w, x, h, squash=sigmoid):
    W_r, W_z, W_n = np.split(w["weight_ih"] @ x + w["bias_ih"], 3)
    (U_r, U_z, U_n), (b_r, b_z, b_n) = np.split(w["weight_hh"], 3), np.split(w["bias_hh"], 3)
    r, z = squash(W_r + U_r @ h + b_r), squash(W_z + U_z @ h + b_z)
    return ((1 - z) * np.tanh(W_n + U_n @ (r * h) + b_n) + z * h,)


def gru_hard(w, x, h):
    (W_r, W_z, W_n), (U_r, U_z, U_n) = (
        np.split(w["weight_ih"] @ x + w["bias_ih"], 3),
        np.split(w["weight_hh"] @ h + w["bias_hh"], 3),
    )
    z = hard_sigmoid(W_z + U_z)
    return ((1 - z) * np.tanh(W_n + hard_sigmoid(W_r + U_r) * U_n) + z * h,)


def highway(w, x, s):
    for level in range(3):
        inputs = w["weight_ih"] @ x + w["bias_ih"] if level == 0 else 0
        h, t = np.split(w[f"weight_hh_d{level}"] @ s + w[f"bias_hh_d{level}"] + inputs, 2)
        s = (np.tanh(h) - s) * sigmoid(t) + s
    return (s,)


CELLS = {
    "LSTM, hard sigmoid": (lambda *a, **o: LSTM(*a, gate_activation="hard_sigmoid", **o), lstm_hard, 2),
    "peephole, diagonal": (PeepholeLSTM, peephole_diagonal, 2),
    "peephole, full": (lambda *a, **o: PeepholeLSTM(*a, peephole="full", **o), peephole_full, 2),
    "GRU, reset before": (lambda *a, **o: GRU(*a, reset="before", **o), gru_before, 1),
    "GRU, hard sigmoid": (lambda *a, **o: GRU(*a, gate_activation="hard_sigmoid", **o), gru_hard, 1),
    "recurrent highway": (RecurrentHighwayNetwork, highway, 1),
}


@pytest.mark.parametrize("zeroed", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_two_layers_and_directions_equal_numpy(name, zeroed):
    make, step, states = CELLS[name]
    torch.manual_seed(0)
    cell = make(3, 5, 2, bidirectional=True).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 2)
            if zeroed:
                parameter[torch.rand_like(parameter) < 0.5] = 0
    lengths, x = [6, 2, 4], torch.randn(6, 3, 3, dtype=torch.float64)
    start = [torch.randn(4, 3, 5, dtype=torch.float64) for _ in range(states)]
    output, after = cell(x, tuple(start) if states > 1 else start[0], lengths=torch.tensor(lengths))
    after = after if isinstance(after, tuple) else (after,)
    for b, length in enumerate(lengths):
        sequence = x[:length, b].numpy()
        for layer in range(2):
            halves = []
            for direction in range(2):
                place = 2 * layer + direction
                w = {local: cell.get_parameter(full).detach().numpy() for local, full in cell.names[place].items()}
                state, outputs = [part[place, b].numpy() for part in start], []
                for t in range(length)[:: -1 if direction else 1]:
                    state = step(w, sequence[t], *state)
                    outputs.append(state[0])
                halves.append(np.stack(outputs[::-1] if direction else outputs))
                for part, expected in zip(after, state, strict=True):
                    np.testing.assert_allclose(part[place, b].detach().numpy(), expected, rtol=1e-10, atol=1e-12)
            sequence = np.concatenate(halves, 1)
        np.testing.assert_allclose(output[:length, b].detach().numpy(), sequence, rtol=1e-10, atol=1e-12)
        assert not output[length:, b].any()


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_finite_differences(name):
    make, _, states = CELLS[name]
    torch.manual_seed(1)
    cell = make(2, 3).double()
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    names = [key for key, _ in cell.named_parameters()]

    def run(x, *weights):
        output, state = torch.func.functional_call(cell, dict(zip(names, weights, strict=True)), (x,))
        return (output, *state) if states > 1 else (output, state)

    assert torch.autograd.gradcheck(run, (x, *cell.parameters()))
