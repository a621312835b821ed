"""SET: the weakest of either sign are dropped, zeros too; the optimizer may be renewed."""

import math

import pytest
import torch
from torch import nn

from sparsernn import Sparsifier
from sparsernn.methods.parts.drops import farthest_by_sign
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from tests.methods.networks import start, train

TOY = torch.tensor([-5, -3, -0.2, -0.1, 0, 0, 0.05, 0.4, 2, 6])


def test_the_toy_vector_of_the_original():
    """Half of either sign, closest to zero: not the most negative ones."""
    stay = farthest_by_sign(TOY, TOY != 0, 0.5)
    assert TOY[stay].tolist() == [-5, -3, 2, 6]
    assert torch.equal(farthest_by_sign(TOY, torch.ones(10, dtype=torch.bool), 0.5), stay)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.3, 0.7, 1.0])
def test_the_rule_by_brute_force(rate):
    generator = torch.Generator().manual_seed(0)
    values, kept = torch.randn(40, generator=generator), torch.rand(40, generator=generator) < 0.6
    expected = set()
    for sign in (1, -1):
        places = [place for place in range(40) if kept[place] and values[place] * sign > 0]
        places.sort(key=lambda place: abs(values[place].item()))
        expected |= set(places[math.ceil(rate * len(places)) :])
    assert set(farthest_by_sign(values, kept, rate).nonzero().flatten().tolist()) == expected


def test_an_event_of_the_toy_vector():
    layer = nn.RNN(10, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    method = SparseEvolutionaryTraining(0.2, distribution="uniform", every=1, rate=0.5)
    sparsifier = Sparsifier(layer, method, optimizer, steps=2, where="weight_ih_l0")
    with torch.no_grad():
        layer.weight_ih_l0.copy_(TOY)
    sparsifier.masks.kept["weight_ih_l0"].copy_(layer.weight_ih_l0.detach() != 0)
    for _ in range(2):
        optimizer.step()
    assert layer.weight_ih_l0.flatten().tolist() == [-5, -3, 0, 0, 0, 0, 0, 0, 2, 6]
    assert int(sparsifier.masks.kept["weight_ih_l0"].sum()) == 8


@pytest.mark.parametrize("renew", [False, True])
def test_the_optimizer_is_renewed_if_wanted(renew):
    model, optimizer, sparsifier = start(SparseEvolutionaryTraining(0.5, every=2, renew_optimizer=renew), steps=5)
    train(sparsifier, 3)
    assert bool(optimizer.state) != renew
    train(sparsifier, 2, first=3)


def test_the_rate_is_constant_and_the_budget_is_erdos_renyi():
    model, optimizer, sparsifier = start(SparseEvolutionaryTraining(0.8, every=2), steps=9)
    eps = [int(kept.sum()) / sum(kept.shape) for kept in sparsifier.masks.kept.values()]
    assert max(eps) - min(eps) <= 2 / 36
    assert [sparsifier.method.rate_at(sparsifier, step) for step in (0, 4, 9)] == [0.3, 0.3, 0.3]
