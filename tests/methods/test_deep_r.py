"""Deep R: signs are for good, what crosses zero goes dormant, the number of connections is constant."""

import math

import pytest
import torch

from sparsernn.methods.deep_r import DeepR
from tests.methods.networks import network, start, steps_of, train


def still(model, optimizer):
    """One step in which only the method moves weights."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


@pytest.mark.parametrize("sparsity", [0.6, 0.0])
def test_no_connection_ever_has_the_other_sign(sparsity):
    """Theta = sign |w| never leaves a step below 0 (algorithm 1, lines 4 to 6), not even the first."""
    sign = {name: weight.detach() >= 0 for name, weight in network().named_parameters()}
    model, optimizer, sparsifier = start(DeepR(sparsity), steps=30, rate=0.5)
    crossed = 0
    for step in steps_of(sparsifier, 30):
        assert sparsifier.events[-1]["step"] == step
        for name in sparsifier.masks.kept:
            weight = model.get_parameter(name).detach()
            assert not bool(((weight > 0) & ~sign[name]).any()) and not bool(((weight < 0) & sign[name]).any())
        crossed += sparsifier.events[-1]["died"]
        assert sparsifier.masks.sparsity() == sparsifier.events[0]["sparsity"]
    assert crossed > 0 or sparsity == 0


def test_only_what_crosses_zero_goes_dormant():
    model, optimizer, sparsifier = start(DeepR(0.6, strength=0.0, temperature=0.0), steps=4, rate=0.0)
    train(sparsifier, 1)
    was, flipped = sparsifier.masks.state_dict(), {}
    with torch.no_grad():
        for name, kept in was.items():
            flipped[name] = kept & (torch.arange(kept.numel()).view(kept.shape) % 7 == 0)
            model.get_parameter(name)[flipped[name]] *= -1
    train(sparsifier, 1, first=1)
    for name, kept in was.items():
        weight, now = model.get_parameter(name).detach(), sparsifier.masks.kept[name]
        assert not bool((kept & ~now & ~flipped[name]).any())
        assert not bool(weight[flipped[name]].any()) and not bool(weight[now & ~kept].any())
        assert int(now.sum()) == int(kept.sum())


def test_the_penalty_moves_all_weights_towards_zero_at_the_learning_rate():
    model, optimizer, sparsifier = start(DeepR(0.5, every=3, strength=0.02, temperature=0.0), steps=5, rate=0.1)
    before = {name: model.get_parameter(name).detach().clone() for name in sparsifier.masks.kept}
    still(model, optimizer)
    for name, kept in sparsifier.masks.kept.items():
        moved = model.get_parameter(name).detach() - before[name]
        assert torch.allclose(moved[kept], -0.1 * 0.02 * before[name][kept].sign(), atol=1e-7)
        assert not bool(moved[~kept].any())


def test_the_noise_has_the_temperature():
    model, optimizer, sparsifier = start(DeepR(0.1, every=3, strength=0.0, temperature=0.5), steps=5, rate=0.01)
    before = {name: model.get_parameter(name).detach().clone() for name in sparsifier.masks.kept}
    still(model, optimizer)
    moved = [(model.get_parameter(name) - old)[sparsifier.masks.kept[name]] for name, old in before.items()]
    assert torch.cat(moved).std().item() == pytest.approx(math.sqrt(2 * 0.01 * 0.5), rel=0.1)
