"""RigL: the number of weights never changes; what grows has the largest gradient."""

import copy
import math

import pytest
import torch

from sparsernn import Sparsifier
from sparsernn.methods.rigl import RigL
from tests.methods.networks import loss_of, network, start, steps_of, train


def counts(sparsifier):
    return {name: int(kept.sum()) for name, kept in sparsifier.masks.kept.items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"distribution": "erdos_renyi"},
        {"per": "gate"},
        {"granularity": "16x1"},
        {"regrow_dropped": False},
        {"decay": "constant"},
    ],
)
def test_the_number_of_weights_is_the_same_over_fifty_events(options):
    model, optimizer, sparsifier = start(RigL(0.8, every=1, stop=1.0, **options), steps=51)
    before = counts(sparsifier)
    by_gate = sparsifier.masks.by_gate()
    for _ in steps_of(sparsifier, 51):
        if options.get("granularity") is None:
            assert counts(sparsifier) == before
        if options.get("per") == "gate":
            assert sparsifier.masks.by_gate() == by_gate
    groups = sparsifier.groups(sparsifier.method.granularity, sparsifier.method.per)
    assert int(groups.kept(sparsifier.masks).sum()) == sum(family.size for family in groups.families) - absent(groups)
    assert len(sparsifier.events) == 51


def absent(groups):
    return sum(family.size - max(1, round(0.2 * family.size)) for family in groups.families)


def test_an_event_by_brute_force():
    rate, steps = 0.3, 20
    model, optimizer, sparsifier = start(RigL(0.6, every=5, rate=rate, stop=0.8), steps)
    train(sparsifier, 5)
    old = sparsifier.masks.state_dict()
    weights = {name: model.get_parameter(name).detach().clone() for name in old}
    plain = copy.deepcopy(model)
    plain.zero_grad()
    loss_of(plain, 5).backward()
    gradients = {name: plain.get_parameter(name).grad for name in old}
    optimizer.zero_grad()
    loss_of(model, 5).backward()
    others = copy.deepcopy(model.head.state_dict())
    optimizer.step()
    assert sparsifier.step_count == 6
    fraction = rate * (1 + math.cos(math.pi * 5 / 16)) / 2
    for name, was in old.items():
        number = int(fraction * int(was.sum()))
        present = sorted(
            (abs(weights[name].flatten()[place].item()), place) for place in was.flatten().nonzero().flatten().tolist()
        )
        stay = {place for _, place in present[number:]}
        rest = sorted(
            (-abs(gradients[name].flatten()[place].item()), place) for place in range(was.numel()) if place not in stay
        )
        grown = {place for _, place in rest[:number]}
        now = sparsifier.masks.kept[name].flatten()
        assert set(now.nonzero().flatten().tolist()) == stay | grown
        after = model.get_parameter(name).detach().flatten()
        for place in range(was.numel()):
            survived = place in stay or (place in grown and bool(was.flatten()[place]))
            assert after[place].item() == (weights[name].flatten()[place].item() if survived else 0.0)
    assert all(torch.equal(tensor, others[name]) for name, tensor in model.head.state_dict().items())


def test_an_event_replaces_the_update_and_gives_the_gradients_back():
    model, optimizer, sparsifier = start(RigL(0.5, every=2, stop=1.0), steps=4)
    train(sparsifier, 2)
    optimizer.zero_grad()
    loss_of(model, 2).backward()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    momentum = {name: optimizer.state[weight]["momentum_buffer"].clone() for name, weight in model.named_parameters()}
    optimizer.step()
    for name, weight in model.named_parameters():
        kept = sparsifier.masks.kept.get(name, torch.ones_like(weight, dtype=torch.bool))
        old = weight != 0
        assert torch.equal(weight.detach()[old], before[name][old])
        assert torch.equal(weight.grad, gradients[name].masked_fill(~kept, 0))
        assert torch.equal(optimizer.state[weight]["momentum_buffer"][old], momentum[name][old])


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD])
def test_the_optimizer_forgets_births_and_deaths(kind):
    model = network()
    optimizer = kind(model.parameters(), lr=0.01, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    sparsifier = Sparsifier(model, RigL(0.5, every=4, stop=1.0), optimizer, steps=8)
    train(sparsifier, 4)
    before = sparsifier.masks.state_dict()
    train(sparsifier, 1, first=4)
    for name, was in before.items():
        changed = was ^ sparsifier.masks.kept[name]
        weight = model.get_parameter(name)
        assert bool(changed.any())
        remembered = [value for value in optimizer.state[weight].values() if value.shape == weight.shape]
        assert remembered and all(bool((value[changed] == 0).all()) for value in remembered)
        assert any(bool((value[was & ~changed] != 0).any()) for value in remembered)


def test_after_stop_the_masks_stay():
    model, optimizer, sparsifier = start(RigL(0.5, every=3, stop=0.5), steps=20)
    train(sparsifier, 10)
    masks = sparsifier.masks.state_dict()
    train(sparsifier, 10, first=10)
    assert [event["step"] for event in sparsifier.events] == [0, 4, 7, 10]
    assert all(torch.equal(kept, masks[name]) for name, kept in sparsifier.masks.kept.items())


def test_no_dropped_weight_comes_back_at_once_if_not_wanted():
    model, optimizer, sparsifier = start(RigL(0.5, every=1, stop=1.0, regrow_dropped=False, decay="constant"), steps=11)
    train(sparsifier, 1)
    for _ in range(10):
        before = sparsifier.masks.state_dict()
        train(sparsifier, 1)
        for name, was in before.items():
            died = int((was & ~sparsifier.masks.kept[name]).sum())
            assert died == int(0.3 * int(was.sum()))


@pytest.mark.parametrize(("rate", "stop", "events"), [(0.3, 0.5, [0, 6]), (0.001, 1.0, [0, 6, 11, 16])])
def test_an_event_that_moves_nothing_costs_no_update(rate, stop, events):
    """At T_end = 10 the fraction 0.3 / 2 (1 + cos(pi)) is 0; int(0.001 * n) is 0 for n < 1,000 weights."""
    model, optimizer, sparsifier = start(RigL(0.5, every=5, rate=rate, stop=stop), steps=20)
    before, still = {}, []
    for step in steps_of(sparsifier, 20):
        after = {name: weight.detach().clone() for name, weight in model.head.named_parameters()}
        if before and all(torch.equal(weight, before[name]) for name, weight in after.items()):
            still.append(step)
        before = after
    assert still == ([6] if rate == 0.3 else [])
    assert [event["step"] for event in sparsifier.events] == events
