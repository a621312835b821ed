"""Activations by name: their values, cells that use them against the same cell with another function, compaction."""

import json
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sparsernn import folders
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.parts.activations import ACTIVATIONS, GATE_ACTIVATIONS, spocu
from sparsernn.cells.rnn import RNN
from sparsernn.errors import UserError
from sparsernn.kernels import torch_math
from sparsernn.kernels.registry import candidates, choose, using
from sparsernn.models.classifier import Classifier
from sparsernn.running.torch_layers import nominal_problems
from sparsernn.structure.layer import layout_of
from tests.structure.networks import check_exact, random_masks, size_of

CELLS = {
    name: kind for name, kind in folders.entries("cells").items() if "activation" in {one.name for one in fields(kind)}
}
OTHERS = [name for name in ACTIVATIONS if name != "tanh"]


def test_every_cell_that_had_tanh_has_the_option():
    assert set(CELLS) >= {"rnn", "lstm", "peephole_lstm", "gru", "recurrent_highway"}


def taken(cell):
    """The kernel that a forward of one of its layers takes."""
    return choose(nominal_problems(cell, 1)[0][1]).provider


def activated(name, x):
    return ACTIVATIONS[name](torch_math, x)


def spocu_in_numpy(x, largest):
    def r(u):
        return u**3 * (u**5 - 2 * u**4 + 2)

    def h(u):
        return np.where(u >= largest, r(np.minimum(u, largest)), np.where(u >= 0, r(u), 0.0))

    return 3.0937 * h(x / 4.437 + 0.6653) - 3.0937 * h(np.array(0.6653))


@pytest.mark.parametrize(("name", "largest"), [("spocu", np.inf), ("spocu_bounded", 1.0)])
def test_spocu_is_its_formula(name, largest):
    x = torch.linspace(-8, 8, 400, dtype=torch.float64)
    found = activated(name, x)
    np.testing.assert_allclose(found.numpy(), spocu_in_numpy(x.numpy(), largest), rtol=1e-10, atol=1e-12)
    smooth = torch.linspace(-4, 1.4, 40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(partial(activated, name), smooth)


def test_spocu_rises_and_falls_where_it_is_said_to():
    x = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    bounded, free = spocu(torch_math, x, 1.0), spocu(torch_math, x)
    assert (bounded.diff() >= 0).all()
    assert [float(bounded.min()), float(bounded.max())] == pytest.approx([-1.58, 1.51], abs=5e-3)
    falls = x[1:][free.diff() < -1e-9]
    assert [float(falls.min()), float(falls.max()), float(free.min())] == pytest.approx([1.49, 4.36, -9.85], abs=1e-2)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_exactly_zero_at_zero_and_keeps_the_type(name, kind):
    found = activated(name, torch.zeros(3, 40, dtype=kind))
    assert found.dtype == kind and not found.any()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("activation", OTHERS)
def test_a_cell_uses_the_activation_where_it_had_tanh(name, activation, monkeypatch):
    torch.manual_seed(0)
    cell, x = CELLS[name](3, 5, 2, activation=activation), torch.randn(6, 2, 3)
    plain = CELLS[name](3, 5, 2)
    plain.load_state_dict(cell.state_dict())
    assert taken(cell) == ("torch_fused" if (name, activation) == ("rnn", "relu") else "reference")
    with using("reference"):
        expected = cell(x)[0]
    assert torch.allclose(cell(x)[0], expected, atol=1e-6)
    assert not torch.allclose(plain(x)[0], expected, atol=1e-3)
    monkeypatch.setitem(ACTIVATIONS, "tanh", ACTIVATIONS[activation])
    with using("reference"):
        assert torch.equal(plain(x)[0], expected)


def test_one_step_with_selu_by_hand():
    torch.manual_seed(0)
    cell, x = LSTM(3, 4, activation="selu"), torch.randn(1, 2, 3)
    i, _, g, o = (F.linear(x[0], cell.weight_ih_l0, cell.bias_ih_l0) + cell.bias_hh_l0).chunk(4, -1)
    memory = torch.sigmoid(i) * F.selu(g)
    assert torch.allclose(cell(x)[0][0], torch.sigmoid(o) * F.selu(memory), atol=1e-6)


def test_the_fused_kernel_is_refused_where_it_would_compute_something_else():
    for cell in (LSTM(3, 4, activation="spocu"), GRU(3, 4, activation="selu"), RNN(3, 4, activation="selu")):
        ((_, problem),) = nominal_problems(cell, 1)
        refusals = {kernel.provider: refusal for kernel, refusal in candidates(problem)}
        assert refusals["reference"] is None and "no fused kernel" in refusals["torch_fused"]
    for cell in (LSTM(3, 4), GRU(3, 4), RNN(3, 4, activation="relu")):
        assert taken(cell) == "torch_fused"


def test_the_plain_layer_takes_it_under_both_names():
    assert RNN(3, 4, 1, "selu").cell == RNN(3, 4, activation="selu").cell
    assert RNN(activation="selu").nonlinearity == "selu"


@pytest.mark.parametrize("name", CELLS)
def test_an_unknown_activation_is_refused(name):
    with pytest.raises(UserError, match="activation is 'swish'"):
        CELLS[name](3, 4, activation="swish")
    assert "tanh" not in GATE_ACTIVATIONS


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("activation", OTHERS)
@pytest.mark.parametrize("level", ["neuron", "gate", "weight"])
def test_compaction_is_exact_with_every_activation(name, activation, level):
    torch.manual_seed(0)
    options = json.loads(json.dumps({"activation": activation}))
    model, x = Classifier(3, 2, name, units=8, layers=2, cell_options=options), torch.randn(2, 5, 3)
    sparsity = 0.4 if level == "neuron" else 0.7
    small, _ = check_exact(model, random_masks(model, level, sparsity, 0, example=(x,)), x)
    assert level != "neuron" or size_of(small) < 0.8 * size_of(model)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("activation", OTHERS)
def test_a_unit_without_inputs_is_always_zero(name, activation):
    cell = CELLS[name](3, 4, activation=activation)
    kind = cell.cell
    with torch.no_grad():
        for local, full in cell.names[0].items():
            if kind.silent in kind.gates_of(local):
                gates = layout_of(kind, local).view(cell.get_parameter(full))
                gates[kind.gates_of(local).index(kind.silent), 2] = 0
    output, _ = cell(torch.randn(9, 2, 3))
    assert not output[..., 2].any() and output[..., [0, 1, 3]].any()
