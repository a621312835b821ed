"""The spread of first weights, and the biases that stay as the cell's options ask."""

import math

import pytest
import torch

from sparsernn.errors import UserError
from sparsernn.models.classifier import Classifier
from sparsernn.models.layers import make_cell

INPUTS, UNITS = 28, 100


@pytest.mark.parametrize(
    ("init", "scale", "expected"),
    [
        ("glorot", None, lambda rows: 1 / math.sqrt(rows)),
        ("he", None, lambda rows: 2 / math.sqrt(rows)),
        ("normal", 0.1, lambda rows: 0.1),
        ("uniform", 0.3, lambda rows: 0.3 / math.sqrt(3)),
    ],
)
@pytest.mark.parametrize(
    ("cell", "options", "rows"),
    [
        ("rnn", {}, 128),
        ("lstm", {}, 128),
        ("gru", {"reset": "before"}, 128),
        ("peephole_lstm", {"peephole": "full"}, 228),
        ("recurrent_highway", {"depth": 3}, 128),
    ],
)
def test_spread(cell, options, rows, init, scale, expected):
    torch.manual_seed(0)
    made = make_cell(cell, INPUTS, UNITS, init=init, init_scale=scale, **options)
    for name, parameter in made.named_parameters():
        if "weight" in name:
            assert parameter.detach().std().item() == pytest.approx(expected(rows), rel=0.05)
        else:
            assert not parameter.any()


def test_a_second_layer_reads_the_first():
    torch.manual_seed(0)
    made = make_cell("gru", INPUTS, UNITS, 2, bidirectional=True, init="glorot")
    assert made.weight_ih_l1.detach().std().item() == pytest.approx(1 / math.sqrt(300), rel=0.05)


def test_biases_that_are_asked_for():
    lstm = make_cell("lstm", 3, 4, forget_bias=1.0, init="glorot")
    assert lstm.bias_ih_l0.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8 and not lstm.bias_hh_l0.any()
    highway = make_cell("recurrent_highway", 3, 4, transform_bias=-2.0, init="glorot")
    assert highway.bias_hh_d1_l0.tolist() == [0.0] * 4 + [-2.0] * 4


def test_it_is_an_option_of_models():
    model = Classifier(3, 2, units=5, cell_options={"init": "normal", "init_scale": 1e-6})
    assert model.cell.weight_hh_l0.abs().max().item() < 1e-4 and not model.cell.bias_hh_l0.any()


@pytest.mark.parametrize("init", ["normal", "orthogonal"])
def test_values_out_of_range(init):
    with pytest.raises(UserError):
        make_cell("gru", 3, 4, init=init)
