"""A run that was stopped and resumed leaves the same bits as one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsernn.errors import UserError
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.rigl import RigL
from sparsernn.training.optimizers import optimizer_names
from sparsernn.training.run_folder import RunFolder

OBJECTIVES = ("classification", "tagging", "forecasting", "language_model")


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam", "clip": 1.0, "schedule": "cosine"},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "schedule": "plateau", "keep": "last"},
    ],
    ids=["adam", "sgd"],
)
def test_every_objective_resumes_to_the_same_bits(objective, settings, cases, run_whole, run_in_pieces):
    case = cases[objective]
    assert run_in_pieces(case, [2, 5, 7], **settings) == run_whole(case, **settings)


@pytest.mark.parametrize("optimizer", [name for name in optimizer_names() if name != "muon"])
def test_every_optimizer_resumes_to_the_same_bits(optimizer, classification, run_whole, run_in_pieces):
    assert run_in_pieces(classification, [4, 9], optimizer=optimizer) == run_whole(classification, optimizer=optimizer)


@pytest.mark.parametrize(
    "method",
    [
        Magnitude(0.5),
        Magnitude(0.4, granularity="neuron", rewind=0.2),
        RigL(0.6, every=3),
        GroupLasso(0.02),
    ],
    ids=lambda method: type(method).__name__,
)
@pytest.mark.parametrize("objective", ["classification", "language_model"])
def test_methods_resume_to_the_same_bits(objective, method, cases, run_whole, run_in_pieces):
    whole = run_whole(cases[objective], method=method, epochs=4)
    assert run_in_pieces(cases[objective], [1, 4, 8, 6], method=method, epochs=4) == whole


@pytest.mark.parametrize("objective", ["classification", "language_model"])
def test_a_training_in_low_precision_resumes_to_the_same_bits(objective, cases, run_whole, run_in_pieces):
    """States are carried on in the type in which they were computed."""
    settings = {"epochs": 3, "precision": "bfloat16", "device": "cpu"}
    assert run_in_pieces(cases[objective], [1, 4, 6], **settings) == run_whole(cases[objective], **settings)


def test_early_stopping_resumes_to_the_same_bits(classification, run_whole, run_in_pieces):
    settings = {"epochs": 12, "patience": 2, "learning_rate": 0.3}
    whole = run_whole(classification, **settings)
    assert len(whole.metrics) < 12
    assert run_in_pieces(classification, [7, 7, 3], **settings) == whole


def test_a_finished_run_can_be_resumed_again(classification, run_in_pieces, run_whole):
    whole = run_whole(classification)
    steps = 3 * classification.train.number_of_batches(8)
    assert steps == 18
    assert run_in_pieces(classification, [8, 8]) == whole


def test_a_run_killed_before_its_first_checkpoint_starts_again(classification, tmp_path, run_whole):
    whole = run_whole(classification)
    with RunFolder.create(tmp_path / "new", {}) as folder:
        folder.append_metrics({"epoch": 1, "left": "over"})
        classification.fit(run=folder, resume=True)
        assert [row["epoch"] for row in folder.metrics] == [1, 2, 3]
        assert (tmp_path / "new" / "weights.safetensors").read_bytes() == whole.weights


def test_the_generator_of_the_process_does_not_matter(classification, run_whole, tmp_path):
    whole = run_whole(classification)
    torch.rand(1000)
    with RunFolder.create(tmp_path / "again", {}) as folder:
        classification.fit(run=folder)
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == whole.weights


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 0.5}, "settings.learning_rate: 0.02, now 0.5"),
        ({"batch_size": 4}, "settings.batch_size"),
        ({"optimizer": "sgd"}, "settings.optimizer"),
    ],
)
def test_other_settings_are_refused_by_name(change, named, classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        classification.fit(run=folder)
        with pytest.raises(UserError, match="another training") as caught:
            classification.fit(run=folder, resume=True, **change)
    assert named in str(caught.value)


def test_another_recipe_is_refused_by_name(tmp_path):
    RunFolder.create(tmp_path / "run", {"row": {"units": 4, "task": "digits"}, "seed": 1}).close()
    with pytest.raises(UserError) as caught:
        RunFolder.create(
            tmp_path / "run", {"row": {"units": 5, "task": "digits"}, "extra": None, "seed": 1}, resume=True
        )
    assert "row.units: 4, now 5" in str(caught.value) and "extra: absent, now null" in str(caught.value)
    assert "task" not in str(caught.value)
    RunFolder.open(tmp_path / "run", {"row": {"units": 4, "task": "digits"}, "seed": 1}).close()


@pytest.mark.parametrize("code", ["sparsernn", "torch"])
def test_another_version_of_the_code_is_refused_by_name(code, classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        classification.fit(run=folder)
        folder.write_environment(folder.environment | {code: "0.0"})
        with pytest.raises(UserError, match=rf"other conditions: {code}: 0\.0, now"):
            classification.fit(run=folder, resume=True)


def test_another_treatment_of_denormals_is_refused(classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        classification.fit(run=folder)
        folder.write_environment(folder.environment | {"flush_denormal": not folder.environment["flush_denormal"]})
        with pytest.raises(UserError, match="other conditions: flush_denormal"):
            classification.fit(run=folder, resume=True)


def test_another_machine_is_warned_about(classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        classification.fit(run=folder)
        folder.write_environment(folder.environment | {"processor": "abacus"})
        with pytest.warns(UserWarning, match="processor: abacus, now"):
            classification.fit(run=folder, resume=True)


def test_whole_numbers_serve_as_learning_rates(classification, run_whole, run_in_pieces):
    settings = {"optimizer": "sgd", "learning_rate": 1, "clip": 1, "checkpoint_seconds": 0}
    whole = run_whole(classification, **settings)
    del settings["checkpoint_seconds"]
    assert run_in_pieces(classification, [5, 6], **settings) == whole


def test_resume_needs_a_run(classification, tmp_path: Path):
    with pytest.raises(UserError, match="no run to resume"):
        classification.fit(resume=True)
    with pytest.raises(UserError, match="holds no run"):
        RunFolder.open(tmp_path)
