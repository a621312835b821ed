"""AdamW with an average of its weights, warm-up, passes, and which epoch is kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.training.averaged_adamw import AveragedAdamW
from sparsernn.training.settings import Settings
from sparsernn.training.steps import rate_factor


def step(optimizer, weight, number):
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    optimizer.step()


def test_it_trains_as_adamw_and_shows_the_average():
    ours, theirs = (nn.Parameter(torch.ones(4, 3)) for _ in range(2))
    optimizer = AveragedAdamW([ours], lr=0.1, weight_decay=0.01, average=0.8)
    reference, average = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.01), torch.zeros(4, 3)
    for number in range(1, 12):
        step(optimizer, ours, number), step(reference, theirs, number)
        average += max(0.2, 1 / number) * (theirs.detach() - average)
        assert torch.equal(ours, theirs)
    optimizer.eval()
    torch.testing.assert_close(ours.detach(), average)
    with pytest.raises(UserError, match="stands at its averages"):
        optimizer.step()
    optimizer.train()
    assert torch.equal(ours, theirs)


def test_its_state_goes_into_a_checkpoint_and_back():
    weight = nn.Parameter(torch.ones(3))
    optimizer = AveragedAdamW([weight], lr=0.1)
    for number in range(5):
        step(optimizer, weight, number)
    other = nn.Parameter(weight.detach().clone())
    restored = AveragedAdamW([other], lr=0.1)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(optimizer, weight, 9), step(restored, other, 9)
    optimizer.eval(), restored.eval()
    assert torch.equal(weight, other)


@pytest.mark.parametrize("average", [1.0, -0.1, True, "much"])
def test_an_average_out_of_range_is_refused(average):
    with pytest.raises(UserError, match="average is"):
        AveragedAdamW([nn.Parameter(torch.ones(2))], average=average)


def test_absent_weights_stay_absent_in_the_average(classification):
    model, fitted = classification.fit(
        method=Magnitude(0.5), optimizer="averaged_adamw", learning_rate=0.01, epochs=6, momentum=0.0
    )
    for name, kept in fitted.masks.kept.items():
        assert (model.get_parameter(name)[~kept] == 0).all() and (~kept).any()


def test_the_rate_rises_while_warming_up():
    settings = Settings(warm_up=0.25)
    assert [rate_factor(settings, 1, done, []) for done in (0, 0.1, 0.25, 1)] == [0, 0.4, 1, 1]
    cosine = Settings(schedule="cosine", warm_up=0.5)
    assert rate_factor(cosine, 1, 0.25, []) == pytest.approx(
        0.5 * rate_factor(Settings(schedule="cosine"), 1, 0.25, [])
    )


def test_passes_make_an_epoch_longer_and_shuffle_anew(classification):
    _, once = classification.fit(epochs=6)
    _, thrice = classification.fit(epochs=2, passes=3)
    assert thrice.history[-1]["step"] == once.history[-1]["step"]
    losses = [row["train_loss"] for row in once.history]
    assert thrice.history[0]["train_loss"] == pytest.approx(sum(losses[:3]) / 3)


def test_a_text_in_order_is_passed_once(cases):
    with pytest.raises(UserError, match="2 passes an epoch"):
        cases["language_model"].fit(epochs=1, passes=2)


def test_the_epoch_of_the_lowest_loss_can_be_kept(classification):
    _, fitted = classification.fit(epochs=8, learning_rate=0.3, keep="lowest_loss")
    losses = [row["valid_loss"] for row in fitted.history]
    assert fitted.best is fitted.history[losses.index(min(losses))]
    assert fitted.final["loss"] == pytest.approx(min(losses))
