"""Spectra of step Jacobians against closed forms, and connections counted by hand."""

import json

import pytest
import torch
from torch import nn

from sparsernn import sparsify
from sparsernn.errors import UserError
from sparsernn.measure.jacobian import connections, spectra
from sparsernn.methods.random_pruning import RandomPruning
from tests.structure.networks import MAKERS


def test_a_plain_layer_has_the_spectrum_of_its_matrix():
    torch.manual_seed(0)
    model = nn.RNN(3, 5)
    x = torch.randn(6, 2, 3)
    found = spectra(model, lambda model: model(x), sequences=1, horizon=2)
    json.dumps(found)
    (layer,) = found.values()
    outputs = model(x)[0].detach()[-2:, 0]
    matrices = (1 - outputs.square()).unsqueeze(-1) * model.weight_hh_l0.detach()
    singular = torch.linalg.svdvals(matrices).flatten().sort(descending=True).values
    assert layer["singular_values"] == pytest.approx(singular.tolist(), abs=1e-5)
    sizes = torch.linalg.eigvals(matrices).abs().flatten().sort(descending=True).values
    assert [abs(complex(*value)) for value in layer["eigenvalues"]] == pytest.approx(sizes.tolist(), abs=1e-5)
    assert layer["matrices"] == 2
    assert layer["mean_squared_singular_value"] == pytest.approx(float(singular.square().mean()), rel=1e-5)


@pytest.mark.parametrize("part", ["hidden", "state"])
@pytest.mark.parametrize("kind", MAKERS)
def test_every_layer_and_direction(kind, part):
    torch.manual_seed(0)
    model = MAKERS[kind](3, 6, num_layers=2, bidirectional=True).train()
    x = torch.randn(4, 3, 3)
    found = spectra(model, lambda model: model(x), sequences=2, horizon=3, part=part)
    assert list(found) == ["l0", "l0_reverse", "l1", "l1_reverse"] and model.training
    assert all(layer["matrices"] == 6 for layer in found.values())


def test_padding_is_not_looked_at():
    model = nn.GRU(3, 4)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(5, 2, 3), torch.tensor([5, 2]))
    (layer,) = spectra(model, lambda model: model(packed), horizon=4).values()
    assert layer["matrices"] == 4 + 2


def test_connections_by_gate():
    model = nn.Sequential()
    model.add_module("rnn", nn.LSTM(3, 8, proj_size=2))
    masks = sparsify(model, RandomPruning(0.5, per="gate"), where="rnn.weight_[ih]h_l0")
    (layer,) = connections(model, masks).values()
    gates = ("input", "forget", "candidate", "output")
    assert layer["input"] == {gate: {"kept": 12, "dense": 24} for gate in gates}
    expected = {gate: {"kept": 8, "dense": 16} for gate in gates} | {"weight_hr": {"kept": 16, "dense": 16}}
    assert layer["recurrent"] == expected


def test_a_forward_that_runs_nothing():
    with pytest.raises(UserError, match="no recurrent layer ran"):
        spectra(nn.GRU(3, 4), lambda model: None)
