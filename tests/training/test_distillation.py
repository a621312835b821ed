"""A network that learns from another one's outputs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional

from sparsernn.errors import UserError
from sparsernn.experiments.sources.teacher import Distillation
from sparsernn.training.loop import fit
from sparsernn.training.objectives import OBJECTIVES, evaluate
from sparsernn.training.settings import Settings

KINDS = tuple(name for name in OBJECTIVES if name != "regression")  # the loss of a forecast


def taught(case, share, temperature=2.0):
    return Distillation(OBJECTIVES[case.objective], case.model(), share, temperature)


def first(case):
    return next(case.train.batches(8))


@pytest.mark.parametrize("kind", KINDS)
def test_no_share_is_the_objective_itself_and_evaluation_never_hears_the_teacher(cases, kind):
    case = cases[kind]
    model = case.model()
    own = OBJECTIVES[case.objective].loss(model, first(case))[0]
    assert taught(case, 0.0).loss(model, first(case))[0].item() == pytest.approx(own.item(), rel=1e-6)
    assert evaluate(model, case.valid, taught(case, 1.0), 8) == evaluate(model, case.valid, case.objective, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_one_s_own_teacher_has_nothing_to_say(cases, kind):
    case = cases[kind]
    model = case.model().eval()
    lesson = Distillation(OBJECTIVES[case.objective], model, 1.0)
    loss, *_ = lesson.loss(model, first(case))
    loss.backward()
    assert abs(loss.item()) < 1e-6
    assert all(p.grad is None or p.grad.abs().max() < 1e-6 for p in model.parameters())
    assert all(p.grad is None and not p.requires_grad for p in lesson.teacher.parameters())


def test_the_difference_is_the_divergence_of_softened_distributions(cases):
    case = cases["classification"]
    chance = torch.Generator().manual_seed(1)
    ours, theirs = torch.randn(8, 3, generator=chance), torch.randn(8, 3, generator=chance)
    p, q = (functional.softmax(out / 3.0, -1) for out in (theirs, ours))
    by_hand = 9.0 * (p * (p / q).log()).sum(-1).mean()
    found = taught(case, 1.0, 3.0).difference(ours, theirs, first(case))
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pupil_comes_near_its_teacher(cases, kind):
    case = cases[kind]
    model = case.model()
    torch.manual_seed(5)
    pupil = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in pupil.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    lesson = Distillation(OBJECTIVES[case.objective], model, 1.0)

    def apart():
        with torch.enable_grad():
            return lesson.loss(pupil, first(case))[0].item()

    before = apart()
    fit(pupil, case.train, case.valid, objective=lesson, progress=False, settings=Settings(
        epochs=8, batch_size=8, learning_rate=1e-2, loggers=()))  # fmt: skip
    assert apart() < 0.7 * before


@pytest.mark.parametrize(("share", "temperature"), [(-0.1, 1.0), (1.1, 1.0), (0.5, 0.0)])
def test_nonsense_is_refused(cases, share, temperature):
    with pytest.raises(UserError, match="share is|temperature is"):
        taught(cases["classification"], share, temperature)
