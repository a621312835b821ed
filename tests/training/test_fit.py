"""What `fit` keeps, stops at, writes and shows."""

from __future__ import annotations

import csv
import io
import math
import os
import pty
import sys

import pytest
import torch
from torch import nn

from sparsernn.denormals import is_flushing_denormal, set_flush_denormal
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.training.objectives import evaluate
from sparsernn.training.run_folder import RunFolder
from sparsernn.training.steps import Diverged


@pytest.mark.parametrize("objective", ["classification", "tagging", "forecasting", "language_model"])
def test_training_lowers_the_loss(objective, cases):
    _, fitted = cases[objective].fit(epochs=6)
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3, 4, 5, 6]


def test_the_best_epoch_is_kept(classification):
    model, fitted = classification.fit(epochs=10, learning_rate=0.5, optimizer="sgd")
    assert fitted.best["valid_accuracy"] == max(row["valid_accuracy"] for row in fitted.history)
    assert fitted.best is not fitted.history[-1]
    figures = evaluate(model, classification.valid, "classification", 20)
    assert figures["accuracy"] == fitted.best["valid_accuracy"] == fitted.final["accuracy"]


def test_the_last_epoch_is_kept_when_asked_for_or_without_validation(classification):
    model, fitted = classification.fit(epochs=4, learning_rate=0.5, keep="last")
    assert fitted.best is None and fitted.final["loss"] == fitted.history[-1]["valid_loss"]
    other, unvalidated = classification.fit(epochs=4, learning_rate=0.5, valid=None)
    assert unvalidated.best is None and unvalidated.final == {}
    assert all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))


def test_an_epoch_before_the_target_is_never_kept(classification):
    model, fitted = classification.fit(epochs=6, method=Magnitude(0.5, start=0.0, stop=0.75))
    settled = [row["settled"] for row in fitted.history]
    assert settled == sorted(settled) and not settled[0] and settled[-1]
    assert fitted.best["settled"] and fitted.best["sparsity"] == fitted.masks.sparsity() == pytest.approx(0.5, abs=0.01)
    for name, kept in fitted.masks.kept.items():
        assert not model.get_parameter(name)[~kept].any()


def test_patience_stops_early(classification):
    _, fitted = classification.fit(epochs=40, patience=3, learning_rate=0.3)
    best = fitted.history.index(fitted.best)
    assert len(fitted.history) == best + 4 < 40


def test_a_second_call_goes_on_from_the_weights(classification):
    model, dense = classification.fit(epochs=8)
    _, sparse = classification.fit(
        epochs=2, model=model, method=Magnitude(0.3, start=0.0, stop=0.0), learning_rate=0.001
    )
    assert sparse.history[0]["train_loss"] < dense.history[0]["train_loss"]
    assert dense.masks.kept == {} and sparse.masks.sparsity() == pytest.approx(0.3, abs=0.02)


def test_clipping_limits_what_a_step_moves(classification):
    still, _ = classification.fit(epochs=1, optimizer="sgd", clip=1e-9)
    start = classification.model()
    assert all(torch.allclose(a, b, atol=1e-8) for a, b in zip(still.parameters(), start.parameters(), strict=True))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        with pytest.raises(Diverged, match="is not finite|The loss is (nan|inf)") as caught:
            classification.fit(run=folder, optimizer="sgd", learning_rate=1e38, checkpoint_seconds=0.0)
        assert isinstance(caught.value, UserError) and "learning_rate" in str(caught.value)
        assert not folder.is_finished
        for checkpoint in folder.checkpoints():
            assert all(weight.isfinite().all() for weight in checkpoint.state["model"].values())


def test_a_bad_example_in_the_middle_stops_at_its_step(classification, tmp_path):
    inputs = classification.train.inputs.clone()
    inputs[-1] = math.nan
    poisoned = type(classification.train)(inputs, classification.train.targets)
    with RunFolder.create(tmp_path / "run", {}) as folder, pytest.raises(Diverged, match="The loss is nan at step"):
        classification.fit(train=poisoned, run=folder, checkpoint_seconds=0.0)


def test_rows_are_written_as_json_and_csv(classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        _, fitted = classification.fit(run=folder, loggers=("csv",))
        assert folder.metrics == fitted.history
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert [float(row["valid_loss"]) for row in rows] == [row["valid_loss"] for row in fitted.history]


def test_tensorboard_files_hold_every_epoch(classification, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunFolder.create(tmp_path / "run", {}) as folder:
        _, fitted = classification.fit(run=folder, loggers=("tensorboard",))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    scalars = events.Scalars("valid/loss")
    assert [scalar.step for scalar in scalars] == [1, 2, 3]
    assert [scalar.value for scalar in scalars] == pytest.approx([row["valid_loss"] for row in fitted.history])


def test_an_unknown_logger_is_answered_with_the_nearest(classification):
    with pytest.raises(UserError, match="Write 'tensorboard', the nearest"):
        classification.fit(loggers=("tensorbord",))


def test_elsewhere_than_on_a_terminal_each_epoch_is_a_plain_line(classification, capsys):
    classification.fit(progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(
        word in lines[2] for word in ("epoch 3/3", "loss", "valid accuracy", "sparsity", "s left")
    )
    classification.fit(progress=False)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_progress_is_a_bar(classification, monkeypatch):
    reader, writer = pty.openpty()
    with io.TextIOWrapper(os.fdopen(writer, "wb", buffering=0), write_through=True) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        classification.fit(progress=True)
        monkeypatch.undo()
    shown = os.read(reader, 100_000).decode()
    os.close(reader)
    assert "loss" in shown and "%" in shown


def test_denormals_are_flushed_while_training_only(classification, tmp_path):
    can_flush = set_flush_denormal(False)
    with RunFolder.create(tmp_path / "run", {}) as folder:
        classification.fit(run=folder)
        assert folder.environment["flush_denormal"] is can_flush
    assert not is_flushing_denormal()


def test_a_split_without_batches_is_refused(classification):
    empty = type(classification.train)(torch.zeros(0, 5, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(UserError, match="no batches"):
        classification.fit(train=empty)


def test_low_precision_leaves_a_plain_float32_model(classification):
    model, fitted = classification.fit(precision="bfloat16", device="cpu")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert "forward" not in vars(model) and fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]
    assert isinstance(model, nn.Module) and model(classification.train.inputs).dtype == torch.float32
