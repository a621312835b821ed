"""ST-RNN: exact counts, the falling rate, and what comes back keeps its value."""

import math

import pytest
import torch

from sparsernn.methods.parts.schedules import DECAYS
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.st_rnn import STRNN
from tests.methods.networks import start, steps_of, train


def test_counts_are_exact_and_constant():
    model, optimizer, sparsifier = start(STRNN(0.67, every=1), steps=51)
    expected = {name: round(0.33 * kept.numel()) for name, kept in sparsifier.masks.kept.items()}
    for _ in steps_of(sparsifier, 51):
        assert {name: int(kept.sum()) for name, kept in sparsifier.masks.kept.items()} == expected
    assert len(sparsifier.events) == 51


def test_an_event_drops_the_weakest_and_what_comes_back_keeps_its_value():
    """With a learning rate of 0 weights move at events alone, so an event is seen whole."""
    model, optimizer, sparsifier = start(STRNN(0.3, every=1, rate=0.4, floor=0.4), steps=6, rate=0.0)
    came_back = 0
    train(sparsifier, 1)
    for _ in range(5):
        old = sparsifier.masks.state_dict()
        weights = {name: model.get_parameter(name).detach().clone() for name in old}
        train(sparsifier, 1)
        for name, was in old.items():
            number = math.ceil(0.4 * int(was.sum()))
            now, after = sparsifier.masks.kept[name], model.get_parameter(name).detach()
            threshold = weights[name][was].abs().sort().values[number - 1]
            weakest = was & (weights[name].abs() <= threshold)
            if int(weakest.sum()) == number:
                assert not bool((was & ~now & ~weakest).any())
                came_back += int((weakest & now).sum())
            assert torch.equal(after[was & now], weights[name][was & now])
            assert not bool(after[now & ~was].any())
    assert came_back > 0


def test_the_rate_falls_along_a_cosine_to_its_floor():
    model, optimizer, sparsifier = start(STRNN(0.5, every=10, rate=0.8, floor=0.005), steps=100)
    method = sparsifier.method
    for step in (0, 10, 50, 90, 100):
        assert method.rate_at(sparsifier, step) == pytest.approx(
            0.005 + 0.795 * (1 + math.cos(math.pi * step / 100)) / 2
        )
    assert DECAYS["linear"](25, 100, 0.8, 0.0) == pytest.approx(0.6)
    assert DECAYS["constant"](99, 100, 0.8, 0.0) == 0.8


def test_an_interval_can_be_a_fraction_of_training():
    model, optimizer, sparsifier = start(STRNN(0.5, every=0.25), steps=20)
    train(sparsifier, 20)
    assert [event["step"] for event in sparsifier.events] == [0, 6, 11, 16]


def test_growth_follows_the_seed():
    masks = []
    for seed in (1, 1, 2):
        model, optimizer, sparsifier = start(STRNN(0.5, every=2), steps=6, seed=seed)
        train(sparsifier, 6)
        masks.append(torch.cat([kept.flatten() for kept in sparsifier.masks.kept.values()]))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("granularity", ["weight", "gate", "neuron", "16x1"])
def test_random_pruning_follows_the_seed(granularity):
    masks = []
    for seed in (1, 1, 2):
        model, optimizer, sparsifier = start(RandomPruning(0.5, granularity), steps=6, seed=seed)
        masks.append(torch.cat([kept.flatten() for kept in sparsifier.masks.kept.values()]))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_random_pruning_counts_exactly(scope):
    model, optimizer, sparsifier = start(RandomPruning(0.9, scope=scope), steps=6)
    kept = torch.cat([kept.flatten() for kept in sparsifier.masks.kept.values()])
    assert int(kept.sum()) == round(0.1 * kept.numel())
