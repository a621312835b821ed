"""SNFS: an average of all gradients of its own, growth where it is large, shares by the mean over present weights."""

import copy
import math

import pytest
import torch

from sparsernn import Sparsifier
from sparsernn.methods.snfs import SNFS
from sparsernn.structure.budget import apportion
from tests.methods.networks import loss_of, network


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("rule", ["momentum", "none"])
def test_an_event_by_brute_force(kind, rule):
    """Also without momentum in the optimizer, weights grow where averaged dense gradients are largest."""
    model = network()
    optimizer = kind(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, SNFS(0.7, every=3, rate=0.4, redistribution=rule, momentum=0.8), optimizer, steps=9)
    names = list(sparsifier.masks.kept)
    average = {name: torch.zeros_like(model.get_parameter(name)) for name in names}
    for number in range(4):
        optimizer.zero_grad()
        plain = copy.deepcopy(model)
        loss_of(plain, number).backward()
        loss_of(model, number).backward()
        for name in names:
            average[name] = 0.8 * average[name] + 0.2 * plain.get_parameter(name).grad
        was = sparsifier.masks.state_dict()
        optimizer.step()
        if number < 3:
            assert all(torch.equal(was[name], kept) for name, kept in sparsifier.masks.kept.items())
    rate = sparsifier.method.rate_at(sparsifier, 3)
    lost = [math.ceil(rate * int(was[name].sum())) for name in names]
    shares = lost
    if rule == "momentum":
        importance = [float(average[name][was[name]].abs().mean()) for name in names]
        room = [was[name].numel() - int(was[name].sum()) + drop for name, drop in zip(names, lost, strict=True)]
        shares = apportion(sum(lost), importance, [int(0.99 * free) for free in room])
        assert shares != lost
    for name, drop, share in zip(names, lost, shares, strict=True):
        assert torch.allclose(sparsifier.state.averages[name], average[name])
        now = sparsifier.masks.kept[name]
        assert int(now.sum()) == int(was[name].sum()) - drop + share
        born, left_out = now & ~was[name], ~now & ~was[name]
        assert average[name].abs()[born].min() >= average[name].abs()[left_out].max() > 0


def test_a_skipped_overflow_leaves_the_average_alone():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, SNFS(0.7, every=3), optimizer, steps=9)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(loss_of(model) * torch.inf).backward()
    scaler.step(optimizer)
    assert not sparsifier.state.averages
