"""What a run folder says of the network that is left: units and words, gradients by lag, settled memories."""

import json

import pytest
import torch

from sparsernn.data.splits import TextSplit
from sparsernn.data.task import Batch, Loaded
from sparsernn.experiments import scoring
from sparsernn.experiments.execution import run
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.models.language_model import LanguageModel
from sparsernn.structure.masks import Masks
from sparsernn.training.objectives import IGNORED

WORDS = "a b c d e".split()


def text(steps=20, length=6000):
    ids = torch.randint(len(WORDS), (length,), generator=torch.Generator().manual_seed(0))
    split = TextSplit(ids.numpy(), steps)
    return Loaded.of_text([split] * 3, WORDS, metric="perplexity", note="")


def test_a_text_is_read_on_and_its_last_step_alone_is_scored():
    batch = scoring.at_the_end(text())
    assert len(batch.inputs) == scoring.STEPS and batch.inputs.shape == batch.targets.shape
    assert (batch.targets[:-1] == IGNORED).all() and (batch.targets[-1] != IGNORED).all()
    # A stream goes on where the batch before it ended.
    assert torch.equal(batch.inputs[20], next(iter(text().test.batches(scoring.SEQUENCES))).targets[-1])


def test_files_name_words_units_and_kinds(tmp_path):
    torch.manual_seed(0)
    model, loaded = LanguageModel(len(WORDS), units=4, layers=2), text()
    masks = Masks({"embedding.weight": torch.ones(5, 4, dtype=torch.bool)})
    masks.kept["embedding.weight"][3] = False
    batch = Batch(torch.zeros(4, 2, dtype=torch.long), torch.zeros(4, 2, dtype=torch.long))
    living = scoring.write_remains(tmp_path, loaded, model, masks, batch)
    assert json.loads((tmp_path / "structure.json").read_text()) == living
    (words,) = living["words"]
    assert words["alive"] == 4 and {entry["word"] for entry in words["largest"]} == set("abce")
    scoring.write_lags(tmp_path, loaded, model, living)
    layers = json.loads((tmp_path / "lags.json").read_text())["layers"]
    assert list(layers) == ["cells.0", "cells.1"]
    for layer in layers.values():
        assert (
            layer["units"] == {"all": 4, "input, forget, candidate, output": 4} and len(layer["all"]) == scoring.STEPS
        )
        assert layer["kinds"]["input, forget, candidate, output"] == pytest.approx(layer["all"])
        assert layer["all"][0] > layer["all"][20] > 0


def test_a_row_leaves_them_with_the_figures_of_its_compaction(tmp_path):
    sets = ("settings.epochs=1", "model.units=8", "model.cell=lstm", "measure.latency_batches=[]", "measure.lags=true")
    assignments = (*sets, "measure.vanilla_units=true")
    request = Request(
        "quickstart", size="quick", out=tmp_path / "a", assignments=assignments, progress=False, rows=("neurons",)
    )
    outcome = run(Jobs(Experiment.of(request)))
    metrics, folder = outcome.results[0]["metrics"], outcome.run_folders[0]
    (layer,) = json.loads((folder / "structure.json").read_text())["layers"]
    assert [sum(layer["alive"])] == metrics["neurons"]
    varying = 0
    for values in layer["constant"].values():
        varying += sum(lives and value is None for lives, value in zip(layer["alive"], values, strict=True))
    assert [varying] == metrics["gates"]
    assert (folder / "lags.json").is_file() and metrics["vanilla_units"] == 0 == metrics["vanilla_difference"]
