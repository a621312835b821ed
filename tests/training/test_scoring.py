"""The batch at which a method looks before training."""

import copy

import pytest
import torch
from torch import nn

from sparsernn import sparsify
from sparsernn.methods.grasp import GraSP
from sparsernn.methods.jacobian_spectrum import JacobianSpectrum
from sparsernn.methods.snip import SNIP
from sparsernn.training.objectives import find_objective
from sparsernn.training.settings import Settings
from sparsernn.training.steps import Training


@pytest.mark.parametrize("examples", [None, 3, 20])
@pytest.mark.parametrize("method", [SNIP(0.5), GraSP(0.5), JacobianSpectrum(0.5)])
def test_it_is_the_first_of_training_and_of_the_size_asked_for(classification, method, examples):
    model = classification.model()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    copied = copy.deepcopy(model)
    settings = Settings(batch_size=8, scoring_examples=examples, loggers=())
    training = Training(model, classification.train, None, find_objective("classification"), method, settings)
    batch = next(iter(training.epoch_batches(examples or 8)))
    assert len(batch.inputs) == (examples or 8)
    expected = sparsify(
        copied,
        method,
        loss=lambda: nn.functional.cross_entropy(copied(batch.inputs), batch.targets),
        seed=settings.seed,
    )
    found = training.sparsifier.masks.kept
    assert all(torch.equal(found[name], kept) for name, kept in expected.kept.items())


@pytest.mark.parametrize("objective", ["classification", "tagging", "forecasting", "language_model"])
def test_every_objective_has_a_loss_to_look_at(cases, objective):
    _, fitted = cases[objective].fit(method=GraSP(0.75), epochs=1)
    assert fitted.masks.sparsity() == pytest.approx(0.75, abs=0.01)
