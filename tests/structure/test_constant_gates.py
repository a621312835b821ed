"""Gates that never change, against what hundreds of random inputs and states make of every gate."""

import pytest
import torch
from torch.nn import functional as F

from sparsernn import folders
from sparsernn.cells.fastgrnn import FastGRNN
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.qrnn import QRNN
from sparsernn.cells.rational import Rational
from sparsernn.cells.rnn import RNN
from sparsernn.cells.sru import SRU
from sparsernn.structure.constant_gates import constant_gates
from sparsernn.structure.layer import Layer

UNITS, INPUTS, SAMPLES = 6, 5, 300
s, tanh = torch.sigmoid, torch.tanh


def hard(x):
    return (0.2 * x + 0.5).clamp(0, 1)


def rnn(w, x, h, activation=tanh):
    return {"candidate": [activation(x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"])]}


def lstm(w, x, h, c, squash=s, more=0.0):
    sums = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"] + more
    i, f, g, o = sums.chunk(4, -1)
    return {"input": [squash(i)], "forget": [squash(f)], "candidate": [tanh(g)], "output": [squash(o)]}


def lstm_hard(w, x, h, c):
    return lstm(w, x, h, c, hard)


def peephole_diagonal(w, x, h, c):
    i, f, g, o = (x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]).chunk(4, -1)
    p_i, p_f, p_o = w["weight_ch"].chunk(3)
    new = s(f + p_f * c) * c + s(i + p_i * c) * tanh(g)
    return {
        "input": [s(i + p_i * c)],
        "forget": [s(f + p_f * c)],
        "candidate": [tanh(g)],
        "output": [s(o + p_o * new)],
    }


def peephole_full(w, x, h, c):
    return lstm(w, x, h, c, more=c @ w["weight_ch"].T)


def gru_after(w, x, h, squash=s, activation=tanh):
    (a_r, a_z, a_n) = (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, -1)
    (u_r, u_z, u_n) = (h @ w["weight_hh"].T + w["bias_hh"]).chunk(3, -1)
    r = squash(a_r + u_r)
    return {"reset": [r], "update": [squash(a_z + u_z)], "candidate": [activation(a_n + r * u_n)]}


def gru_hard(w, x, h):
    return gru_after(w, x, h, hard, F.selu)


def gru_before(w, x, h):
    (a_r, a_z, a_n) = (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, -1)
    (v_r, v_z, v_n), (b_r, b_z, b_n) = w["weight_hh"].chunk(3), w["bias_hh"].chunk(3)
    r = s(a_r + h @ v_r.T + b_r)
    candidate = tanh(a_n + (r * h) @ v_n.T + b_n)
    return {"reset": [r], "update": [s(a_z + h @ v_z.T + b_z)], "candidate": [candidate]}


def highway(w, x, h):
    gates = {"candidate": [], "transform": []}
    for level in range(3):
        sums = h @ w[f"weight_hh_d{level}"].T + w[f"bias_hh_d{level}"]
        sums = sums + x @ w["weight_ih"].T + w["bias_ih"] if level == 0 else sums
        candidate, transform = sums.chunk(2, -1)
        gates["candidate"].append(tanh(candidate))
        gates["transform"].append(s(transform))
        h = (tanh(candidate) - h) * s(transform) + h
    return gates


def fast(w, x, h):
    into = w["weight_ih"] @ w.get("weight_iu", torch.eye(w["weight_ih"].shape[1], dtype=x.dtype))
    both = x @ into.T + h @ w["weight_hh"].T
    return {"update": [s(both + w["bias_update"])], "candidate": [tanh(both + w["bias_candidate"])]}


def sru(w, x, h, c):
    candidate, forget, output = (x @ w["weight_ih"].T).chunk(3, -1)
    b_f, b_o = w["bias_ih"].chunk(2)
    return {"candidate": [candidate], "forget": [s(forget + b_f)], "output": [s(output + b_o)]}


def qrnn(w, x, h, c):
    candidate, *rest = (x @ w["weight_ih"].T + w["bias_ih"]).chunk(len(w["bias_ih"]) // UNITS, -1)
    gates = {"candidate": [tanh(candidate)], "forget": [s(rest[0])]}
    return gates | ({"output": [s(rest[1])]} if len(rest) > 1 else {})


def rational(w, x, h, c, main=lambda row: row, loop=s):
    row, logit = (x @ w["weight_ih"].T).chunk(2, -1)
    return {"main": [main(row)], "loop": [loop(logit + w["bias_loop"])]}


def rational_log(w, x, h, c):
    return rational(w, x, h, c, F.logsigmoid, F.logsigmoid)


def rational_max(w, x, h, c):
    return rational(w, x, h, c, s)


CELLS = {
    "rnn": (RNN(), rnn),
    "rnn selu": (RNN(nonlinearity="selu"), lambda *given: rnn(*given, F.selu)),
    "lstm": (LSTM(), lstm),
    "lstm hard": (LSTM(gate_activation="hard_sigmoid"), lstm_hard),
    "lstm projected": (LSTM(projected=True), lstm),
    "peephole_lstm": (PeepholeLSTM(), peephole_diagonal),
    "peephole full": (PeepholeLSTM(peephole="full"), peephole_full),
    "gru": (GRU(), gru_after),
    "gru hard": (GRU(gate_activation="hard_sigmoid", activation="selu"), gru_hard),
    "gru before": (GRU(reset="before"), gru_before),
    "recurrent_highway": (folders.find("cells", "rhn")(), highway),
    "fastgrnn": (FastGRNN(), fast),
    "fastgrnn fixed": (FastGRNN(zeta=1.0, nu=0.0), fast),
    "fastgrnn input_rank": (FastGRNN(input_rank=3), fast),
    "sru": (SRU(), sru),
    "sru straight": (SRU(straight=True), sru),
    "qrnn": (QRNN(), qrnn),
    "qrnn f": (QRNN(pooling="f"), qrnn),
    "rational": (Rational(lengths=2), rational),
    "rational rich": (Rational(lengths=2, final="learned", epsilon=True, output_gate=True), rational),
    "rational max": (Rational(lengths=2, semiring="max_times"), rational_max),
    "rational log": (Rational(lengths=2, semiring="log"), rational_log),
}


def layer_of(cell, biased=True, inputs=INPUTS):
    """A layer with random weights, of which some rows of some gates are gone, and what of it is left."""
    sizes = cell.sizes(inputs, UNITS) | {"projection": UNITS - 2}
    cell = cell.sized(sizes)
    weights, kept = {}, {}
    for local, text in cell.axes.items():
        weights[local] = torch.randn(cell.shape(local, sizes), dtype=torch.float64)
        if "<-" in text:
            rows = torch.rand(len(weights[local])) < 0.25
            mask = torch.rand(weights[local].shape) < 0.7
            mask = mask & (rows if mask.dim() == 1 else rows.unsqueeze(1))
            kept[local] = mask
            weights[local] *= mask
        elif biased:
            weights[local] *= torch.rand(len(weights[local])) < 0.7
        else:
            weights[local] *= 0
    there = [local for local in weights if biased or "bias" not in local]
    return Layer(cell, {local: local for local in there}, sizes), weights, kept


def by_brute_force(layer, weights, formula):
    """(gate, unit) -> value of every gate that is the same for all inputs and states."""
    x = torch.randn(SAMPLES, layer.sizes["input"], dtype=torch.float64)
    states = [torch.randn(SAMPLES, layer.sizes[axis], dtype=torch.float64) for axis in layer.cell.state_axes]
    constants = {}
    for gate, values in formula(weights, x, *states).items():
        for unit in range(values[0].shape[-1]):
            if all((value[:, unit] - value[0, unit]).abs().max() < 1e-12 for value in values):
                constants[gate, unit] = float(values[0][0, unit])
    return constants


def found_in(layer, weights, kept):
    there = {local: weights[local] for local in layer.weights}
    return {(gate, unit): value for gate, unit, value in constant_gates(layer, there, kept)}


def test_every_cell_of_the_folder_is_looked_at():
    assert {type(cell) for cell, _ in CELLS.values()} == set(folders.entries("cells").values())


@pytest.mark.parametrize("biased", [True, False], ids=["biased", "plain"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CELLS)
def test_constant_gates_are_those_of_brute_force(name, seed, biased):
    torch.manual_seed(seed)
    cell, formula = CELLS[name]
    layer, weights, kept = layer_of(cell, biased, UNITS if name == "sru straight" else INPUTS)
    expected, found = by_brute_force(layer, weights, formula), found_in(layer, weights, kept)
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert 0 < len(found) < sum(values[0].shape[-1] for values in formula(weights, *zeros(layer)).values())


def zeros(layer):
    return [torch.zeros(1, layer.sizes[axis], dtype=torch.float64) for axis in ("input", *layer.cell.state_axes)]


def test_a_tensor_without_a_mask_is_whole():
    torch.manual_seed(0)
    layer, weights, kept = layer_of(LSTM())
    assert found_in(layer, weights, {"weight_ih": kept["weight_ih"]}) == {}
    assert found_in(layer, weights, {}) == {}
    nothing = {local: torch.zeros_like(mask) for local, mask in kept.items()}
    bias = weights["bias_ih"] + weights["bias_hh"]
    expected = torch.cat([s(bias[:12]), tanh(bias[12:18]), s(bias[18:])]).tolist()
    assert list(found_in(layer, weights, nothing).values()) == pytest.approx(expected)


def gru_candidate(bias, reset_is_constant):
    """What is found of the candidate of a unit without weights."""
    torch.manual_seed(0)
    sizes = {"input": 2, "hidden": 1}
    weights = {local: torch.randn(GRU().shape(local, sizes), dtype=torch.float64) for local in GRU().axes}
    weights["bias_hh"][2] = bias
    kept = {"weight_ih": torch.ones(3, 2).bool(), "weight_hh": torch.ones(3, 1).bool()}
    for mask in kept.values():
        mask[2] = False
        mask[0] = not reset_is_constant
    layer = Layer(GRU(), {local: local for local in weights}, sizes)
    return weights, {gate: value for gate, _, value in constant_gates(layer, weights, kept)}


def test_torchs_candidate_is_not_constant_while_a_reset_gate_that_varies_multiplies_its_bias():
    _, found = gru_candidate(0.7, reset_is_constant=False)
    assert found == {}
    weights, found = gru_candidate(0.0, reset_is_constant=False)
    assert found == pytest.approx({"candidate": float(tanh(weights["bias_ih"][2]))})
    weights, found = gru_candidate(0.7, reset_is_constant=True)
    reset = s(weights["bias_ih"][0] + weights["bias_hh"][0])
    expected = tanh(weights["bias_ih"][2] + reset * 0.7)
    assert found == pytest.approx({"reset": float(reset), "candidate": float(expected)})


def test_order_is_that_of_gates_and_units():
    torch.manual_seed(1)
    layer, weights, kept = layer_of(LSTM())
    found = constant_gates(layer, weights, kept)
    places = [(layer.cell.gates.index(gate), unit) for gate, unit, _ in found]
    assert places == sorted(places) and all(isinstance(entry.unit, int) for entry in found)
