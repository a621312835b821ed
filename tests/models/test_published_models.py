"""The models of the dynamic sparse training literature: exact counts, initialisation and where each dropout acts."""

import copy

import pytest
import torch
from torch import nn

from sparsernn.measure import cost
from sparsernn.models.classifier import Classifier
from sparsernn.models.language_model import LanguageModel
from tests.measure import published_costs

HIGHWAY = {"cell": "recurrent_highway", "layers": 1, "tied": True, "dropout_kind": "variational"}
FIVE = {"embedding_dropout": 0.2, "input_dropout": 0.65, "recurrent_dropout": 0.25, "output_dropout": 0.65}


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_stacked_lstm_has_66_034_000_parameters():
    with torch.device("meta"):
        model = LanguageModel(10_000, units=1500, layers=2, dropout=0.65)
    assert count(model) == 66_034_000
    found = cost.count(model)
    assert (found.weights, found.biases) == (66_000_000, 34_000)
    assert found.macs() == published_costs.stacked_lstm(1500, 2, 10_000).macs()


def test_the_highway_network_has_23_484_060_parameters():
    with torch.device("meta"):
        model = LanguageModel(10_000, units=830, cell_options={"depth": 10}, **HIGHWAY, **FIVE)
    assert count(model) == 23_484_060
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert len(shapes) == 2 + 2 + 20
    for level in range(10):
        assert shapes[f"cells.0.weight_hh_d{level}_l0"] == (1660, 830)
        assert shapes[f"cells.0.bias_hh_d{level}_l0"] == (1660,)
    found = cost.count(model)
    assert found.macs() == found.macs(embedding=True) == published_costs.recurrent_highway(830, 10, 10_000).macs()


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_the_text_classifier_has_5_644_288_weights_before_its_output_layer(classes):
    """Biases: two vectors of 1,024 as torch has them, where the published model has one."""
    with torch.device("meta"):
        model = Classifier(256, classes, "lstm", units=256, vocabulary=20_000)
    found = cost.count(model)
    assert found.weights == 5_644_288 + 256 * classes
    assert found.biases == 2 * 1024 + classes
    assert published_costs.text_classifier().weights == 5_644_288
    assert published_costs.text_classifier(classes=classes).weights == found.weights


def test_they_start_as_the_layers_of_torch_do():
    torch.manual_seed(0)
    model = LanguageModel(50, units=25, cell_options={"depth": 3}, **HIGHWAY)
    assert float(model.embedding.weight.detach().abs().max()) == pytest.approx(0.1, abs=0.005)
    assert not model.head.bias.any()
    for name, parameter in model.cells.named_parameters():
        assert 0.15 < float(parameter.detach().abs().max()) <= 1 / 5, name


def tokens(steps=7, batch=3):
    return torch.arange(steps * batch).reshape(steps, batch) % 9


def test_whole_word_types_are_dropped():
    torch.manual_seed(0)
    model = LanguageModel(9, units=8, embedding_dropout=0.5, cell_options={"depth": 2}, **HIGHWAY).double()
    torch.manual_seed(3)
    found, _ = model.train()(tokens())
    torch.manual_seed(3)
    words = torch.empty(9, 1).bernoulli_(0.5) / 0.5
    assert 0 < int((words == 0).sum()) < 9
    plain = copy.deepcopy(model).eval()
    plain.head.weight = nn.Parameter(model.head.weight.detach().clone())
    with torch.no_grad():
        plain.embedding.weight.mul_(words)
    assert torch.allclose(plain(tokens())[0], found, atol=1e-12)


@pytest.mark.parametrize("place", ["input_dropout", "output_dropout"])
def test_input_and_output_masks_are_held_over_time(place):
    model = LanguageModel(9, units=8, **{place: 0.5}, cell_options={"depth": 2}, **HIGHWAY).train()
    seen = []
    module = getattr(model, place)
    module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    model(tokens())
    ((before, after),) = seen
    masks = after / before
    assert torch.allclose(masks, masks[:1].expand_as(masks), atol=1e-4)
    assert set(masks.round(decimals=3).flatten().tolist()) == {0.0, 2.0}
    assert not torch.allclose(masks[0, 0], masks[0, 1], atol=1e-4)


def test_without_training_nothing_is_dropped():
    torch.manual_seed(0)
    model = LanguageModel(9, units=8, cell_options={"depth": 2}, **HIGHWAY, **FIVE)
    plain = LanguageModel(9, units=8, cell_options={"depth": 2}, **HIGHWAY)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(tokens())[0], plain.train()(tokens())[0])
    assert not torch.equal(model.train()(tokens())[0], plain(tokens())[0])
