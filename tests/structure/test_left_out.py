"""Recurrent layers that no mask can be laid over: the sentence names the layer, the reason and the way out."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from sparsernn.compaction.compact import compact
from sparsernn.errors import UserError
from sparsernn.structure.groups import Groups
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.recording import trace
from tests.structure.networks import difference, masked, without_neurons


class Noisy(nn.LSTM):
    def forward(self, input, hx=None):
        start = input.new_zeros(1, input.shape[1], self.hidden_size)
        weights = [self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0]
        output, *states = torch.lstm(input + 0.0, hx or (start, start), weights, True, 1, 0.0, False, False, False)
        return output, tuple(states)


class Around(nn.Module):
    def __init__(self, rnn, **more):
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(6, 2)
        for name, module in more.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


def pruned():
    return prune.l1_unstructured(nn.LSTM(3, 6), "weight_hh_l0", 0.5)


def dropped():
    """Weights that somebody computes anew for each forward, as some dropout of weights does."""
    layer = nn.LSTM(3, 6)
    raw = layer._parameters.pop("weight_hh_l0")
    layer.register_parameter("weight_hh_l0_raw", raw)
    layer.weight_hh_l0 = raw.detach() * 0.5
    return layer


CASES = {
    "parametrization": (
        lambda: parametrizations.weight_norm(nn.LSTM(3, 6), "weight_hh_l0"),
        "rnn computes its weight_hh_l0 by a parametrization",
        "remove_parametrizations(model.rnn, 'weight_hh_l0')",
    ),
    "two parametrizations": (
        lambda: parametrizations.orthogonal(parametrizations.orthogonal(nn.RNN(3, 6), "weight_hh_l0"), "weight_ih_l0"),
        "weight_hh_l0 and weight_ih_l0",
        "remove_parametrizations(model.rnn, 'weight_ih_l0')",
    ),
    "pruned": (pruned, "rnn has its weight_hh_l0 from torch.nn.utils.prune", "prune.remove(model.rnn, 'weight_hh_l0')"),
    "subclass": (lambda: Noisy(3, 6), "Noisy, a subclass with a forward of its own", "behaves_as = torch.nn.LSTM"),
    "dropped": (
        dropped,
        "rnn has no parameter weight_hh_l0, which somebody puts in its place",
        "let model.rnn hold it",
    ),
    "scripted": (lambda: torch.jit.script(nn.LSTM(3, 6)), "rnn is scripted", "before torch.jit.script"),
}


def groups(model):
    return Groups.of(Wiring.local(model), model, "neuron")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_only_layer(case):
    make, reason, do = CASES[case]
    model = Around(make())
    with pytest.raises(UserError, match=re.escape(reason)) as caught:
        groups(model)
    assert "the model has recurrent layers, but" in str(caught.value) and do in caught.value.do


@pytest.mark.parametrize("case", ["parametrization", "dropped"])
def test_masks_of_a_layer_that_is_unknown_say_that_nothing_of_it_goes(case):
    make, reason, _ = CASES[case]
    model, x = Around(make()), torch.randn(5, 2, 3)
    kept = torch.ones(24, 3, dtype=torch.bool)
    kept[[1, 7, 13, 19]] = False
    with pytest.warns(UserWarning, match=f"rnn keeps all of its units, because .*{re.escape(reason[4:])}"):
        small, _ = compact(model, {"rnn.weight_ih_l0": kept}, example=x)
    assert small.rnn.hidden_size == 6 and difference(masked(model, Masks({"rnn.weight_ih_l0": kept})), small, x) <= 1e-6


def test_the_way_out_leads_out():
    model, x = Around(CASES["parametrization"][0]()), torch.randn(5, 2, 3)
    parametrize.remove_parametrizations(model.rnn, "weight_hh_l0")
    masks = without_neurons(model, {"rnn": [1]}, x)
    small, _ = compact(model, masks, example=x)
    assert small.rnn.hidden_size == 5 and difference(masked(model, masks), small, x) <= 1e-6
    model = Around(pruned())
    prune.remove(model.rnn, "weight_hh_l0")
    assert groups(model).count == 6

    class Said(Noisy):
        behaves_as = nn.LSTM

    model = Around(Said(3, 6))
    masks = without_neurons(model, {"rnn": [1, 2]}, x)
    small, _ = compact(model, masks, example=x)
    assert small.rnn.hidden_size == 4 and difference(masked(model, masks), small, x) <= 1e-6


def test_a_layer_beside_others_is_warned_about_once():
    model = Around(nn.LSTM(3, 6), other=Noisy(6, 6))
    with pytest.warns(UserWarning, match="other keeps all of its weights, because it is of Noisy") as caught:
        first = groups(model)
        groups(model)
    assert len(caught) == 1 and first.count == 6
    assert Groups.of(Wiring.local(model), model, "neuron", "rnn.*").count == 6


def test_a_subclass_that_keeps_the_forward_is_known():
    class Named(nn.GRU):
        pass

    assert trace(Around(Named(3, 6)), torch.randn(4, 2, 3)).layers[0].label == "rnn"
