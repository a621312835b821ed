"""Gradient flow against plain autograd on small networks."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsernn import folders, sparsify
from sparsernn.errors import UserError
from sparsernn.measure.gradient_flow import effective_gradient_flow, gradient_over_time
from sparsernn.methods.static import Static
from sparsernn.models.classifier import Classifier
from sparsernn.models.language_model import LanguageModel
from sparsernn.running.runner import active

CELLS = folders.names("cells")
STEPPED = [name for name, kind in folders.entries("cells").items() if kind().reads_state]
X, LABELS = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1])


def classifier(**options):
    torch.manual_seed(0)
    return Classifier(4, 2, units=5, **options)


def loss_of(model):
    return lambda: F.cross_entropy(model(X), LABELS)


@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_masked_gradients(cell):
    model = classifier(cell=cell, layers=2)
    masks = sparsify(model, Static(0.5))
    found = effective_gradient_flow(model, loss_of(model), masks)
    loss_of(model)().backward()
    norms = {"l1": [], "l2": []}
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            assert name not in found["tensors"]
            continue
        mask = masks.kept.get(name, torch.ones_like(parameter, dtype=torch.bool))
        seen, tensor = parameter.grad * mask, found["tensors"][name]
        assert tensor["l1"] == pytest.approx(float(seen.abs().sum()), rel=1e-5)
        assert tensor["l2"] == pytest.approx(float(seen.norm()), rel=1e-5)
        assert tensor["kept"] == int(mask.sum())
        assert tensor["mean_absolute"] == pytest.approx(float(seen[mask].abs().mean()), rel=1e-5)
        for order in norms:
            norms[order].append(tensor[order])
    assert found["effective_l1"] == pytest.approx(sum(norms["l1"]) / len(norms["l1"]))
    assert found["effective_l2"] == pytest.approx(sum(norms["l2"]) / len(norms["l2"]))
    assert found["total_l2"] == pytest.approx(sum(norm**2 for norm in norms["l2"]) ** 0.5)
    assert json.loads(json.dumps(found)) == found


def test_gates_share_the_norm_of_their_tensor():
    model = classifier(cell="lstm")
    found = effective_gradient_flow(model, loss_of(model))["tensors"]
    loss_of(model)().backward()
    for name in ("cell.weight_ih_l0", "cell.weight_hh_l0"):
        gates = found[name]["gates"]
        assert list(gates) == ["input", "forget", "candidate", "output"]
        candidate = model.get_parameter(name).grad[10:15]
        assert gates["candidate"]["l2"] == pytest.approx(float(candidate.norm()), rel=1e-5)
        assert sum(gate["l1"] for gate in gates.values()) == pytest.approx(found[name]["l1"], rel=1e-5)
    assert "gates" not in found["head.weight"]


def test_a_tied_matrix_counts_once_and_torchs_layers_are_known():
    model = LanguageModel(9, units=5, tied=True)
    ids = torch.randint(9, (4, 2))
    found = effective_gradient_flow(model, lambda: F.cross_entropy(model(ids)[0].flatten(0, 1), ids.flatten()))
    assert set(found["tensors"]) == {"embedding.weight"} | {
        f"cells.{layer}.weight_{kind}_l0" for layer in range(2) for kind in ("ih", "hh")
    }
    plain = nn.GRU(4, 5, batch_first=True)
    gates = effective_gradient_flow(plain, lambda: plain(X)[0].square().sum())["tensors"]["weight_hh_l0"]["gates"]
    assert list(gates) == ["reset", "update", "candidate"]


def test_a_weight_that_the_loss_does_not_see_has_no_gradient():
    model = nn.ModuleDict({"used": nn.Linear(4, 2), "unused": nn.Linear(4, 2)})
    found = effective_gradient_flow(model, lambda: model["used"](X).sum())
    assert found["tensors"]["unused.weight"]["l2"] == 0 < found["tensors"]["used.weight"]["l2"]


@pytest.mark.parametrize("measure", [effective_gradient_flow, gradient_over_time])
def test_measuring_leaves_everything_as_it_was(measure):
    model = classifier(cell="lstm", dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        measure(model, loss_of(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert active() is None and not [module for module in model.modules() if "forward" in vars(module)]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", STEPPED)
def test_gradients_over_time_are_those_of_the_sequence_cut_in_two(name, frozen):
    torch.manual_seed(0)
    cell, x = folders.find("cells", name)(4, 5).double().requires_grad_(not frozen), X.double().transpose(0, 1)
    head = nn.Linear(5, 1).double()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = cell, head

        def forward(self, x):
            return self.head(self.cell(x)[0]).square().sum()

    model = Model()
    found = gradient_over_time(model, lambda: model(x))
    assert list(found) == ["cell l0"] and len(found["cell l0"]) == 6
    for step in range(1, 7):
        _, state = cell(x[:step])
        hidden, *rest = state if isinstance(state, tuple) else (state,)
        hidden = hidden.detach().requires_grad_()
        loss = head(hidden).square().sum()
        if step < 6:
            loss = loss + head(cell(x[step:], (hidden, *rest) if rest else hidden)[0]).square().sum()
        (expected,) = torch.autograd.grad(loss, hidden)
        assert found["cell l0"][step - 1] == pytest.approx(float(expected.norm()), rel=1e-9)


def test_every_layer_and_direction_is_in_the_order_of_time():
    model = classifier(cell="gru", layers=2, bidirectional=True)
    found = gradient_over_time(model, loss_of(model))
    assert list(found) == ["cell l0", "cell l0_reverse", "cell l1", "cell l1_reverse"]
    assert all(len(norms) == 6 for norms in found.values())
    assert found["cell l1"][5] == max(found["cell l1"]) and found["cell l1_reverse"][0] == max(found["cell l1_reverse"])
    assert json.loads(json.dumps(found)) == found


def test_steps_after_the_end_of_a_sequence_get_nothing():
    model, lengths = classifier(cell="lstm"), torch.tensor([2, 4, 3])
    found = gradient_over_time(model, lambda: F.cross_entropy(model(X, lengths), LABELS))["cell l0"]
    assert all(norm > 0 for norm in found[:4]) and found[4:] == [0.0, 0.0]


def test_what_cannot_be_measured_is_refused():
    plain, model = nn.LSTM(4, 5), classifier(cell="lstm")
    with pytest.raises(UserError, match="no cell of this package"):
        gradient_over_time(plain, lambda: plain(X)[0].sum())
    with pytest.raises(UserError, match="a cell runs twice"):
        gradient_over_time(model, lambda: model(X).sum() + model(X[:, :2]).sum())
    with pytest.raises(UserError, match="cell took no step"):
        gradient_over_time(model, lambda: model.head(torch.ones(1, 5)).sum())
    for measure in (effective_gradient_flow, gradient_over_time):
        with pytest.raises(UserError, match="the loss is 6 numbers"):
            measure(model, lambda: model(X))
        with pytest.raises(UserError, match="has no gradient"):
            measure(model, lambda: torch.ones(()))
    with pytest.raises(UserError, match="no weight matrix is trained"):
        frozen = classifier().requires_grad_(False)
        effective_gradient_flow(frozen, lambda: frozen(X.clone().requires_grad_()).sum())
