"""A rising threshold against algorithm 1 of Narang et al. 2017, written out."""

import pytest
import torch

from sparsernn import Sparsifier, sparsify
from sparsernn.errors import UserError
from sparsernn.methods.gradual_thresholds import GradualThresholds
from tests.methods.networks import network

STEPS, EVERY = 100, 4


def threshold(step, q, first=5, ramp=25, last=50, steeper=1.5):
    """The paper's epsilon after a step."""
    theta = 2 * q * EVERY / (2 * (ramp - first) + 3 * (last - ramp))
    if step < ramp:
        return theta * (step - first + 1) / EVERY
    return (theta * (ramp - first + 1) + steeper * theta * (step - ramp + 1)) / EVERY


def test_what_is_left_is_what_the_threshold_leaves_at_every_step():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    sparsifier = Sparsifier(model, GradualThresholds(size=0.2, every=EVERY), optimizer, steps=STEPS)
    weight, expected = model.rnn.weight_hh_l0, torch.ones_like(model.rnn.weight_hh_l0, dtype=torch.bool)
    before = weight.detach().clone()
    for step in range(1, 61):
        model.zero_grad()
        sum(parameter.sum() for parameter in model.parameters()).backward()
        optimizer.step()
        if 5 <= step <= 50 and ((step - 5) % EVERY == 0 or step == 50):
            expected &= before.abs() >= threshold(step, 0.2)
        assert torch.equal(sparsifier.masks.kept["rnn.weight_hh_l0"], expected), step
    assert 0.1 < float(expected.float().mean()) < 0.9
    assert sparsifier.settled


def test_a_trained_network_is_cut_at_the_quantile():
    model = network()
    masks = sparsify(model, GradualThresholds(quantile=0.75))
    for name in masks.selected:
        assert abs(masks.per_tensor()[name] - 0.75) < 0.02


@pytest.mark.parametrize(
    "options", [{"quantile": 1.5}, {"size": 0.0}, {"start": 0.6}, {"ramp": 0.7}, {"steeper": -1.0}, {"every": 0}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(UserError):
        GradualThresholds(**options)
