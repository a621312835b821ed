"""Gradients by lag against autograd on a loop that is written out."""

import json

import pytest
import torch
from torch.nn import functional as F

from sparsernn.measure.gradient_by_lag import gradient_by_lag
from sparsernn.models.classifier import Classifier
from sparsernn.models.language_model import LanguageModel


def loop(cell, inputs, states):
    """Hidden states of torch's equations of the LSTM, each of which keeps its gradient."""
    hidden, memory = states
    kept = []
    for x in inputs:
        gates = x @ cell.weight_ih_l0.T + cell.bias_ih_l0 + hidden @ cell.weight_hh_l0.T + cell.bias_hh_l0
        i, f, g, o = gates.chunk(4, -1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * memory.tanh()
        hidden.retain_grad()
        kept.append(hidden)
    return kept


def test_norms_are_those_of_a_plain_loop_over_both_layers():
    torch.manual_seed(0)
    model, ids = LanguageModel(7, units=5, layers=2).double(), torch.randint(7, (6, 3))
    kinds = {"cells.0": {"all": [0, 2], "output": [4]}, "cells.1": {"none": [1]}}
    measured = gradient_by_lag(model, lambda: F.cross_entropy(model(ids)[0][-1], ids[0]), kinds)

    start = torch.zeros(3, 5, dtype=torch.float64)
    first = loop(model.cells[0], model.embedding(ids), (start, start))
    second = loop(model.cells[1], first, (start, start))
    F.cross_entropy(model.head(second[-1]), ids[0]).backward()
    for label, states in (("cells.0", first), ("cells.1", second)):
        expected = [state.grad for state in states[::-1]]
        assert measured[label]["all"] == pytest.approx([float(grad.norm()) for grad in expected], rel=1e-9)
        assert list(measured[label]["kinds"]) == list(kinds[label])
        for kind, units in kinds[label].items():
            norms = [float(grad[:, units].norm()) for grad in expected]
            assert measured[label]["kinds"][kind] == pytest.approx(norms, rel=1e-9)
    assert json.loads(json.dumps(measured)) == measured


def test_padded_sequences_begin_at_their_own_last_step():
    torch.manual_seed(0)
    model, x = Classifier(4, 2, units=5, cell="gru").double(), torch.randn(2, 6, 4).double()
    labels, lengths = torch.tensor([0, 1]), torch.tensor([2, 6])
    together = gradient_by_lag(
        model, lambda: F.cross_entropy(model(x, lengths), labels, reduction="sum"), None, lengths
    )
    squares = torch.zeros(6)
    for number, length in enumerate(lengths.tolist()):
        part, label = x[number : number + 1, :length], labels[number : number + 1]
        (alone,) = gradient_by_lag(model, lambda part=part, label=label: F.cross_entropy(model(part), label)).values()
        squares[:length] += torch.tensor(alone["all"]) ** 2
    (layer,) = together.values()
    assert layer["all"] == pytest.approx(squares.sqrt().tolist(), rel=1e-5)


def test_directions_have_the_labels_of_the_layers():
    model = Classifier(4, 2, units=5, cell="lstm", layers=2, bidirectional=True)
    x = torch.randn(2, 3, 4)
    labels = list(gradient_by_lag(model, lambda: model(x).sum()))
    assert labels == ["cell.l0", "cell.l0_reverse", "cell.l1", "cell.l1_reverse"]
