"""DSR: one threshold for all tensors that doubles and halves; what has survived grows; nothing is emptied."""

import pytest
import torch

from sparsernn.methods.dsr import DSR
from tests.methods.networks import start, train


@pytest.mark.parametrize(("threshold", "factor"), [(1e-6, 2), (10.0, 0.5)])
def test_the_threshold_doubles_and_halves(threshold, factor):
    model, optimizer, sparsifier = start(DSR(0.7, every=1, threshold=threshold), steps=5, rate=0.0)
    for event in range(5):
        train(sparsifier, 1)
        assert sparsifier.state.threshold == threshold * factor**event


def test_the_threshold_stays_where_it_fits():
    model, optimizer, sparsifier = start(DSR(0.7, every=2, rate=0.2, tolerance=0.5), steps=3, rate=0.0)
    weights = torch.cat([model.get_parameter(name).detach()[kept] for name, kept in sparsifier.masks.kept.items()])
    sparsifier.state.threshold = threshold = weights.abs().quantile(0.2).item()
    train(sparsifier, 3)
    assert sparsifier.state.threshold == threshold


def test_what_is_below_dies_and_what_survives_grows():
    model, optimizer, sparsifier = start(DSR(0.8, every=2, threshold=0.12), steps=3, rate=0.0)
    train(sparsifier, 2)
    was = sparsifier.masks.state_dict()
    small = {name: kept & (model.get_parameter(name).detach().abs() <= 0.12) for name, kept in was.items()}
    expected = sum(int(places.sum()) for places in small.values())
    train(sparsifier, 1, first=2)
    assert sparsifier.events[-1]["died"] == sparsifier.events[-1]["born"] == expected > 0
    survived = {name: int((kept & ~small[name]).sum()) for name, kept in was.items()}
    for name, kept in was.items():
        now = sparsifier.masks.kept[name]
        assert not bool((now & small[name]).any())
        assert abs(int((now & ~kept).sum()) - expected * survived[name] / sum(survived.values())) <= 1


@pytest.mark.parametrize("redistribution", ["survivors", "momentum", "none"])
@pytest.mark.parametrize("sparsity", [0.3, 0.8, 0.99])
def test_no_tensor_is_emptied(sparsity, redistribution):
    method = DSR(sparsity, every=1, threshold=100.0, tolerance=1e9, redistribution=redistribution)
    model, optimizer, sparsifier = start(method, steps=8)
    before = sum(int(kept.sum()) for kept in sparsifier.masks.kept.values())
    for number in range(8):
        train(sparsifier, 1, first=number)
        counts = [int(kept.sum()) for kept in sparsifier.masks.kept.values()]
        assert min(counts) >= 1 and sum(counts) == before
