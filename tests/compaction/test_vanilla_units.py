"""Units whose memory nothing changes, settled from the first step on."""

import copy
import math

import pytest
import torch
from torch import nn

from sparsernn.cells.lstm import LSTM
from sparsernn.compaction.vanilla_units import make_vanilla_
from sparsernn.errors import UserError
from sparsernn.methods.static import Static
from sparsernn.models.language_model import LanguageModel
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring

STEPS = 60
X = torch.randn(STEPS, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    """A layer of LSTM units, and a linear one that reads every state of it, or of its tanh."""

    def __init__(self, make, between=lambda output: output):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head, self.between = make(2, 3), nn.Linear(3, 2), between

    def forward(self, x, state=None):
        return self.head(self.between(self.cell(x, state)[0]))


def made(make=nn.LSTM, biases=(1.0, 0.5, 0.3), **options):
    """Unit 1 with constant input, forget and candidate gates."""
    model = Head(make, **options).double()
    kept = {f"cell.{name}": torch.ones_like(p, dtype=torch.bool) for name, p in model.cell.named_parameters()}
    masks = Masks({name: mask for name, mask in kept.items() if "weight" in name})
    for mask in masks.kept.values():
        mask.view(4, 3, -1)[:3, 1] = False
    masks.apply_(model)
    with torch.no_grad():
        model.cell.bias_hh_l0.view(4, 3)[:3, 1] = 0.0
        model.cell.bias_ih_l0.view(4, 3)[:3, 1] = torch.tensor(biases)
    return model, masks


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def end_of(biases):
    i, f, g = biases
    return sigmoid(i) * math.tanh(g) / (1 - sigmoid(f))


NEAR, FAR = (1.0, 0.5, 0.3), (2.0, 1.0, -1.5)


@pytest.mark.parametrize("make", [nn.LSTM, LSTM])
@pytest.mark.parametrize("biases", [NEAR, FAR])
@torch.no_grad()
def test_outputs_are_the_same_after_the_first_steps_and_from_a_settled_memory_on(make, biases):
    assert (abs(end_of(biases)) < 1) == (biases is NEAR)
    model, masks = made(make, biases)
    before, weights = copy.deepcopy(model), copy.deepcopy(model.state_dict())
    count, change = make_vanilla_(model, masks, X)
    assert count == 1
    old, new = before(X), model(X)
    assert float((old - new).abs().max()) == pytest.approx(change) and change > 1e-3
    assert torch.allclose(old[-1], new[-1], atol=1e-7) and not torch.allclose(old[0], new[0], atol=1e-3)
    hidden, memory = torch.zeros(1, 3, 3).double(), torch.zeros(1, 3, 3).double()
    memory[..., 1] = end_of(biases)
    assert torch.allclose(before(X, (hidden, memory)), model(X), atol=1e-9)
    for name, mask in masks.kept.items():
        assert not model.get_parameter(name)[~mask].any()
    assert not torch.equal(weights["cell.bias_ih_l0"], model.cell.bias_ih_l0)


def test_finalize_makes_them_when_it_is_told_what_the_model_is_called_with():
    by_hand, masks = made()
    model = copy.deepcopy(by_hand)
    run = Sparsifier(model, Static(masks=masks))
    assert run.vanilla_units is None
    expected = make_vanilla_(by_hand, masks, X)
    final = run.finalize(vanilla=X)
    assert run.vanilla_units == expected and expected.count == 1 and expected.change > 1e-3
    assert all(torch.equal(value, by_hand.state_dict()[name]) for name, value in model.state_dict().items())
    assert {gate for layer, gate, unit in final.constant_gates if unit == 1} == {"input", "forget", "candidate"}
    assert run.finalize() is final


@pytest.mark.parametrize("example", ["x", (X, X, X), torch.zeros(2)])
def test_an_example_that_the_model_does_not_take_is_one_sentence(example):
    model, masks = made()
    with pytest.raises(UserError, match="the model cannot be called with this example"):
        make_vanilla_(model, masks, example)


@torch.no_grad()
def test_the_unit_is_a_constant_times_its_output_gate_from_the_first_step_on():
    model, masks = made()
    make_vanilla_(model, masks, X)
    cell, (output, _) = model.cell, model.cell(X)
    gate = X[0] @ cell.weight_ih_l0[10] + cell.bias_ih_l0[10] + cell.bias_hh_l0[10]
    assert torch.allclose(output[0, :, 1], math.tanh(end_of(NEAR)) * gate.sigmoid(), atol=1e-12)


@pytest.mark.parametrize(
    ("biases", "options"),
    [
        (FAR, {"between": torch.tanh}),
        (FAR, {"between": lambda output: output + output.roll(1, -1)}),
        (NEAR, {"make": lambda *sizes: nn.LSTM(*sizes, bias=False)}),
    ],
)
def test_what_cannot_be_exact_is_left_alone(biases, options):
    if "make" in options:
        model, masks = Head(options["make"]).double(), Masks({})
    else:
        model, masks = made(biases=biases, **options)
    before = copy.deepcopy(model.state_dict())
    assert make_vanilla_(model, masks, X) == (0, 0.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@torch.no_grad()
def test_a_language_model_carries_the_states_of_scaled_units():
    torch.manual_seed(0)
    model, ids = LanguageModel(7, units=3, layers=2).double(), torch.randint(7, (STEPS, 2))
    masks = Masks.full(
        Wiring.local(model), model, {name for name, p in model.named_parameters() if "_ih" in name or "_hh" in name}
    )
    masks.kept = {name: mask for name, mask in masks.kept.items() if "weight" in name}
    for name, mask in masks.kept.items():
        if name.startswith("cells.0"):
            mask.view(4, 3, -1)[:3, 1] = False
    masks.apply_(model)
    model.cells[0].bias_hh_l0.view(4, 3)[:3, 1] = 0.0
    model.cells[0].bias_ih_l0.view(4, 3)[:3, 1] = torch.tensor(FAR).double()
    before = copy.deepcopy(model)
    assert make_vanilla_(model, masks, ids).count == 1
    states = [None, None]
    for _ in range(2):
        (old, states[0]), (new, states[1]) = before(ids, states[0]), model(ids, states[1])
    assert torch.allclose(old, new, atol=1e-7)
