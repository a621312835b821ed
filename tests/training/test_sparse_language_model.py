"""Language models that are sparse everywhere, embedding and output layer included, in the published recipe."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from sparsernn import compact
from sparsernn.methods.rigl import RigL
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from sparsernn.models.language_model import LanguageModel
from sparsernn.training.objectives import evaluate
from sparsernn.training.run_folder import RunFolder

EVERYWHERE = ("embedding.weight", "cells.*weight*", "head.weight")
RECIPE = {
    "optimizer": "sgd",
    "learning_rate": 2.0,
    "momentum": 0.9,
    "schedule": "plateau",
    "decay": 1 / 1.33,
    "clip": 0.25,
    "epochs": 5,
    "where": EVERYWHERE,
}
AVERAGED = {"optimizer": "snt_asgd", "momentum": 0.0, "schedule": "constant", "optimizer_options": {"patience": 1}}
MODELS = {
    "stacked LSTM": lambda: LanguageModel(9, units=6, layers=2, dropout=0.3),
    "highway": lambda: LanguageModel(
        9,
        units=6,
        layers=1,
        cell="recurrent_highway",
        tied=True,
        dropout_kind="variational",
        embedding_dropout=0.2,
        recurrent_dropout=0.25,
        cell_options={"depth": 3},
    ),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name]()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("method", "optimizer"),
    [(Static(0.6), {}), (RigL(0.6, every=8), {}), (STRNN(0.6, every=8), {}), (STRNN(0.6, every=8), AVERAGED)],
    ids=["static", "rigl", "st_rnn", "st_rnn averaged"],
)
def test_every_matrix_is_sparse_and_the_best_epoch_is_kept(name, method, optimizer, cases, tmp_path):
    case, model = cases["language_model"], build(name)
    with RunFolder.create(tmp_path / "run", {}) as folder:
        _, fitted = case.fit(model=model, method=method, run=folder, **RECIPE | optimizer)
        saved = folder.load_masks()
    matrices = {known for known, parameter in model.named_parameters() if parameter.dim() > 1}
    assert fitted.masks.selected == set(fitted.masks.kept) == matrices == set(saved.kept)
    for known, kept in fitted.masks.kept.items():
        assert int(kept.sum()) == round(0.4 * kept.numel()), known
        assert not model.get_parameter(known)[~kept].any()
        assert torch.equal(saved.kept[known], kept)
    if name == "highway":
        assert model.head.weight is model.embedding.weight
    assert fitted.best["valid_perplexity"] == min(row["valid_perplexity"] for row in fitted.history)
    assert fitted.final["perplexity"] == fitted.best["valid_perplexity"]
    assert evaluate(model, case.valid, "language_model", 6)["perplexity"] == fitted.best["valid_perplexity"]
    assert all(row["sparsity"] == pytest.approx(0.6, abs=0.01) for row in fitted.history)
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]
    ids = torch.randint(9, (5, 2))
    small, _ = compact(model, fitted.masks, example=(ids,))
    assert torch.allclose(small.eval()(ids)[0], model.eval()(ids)[0], atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_it_resumes_to_the_same_bits(name, cases, run_whole, run_in_pieces):
    case = dataclasses.replace(cases["language_model"], network=lambda: build(name))
    settings = RECIPE | {"method": STRNN(0.6, every=8)}
    assert run_in_pieces(case, [3, 9, 20], **settings) == run_whole(case, **settings)
