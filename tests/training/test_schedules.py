"""Schedules against their closed forms and torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from sparsernn.training.settings import Settings
from sparsernn.training.steps import epochs_without_improvement, rate_factor


@pytest.mark.parametrize("epoch", range(1, 15))
def test_step_decays_in_every_epoch_after_one(epoch):
    settings = Settings(schedule="step", decay=0.6, decay_after=4)
    assert rate_factor(settings, epoch, 0.5, []) == 0.6 ** max(0, epoch - 4)


@pytest.mark.parametrize("epoch", range(1, 60))
def test_step_decays_every_so_many_epochs(epoch):
    settings = Settings(schedule="step", decay=0.1, decay_after=18, decay_every=18)
    assert rate_factor(settings, epoch, 0.5, []) == 0.1 ** ((epoch - 1) // 18)


def test_plateau_divides_at_each_failure_to_improve():
    settings = Settings(schedule="plateau", decay=1 / 1.33)
    losses = [5.0, 4.0, 4.5, 4.0, 3.0, 3.5]
    factors = [rate_factor(settings, n + 1, 0.0, losses[:n]) for n in range(7)]
    assert factors == [1, 1, 1, 1 / 1.33, (1 / 1.33) ** 2, (1 / 1.33) ** 2, (1 / 1.33) ** 3]


def test_plateau_agrees_with_torch_where_the_best_is_what_counts():
    losses = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0, eps=0)
    for count, loss in enumerate(losses, start=1):
        theirs.step(loss)
        assert optimizer.param_groups[0]["lr"] == 0.5 ** epochs_without_improvement(losses[:count])


def test_a_loss_that_is_no_number_is_no_improvement():
    assert epochs_without_improvement([float("nan"), 1.0, float("nan")]) == 2


def test_cosine_agrees_with_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        ours = rate_factor(Settings(schedule="cosine"), 1, step / 20, [])
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_constant_stays():
    assert {rate_factor(Settings(), epoch, epoch / 9, [1.0] * epoch) for epoch in range(9)} == {1.0}


def test_training_follows_the_schedule(classification):
    _, fitted = classification.fit(epochs=4, schedule="step", decay=0.5, decay_after=2, learning_rate=0.1)
    assert [row["learning_rate"] for row in fitted.history] == [0.1, 0.1, 0.05, 0.025]


def test_training_follows_validation(classification):
    _, fitted = classification.fit(epochs=6, schedule="plateau", decay=0.5, learning_rate=0.4)
    losses = [row["valid_loss"] for row in fitted.history]
    expected = [0.4 * 0.5 ** epochs_without_improvement(losses[:count]) for count in range(6)]
    assert [row["learning_rate"] for row in fitted.history] == expected
    assert expected[-1] < 0.4
