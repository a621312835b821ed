"""Objectives against figures computed by hand, whatever the batch size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sparsernn.data.splits import SequenceSplit, TensorSplit, TextSplit
from sparsernn.data.task import Batch
from sparsernn.errors import UserError
from sparsernn.training.objectives import IGNORED, OBJECTIVES, evaluate, find_objective, is_better


def whole(split):
    return next(iter(split.batches(len(split))))


@pytest.mark.parametrize("size", [1, 7, 20])
def test_classification_is_the_mean_over_all_examples(size, cases):
    case = cases["classification"]
    model = case.model()
    figures = evaluate(model, case.valid, "classification", size)
    batch = whole(case.valid)
    logits = model.eval()(batch.inputs)
    assert figures["loss"] == pytest.approx(functional.cross_entropy(logits, batch.targets).item(), rel=1e-5)
    assert figures["accuracy"] == (logits.argmax(1) == batch.targets).double().mean().item()


@pytest.mark.parametrize("size", [1, 3, 5])
def test_tagging_counts_no_padding(size):
    torch.manual_seed(0)
    lengths, table = [4, 1, 6, 2, 3], torch.randn(9, 4)
    offsets = np.cumsum([0, *lengths])
    ids, labels = np.arange(offsets[-1]) % 9, np.arange(offsets[-1]) % 4
    split = SequenceSplit(ids, offsets, labels, per_step=True)

    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(table)

        def forward(self, ids, lengths=None):
            return self.table[ids]

    figures = evaluate(Lookup(), split, "tagging", size)
    logits, targets = table[torch.from_numpy(ids)], torch.from_numpy(labels)
    assert figures["loss"] == pytest.approx(functional.cross_entropy(logits, targets).item(), rel=1e-5)
    assert figures["accuracy"] == pytest.approx((logits.argmax(1) == targets).float().mean().item())


def test_tagging_ignores_what_lies_beyond_the_lengths_whatever_its_target():
    logits = torch.randn(2, 3, 4)
    batch = Batch(torch.zeros(2, 3, 1), torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.tensor([2, 1]))
    objective = OBJECTIVES["tagging"]
    loss, sums, _ = objective.loss(lambda inputs, lengths: logits, batch)
    expected = functional.cross_entropy(
        torch.stack([logits[0, 0], logits[0, 1], logits[1, 0]]), torch.tensor([1, 2, 3])
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert objective.count(batch) == sums["loss"][1] == 3


def test_a_batch_of_padding_alone_has_no_loss():
    batch = Batch(torch.zeros(1, 2, 1), torch.full((1, 2), IGNORED))
    loss, sums, _ = OBJECTIVES["tagging"].loss(lambda inputs: torch.randn(1, 2, 4), batch)
    assert loss.item() == 0 and sums["accuracy"] == (0, 0)


def test_forecasting_gives_both_errors(cases):
    case = cases["forecasting"]
    model = case.model()
    figures = evaluate(model, case.valid, "forecasting", 6)
    batch = whole(case.valid)
    difference = model.eval()(batch.inputs) - batch.targets
    assert figures["mse"] == figures["loss"] == pytest.approx(difference.square().mean().item(), rel=1e-5)
    assert figures["mae"] == pytest.approx(difference.abs().mean().item(), rel=1e-5)


def test_a_regression_gives_the_root_of_its_error_and_the_share_that_is_explained():
    inputs, targets = torch.tensor([[1.0], [2.0], [4.0], [5.0]]), torch.tensor([2.0, 2.0, 6.0, 8.0])
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1.5)
        model.bias.fill_(0.0)
    figures = evaluate(model, TensorSplit(inputs, targets), "regression", 3)
    errors = np.array([1.5, 3.0, 6.0, 7.5]) - targets.numpy()
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert figures["mae"] == pytest.approx(np.mean(np.abs(errors)))
    assert figures["r2"] == pytest.approx(1 - np.sum(errors**2) / np.sum((targets.numpy() - 4.5) ** 2))


def test_a_language_model_reads_on_where_it_stopped(cases):
    case = cases["language_model"]
    model = case.model()
    tokens = np.random.RandomState(3).randint(0, 9, 64)
    figures = evaluate(model, TextSplit(tokens, 5), "language_model", 1)
    ids = torch.from_numpy(tokens)[:, None]
    logits, _ = model.eval()(ids[:-1])
    loss = functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten()).item()
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert figures["bits_per_token"] == pytest.approx(loss / math.log(2), rel=1e-5)


def test_the_carried_state_has_no_graph(cases):
    case = cases["language_model"]
    batch = next(iter(case.train.batches(6)))
    loss, _, carry = OBJECTIVES["language_model"].loss(case.model(), batch)
    assert loss.requires_grad and not any(part.requires_grad for part in carry)


def test_evaluation_leaves_every_modules_mode_as_it_was(cases):
    case = cases["classification"]
    model = case.model()
    model.train()
    model.dropout.eval()
    evaluate(model, case.valid, "classification", 8)
    assert model.training and model.recurrent.training and not model.dropout.training


@pytest.mark.parametrize(
    ("name", "higher"), [("classification", True), ("tagging", True), ("forecasting", False), ("language_model", False)]
)
def test_better_is_higher_or_lower(name, higher):
    objective = find_objective(name)
    assert is_better(2.0, 1.0, objective.better) is higher and is_better(1.0, 2.0, objective.better) is not higher
    assert is_better(1.0, None, objective.better) and not is_better(1.0, 1.0, objective.better)
    assert not is_better(math.nan, None, objective.better) and not is_better(math.nan, 1.0, objective.better)


def test_an_unknown_objective_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Write 'classification', the nearest"):
        find_objective("clasification")


def test_an_empty_split_is_refused(cases):
    with pytest.raises(UserError, match="no batches"):
        evaluate(
            cases["language_model"].model(), TextSplit(np.array([1, 2]), 0 + 5, keep_last=False), "language_model", 1
        )
