"""The recipes after Zhang & Stadie 2020: counts of the paper, and gates that change places."""

import dataclasses
import json

import pytest
import torch

from sparsernn import Sparsifier, folders
from sparsernn.errors import UserError
from sparsernn.experiments.execution import run
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.sources.exchange import Exchange, GateExchange
from sparsernn.experiments.sources.start import Start
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.snip import SNIP
from sparsernn.models.classifier import Classifier
from sparsernn.recipes.papers import zhang2020_digits as digits
from sparsernn.recipes.zhang2020_table2 import SMALL_UNITS

COUNTS = {"rnn": 171_200, "lstm": 684_800, "peephole_lstm": 1_324_800, "gru": 513_600}
INPUTS, CLASSES = 28, 10


def built(row):
    return Classifier(INPUTS, CLASSES, **row.options)


@pytest.mark.parametrize("cell", COUNTS)
def test_the_kernel_has_the_published_number_of_weights(cell):
    model = built(digits.row("dense", "full", None, cell=cell))
    run = Sparsifier(model, digits.random())
    assert sum(kept.numel() for kept in run.masks.kept.values()) == COUNTS[cell]
    assert sum(int(kept.sum()) for kept in run.masks.kept.values()) == COUNTS[cell] // 20


@pytest.mark.parametrize("units", SMALL_UNITS)
def test_small_dense_networks_have_as_many_weights(units):
    def weights(units):
        return 3 * units * (units + INPUTS)

    assert weights(SMALL_UNITS[units]) <= weights(units) / 20 < weights(SMALL_UNITS[units] + 1)


def test_settings_of_the_paper():
    row = digits.row("jacobian", "full", digits.jacobian(), error=3.09)
    assert row.task.division == "one_shot" and row.task.scale == 2550
    settings = row.settings
    assert (settings.optimizer, settings.learning_rate, settings.batch_size, settings.epochs) == ("adam", 1e-3, 64, 50)
    assert row.published == {"accuracy": 0.9691}
    lstm = built(digits.row("dense", "full", None, cell="lstm"))
    assert bool((lstm.cell.bias_ih_l0[400:800] == 1).all()) and int((lstm.cell.bias_ih_l0 != 0).sum()) == 400


def test_gates_exchange_weights_and_masks():
    def begun(method):
        torch.manual_seed(0)
        model = Classifier(3, 2, units=6, cell_options={"reset": "before"})
        x = torch.randn(5, 4, 3)
        return model, Sparsifier(model, method, loss=lambda: model(x).square().sum())

    plain, first = begun(SNIP(0.5))
    swapped, second = begun(GateExchange(SNIP(0.5), ("update", "candidate")))
    for name in first.masks.kept:
        for ours, theirs in (
            (plain.get_parameter(name), swapped.get_parameter(name)),
            (first.masks.kept[name], second.masks.kept[name]),
        ):
            reset, update, candidate = ours.chunk(3)
            assert torch.equal(theirs, torch.cat([reset, candidate, update]))
    with pytest.raises(UserError, match="no layer has the gates"):
        begun(GateExchange(RandomPruning(0.5), ("update", "forget")))


def test_a_row_that_exchanges_gates_needs_a_method_and_two_gates():
    row = digits.row("jacobian", "quick", digits.jacobian())
    exchange = Exchange(("update", "candidate"))
    with pytest.raises(UserError, match="exchanges the gates update and candidate, but has no method"):
        dataclasses.replace(row, method=None, sources=(exchange,))
    with pytest.raises(UserError, match="takes its first weights from start and exchange"):
        dataclasses.replace(row, sources=(Start("dense"), exchange))
    with pytest.raises(UserError, match="Expected two gates"):
        Exchange(("update",))


def test_a_quick_run_writes_spectra_and_connections(tmp_path):
    found = []
    for recipe, rows in (("zhang2020_wiring", ["jacobian_swapped"]), ("zhang2020_table2", ["l2_100"])):
        request = Request(recipe, size="quick", rows=rows, out=tmp_path / recipe, progress=False)
        outcome = run(Jobs(Experiment.of(request)))
        found += zip(outcome.run_folders, outcome.results, strict=True)
    for folder, result in found:
        found = json.loads((folder / "spectra.json").read_text())
        kept = {
            when: sum(entry["kept"] for side in layer.values() for entry in side.values())
            for when in ("start", "trained")
            for layer in found[when]["connections"].values()
        }
        assert kept["trained"] == round(0.05 * 3 * 8 * 16)
        assert kept["start"] == (3 * 8 * 16 if result["row"] == "l2_100" else kept["trained"])
        assert len(found["start"]["spectra"]["cell"]["singular_values"]) == 4 * 4 * 8


@pytest.mark.parametrize("name", [name for name in folders.names("recipes") if name.startswith("zhang2020")])
def test_rows_have_distinct_names_at_every_size(name):
    for size in ("full", "cpu", "quick"):
        assert folders.find("recipes", name).at(size)
