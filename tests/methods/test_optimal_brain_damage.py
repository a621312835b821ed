"""Optimal brain damage: the saliency written out, what goes first, and a trained network that is cut at once."""

import pytest
import torch

from sparsernn import Sparsifier, sparsify
from sparsernn.errors import UserError
from sparsernn.methods.optimal_brain_damage import OptimalBrainDamage
from tests.methods.networks import INPUTS, loss_of, network

STEPS = 20


def squares_of(model, seed, names):
    model.zero_grad()
    loss_of(model, seed).backward()
    return {name: model.get_parameter(name).grad.double().square() for name in names}


def kept_by_hand(weights, means, count):
    """The places of the `count` largest w^2 mean(g^2), all tensors in one ranking."""
    saliency = {name: weights[name].double().square() * mean for name, mean in means.items()}
    least = torch.cat([one.flatten() for one in saliency.values()]).sort(descending=True).values[count - 1]
    return {name: one >= least for name, one in saliency.items()}


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_what_is_left_has_the_largest_saliency(memory):
    model, twin = network(), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    method = OptimalBrainDamage(0.6, start=0.3, stop=0.3, schedule="one_shot", memory=memory)
    sparsifier = Sparsifier(model, method, optimizer, steps=STEPS)
    names = sorted(sparsifier.masks.selected)
    means = {name: torch.zeros_like(twin.get_parameter(name), dtype=torch.float64) for name in names}
    for step in range(6):
        for name, square in squares_of(twin, step, names).items():
            means[name] = memory * means[name] + (1 - memory) * square
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        assert sparsifier.settled == (step == 5)
    weights = {name: twin.get_parameter(name).detach() for name in names}
    count = round(0.4 * sum(weight.numel() for weight in weights.values()))
    for name, kept in kept_by_hand(weights, means, count).items():
        assert torch.equal(sparsifier.masks.kept[name], kept), name


def test_a_trained_network_is_cut_by_one_batch():
    model, twin = network(), network()
    masks = sparsify(model, OptimalBrainDamage(0.5), loss=lambda: loss_of(model, 3))
    names = sorted(masks.selected)
    weights = {name: twin.get_parameter(name).detach() for name in names}
    count = round(0.5 * sum(weight.numel() for weight in weights.values()))
    for name, kept in kept_by_hand(weights, squares_of(twin, 3, names), count).items():
        assert torch.equal(masks.kept[name], kept), name
    with pytest.raises(UserError, match="there is no loss"):
        sparsify(network(), OptimalBrainDamage(0.5))


def test_large_weights_of_an_input_that_is_always_zero_go_first():
    model = network()
    with torch.no_grad():
        model.rnn.weight_ih_l0[:, 0] = 100.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    sparsifier = Sparsifier(model, OptimalBrainDamage(0.2, start=0.1, stop=0.5, every=1), optimizer, steps=STEPS)
    for step in range(STEPS):
        inputs = torch.randn(6, 5, INPUTS, generator=torch.Generator().manual_seed(step))
        inputs[..., 0] = 0.0
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()
    kept = sparsifier.finalize().kept["rnn.weight_ih_l0"]
    assert not kept[:, 0].any() and kept[:, 1:].float().mean() > 0.7


@pytest.mark.parametrize("options", [{"memory": 1.5}, {"start": 0.8}, {"every": 0}, {"scope": "here"}])
def test_bad_options_are_refused(options):
    with pytest.raises(UserError):
        OptimalBrainDamage(0.5, **options)
