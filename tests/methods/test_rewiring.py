"""What every rewiring method promises: the number of weights, what is born, who may grow, when."""

import math

import pytest
import torch

from sparsernn import Sparsifier, folders
from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.methods.parts.births import BIRTHS
from sparsernn.methods.parts.redistribution import RULES
from sparsernn.methods.parts.topology import DISTRIBUTIONS
from sparsernn.methods.rigl import RigL
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN
from tests.methods.networks import absent_are_zero, network, same_masks, start, steps_of, train

METHODS = {name: kind for name, kind in folders.entries("methods").items() if issubclass(kind, Rewiring)}
EVENTS = 50


def counts(sparsifier):
    return {name: int(kept.sum()) for name, kept in sparsifier.masks.kept.items()}


def test_all_are_here():
    assert set(METHODS) >= {"deep_r", "dsr", "rigl", "snfs", "sparse_evolutionary_training", "st_rnn"}


@pytest.mark.parametrize(("redistribution", "per"), [*((rule, "tensor") for rule in RULES), ("none", "gate")])
@pytest.mark.parametrize("name", METHODS)
def test_the_number_of_weights_is_the_same_over_fifty_events(name, redistribution, per):
    method = METHODS[name](0.8, every=1, stop=1.0, redistribution=redistribution, per=per)
    model, optimizer, sparsifier = start(method, steps=EVENTS + 1, rate=0.5)
    before, gates = counts(sparsifier), sparsifier.masks.by_gate()
    for _ in steps_of(sparsifier, EVENTS + 1):
        now = counts(sparsifier)
        assert sum(now.values()) == sum(before.values()) and min(now.values()) >= 1
        assert absent_are_zero(model, sparsifier.masks)
        if redistribution == "none":
            assert now == before
            if per == "gate":
                assert sparsifier.masks.by_gate() == gates
    events = sparsifier.events[1:]
    assert len(events) == EVENTS + (name == "deep_r") and all(event["born"] == event["died"] for event in events)
    assert sum(event["born"] for event in events) > 0
    if redistribution == "momentum":
        assert counts(sparsifier) != before


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("counting", ["exact", "bernoulli"])
def test_every_beginning_is_kept(distribution, counting):
    model, optimizer, sparsifier = start(STRNN(0.7, every=2, distribution=distribution, counts=counting), steps=8)
    before = counts(sparsifier)
    assert abs(sum(before.values()) / sum(kept.numel() for kept in sparsifier.masks.kept.values()) - 0.3) < 0.06
    train(sparsifier, 8)
    assert counts(sparsifier) == before


@pytest.mark.parametrize(
    "options", [{"sparsity": 0.95, "rate": 1.0}, {"sparsity": 0.5, "regrow_dropped": False}, {"eps": 0.5}]
)
@pytest.mark.parametrize("name", METHODS)
def test_layers_of_one_unit_keep_a_weight(name, options):
    model = network(units=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, METHODS[name](every=1, stop=1.0, per="gate", **options), optimizer, steps=8)
    before = sum(counts(sparsifier).values())
    for _ in steps_of(sparsifier, 8):
        assert sum(counts(sparsifier).values()) == before
        assert all(bool(gate.any()) for kept in sparsifier.masks.kept.values() for gate in kept.chunk(4))


@pytest.mark.parametrize("name", METHODS)
def test_events_come_after_every_interval_and_none_at_the_end(name):
    model, optimizer, sparsifier = start(METHODS[name](0.5, every=0.25, stop=1.0), steps=20)
    at_epoch_ends = [len(sparsifier.events) for step in steps_of(sparsifier, 20) if step % 5 == 0]
    assert [event["step"] for event in sparsifier.events] == [0, 6, 11, 16]
    assert at_epoch_ends == [1, 2, 3, 4]


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("kind", [STRNN, RigL])
def test_values_at_birth(kind, birth):
    """With a learning rate of 0 weights move at events alone, so an event is seen whole."""
    method = kind(0.4, every=1, rate=0.6, stop=1.0, decay="constant", birth=birth)
    first = {name: weight.detach().clone() for name, weight in network().named_parameters()}
    model, optimizer, sparsifier = start(method, steps=5, rate=0.0)
    train(sparsifier, 1)
    started_over = 0
    for number in range(1, 5):
        masks = sparsifier.masks.state_dict()
        weights = {name: model.get_parameter(name).detach().clone() for name in masks}
        train(sparsifier, 1, first=number)
        for name, was in masks.items():
            now, after = sparsifier.masks.kept[name], model.get_parameter(name).detach()
            changed = was & now & (after != weights[name])
            new = after[changed | (now & ~was)]
            assert bool(torch.isin(new, first[name]).all() if birth == "initial" else (new == 0).all())
            assert birth != "initial" or not bool((new == 0).any())
            present = int(was.sum())
            assert int((was & now & ~changed).sum()) >= present - math.ceil(0.6 * present)
            started_over += int(changed.sum())
    assert (started_over > 0) == (birth != "keep")


@pytest.mark.parametrize("redistribution", RULES)
@pytest.mark.parametrize("name", METHODS)
def test_what_was_dropped_stays_away_if_not_wanted(name, redistribution):
    """What is dropped and grown at once would neither count as dead nor as born, so every drop is a death."""
    method = METHODS[name](0.6, every=1, stop=1.0, rate=0.2, regrow_dropped=False, redistribution=redistribution)
    model, optimizer, sparsifier = start(method, steps=10, rate=0.3)
    train(sparsifier, 1)
    rounded = int if name == "rigl" else math.ceil
    expected = sum(rounded(method.rate_at(sparsifier, 1) * number) for number in counts(sparsifier).values())
    for number in range(1, 10):
        before = sparsifier.masks.state_dict()
        train(sparsifier, 1, first=number)
        died = sum(int((was & ~sparsifier.masks.kept[tensor]).sum()) for tensor, was in before.items())
        assert sparsifier.events[-1]["died"] == died == sparsifier.events[-1]["born"]
        if name in ("st_rnn", "rigl", "snfs") and number == 1:
            assert died == expected


def test_redistribution_goes_to_where_gradients_are():
    """Only the second layer has gradients, so it takes what the first one drops."""
    for name in ("rigl", "snfs", "sparse_evolutionary_training", "st_rnn"):
        model = network()
        for tensor in ("weight_ih_l0", "weight_hh_l0"):
            getattr(model.rnn, tensor).register_hook(torch.zeros_like)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        method = METHODS[name](0.8, every=2, stop=1.0, redistribution="momentum")
        sparsifier = Sparsifier(model, method, optimizer, steps=4)
        before = counts(sparsifier)
        train(sparsifier, 4)
        moved = {tensor: number - before[tensor] for tensor, number in counts(sparsifier).items()}
        assert all(number < 0 for tensor, number in moved.items() if tensor.endswith("l0")), (name, moved)
        assert sum(moved.values()) == 0


@pytest.mark.parametrize("name", METHODS)
def test_a_run_that_is_saved_goes_on_with_everything_it_knew(name):
    method = METHODS[name](0.6, every=2, stop=1.0, redistribution="momentum", birth="initial")
    whole, part = (start(method, steps=12)[2] for _ in range(2))
    train(whole, 12)
    train(part, 7)
    model = network(seed=9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    resumed = Sparsifier(model, method, optimizer, steps=12, seed=4)
    model.load_state_dict(part.model.state_dict())
    optimizer.load_state_dict(part.optimizer.state_dict())
    resumed.load_state_dict(part.state_dict())
    train(resumed, 5, first=7)
    assert same_masks(whole.masks.kept, resumed.masks.kept) and whole.events == resumed.events


def test_st_rnn_with_the_options_of_set_is_set():
    of_set = {"rate": 0.3, "distribution": "erdos_renyi", "drop": "sign", "decay": "constant", "birth": "zero"}
    methods = (STRNN(0.6, every=2, **of_set), SparseEvolutionaryTraining(0.6, every=2))
    runs = [start(method, steps=9)[2] for method in methods]
    for run in runs:
        train(run, 9)
    assert same_masks(runs[0].masks.kept, runs[1].masks.kept) and runs[0].events == runs[1].events
