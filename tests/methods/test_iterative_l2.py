"""A ladder of sparsities, climbed while training."""

import pytest
import torch

from sparsernn import sparsify
from sparsernn.errors import UserError
from sparsernn.methods.iterative_l2 import IterativeL2
from tests.methods.networks import network, start, steps_of, train


def test_one_rung_an_event():
    model, optimizer, sparsifier = start(IterativeL2(0.95, every=3), 30)
    seen = [sparsifier.masks.sparsity() for _ in steps_of(sparsifier, 30)]
    wanted = [0.0] * 2
    for rung in (0.2, 0.4, 0.6, 0.8, 0.9):
        wanted += [rung] * 3
    wanted += [0.95] * (30 - len(wanted))
    assert seen == pytest.approx(wanted, abs=2e-3)
    assert sparsifier.settled and len(sparsifier.events) == 6


def test_the_smallest_of_a_layer_go_and_never_come_back():
    model, optimizer, sparsifier = start(IterativeL2(0.6, ladder=(0.3,), every=2), 4)
    before = sparsifier.masks.state_dict()
    for _ in steps_of(sparsifier, 4):
        after = sparsifier.masks.state_dict()
        assert all(not bool((after[name] & ~before[name]).any()) for name in after)
        before = after
    for layer in (0, 1):
        names = [f"rnn.weight_{kind}_l{layer}" for kind in ("ih", "hh")]
        kept = torch.cat([before[name].flatten() for name in names])
        assert abs(int(kept.sum()) - 0.4 * kept.numel()) <= 1
    assert before["rnn.weight_ih_l0"].float().mean() != before["rnn.weight_hh_l0"].float().mean()


def test_a_trained_model_is_pruned_at_once():
    model = network()
    dense = {name: weight.detach().abs().clone() for name, weight in model.named_parameters()}
    masks = sparsify(model, IterativeL2(0.75))
    for layer in (0, 1):
        names = [f"rnn.weight_{kind}_l{layer}" for kind in ("ih", "hh")]
        sizes, kept = (torch.cat([one[name].flatten() for name in names]) for one in (dense, masks.kept))
        assert int(kept.sum()) == kept.numel() // 4 and sizes[kept].min() >= sizes[~kept].max()


def test_a_target_that_was_not_reached_is_said():
    model, optimizer, sparsifier = start(IterativeL2(0.95, every=10), 30)
    train(sparsifier, 30)
    assert not sparsifier.settled
    with pytest.warns(UserWarning, match="0.95 was not reached: 0.60 after 30 of 30 steps.* step 60"):
        sparsifier.finalize()


@pytest.mark.parametrize("ladder", [(0.4, 0.2), (0.2, 0.2), (0.5, 1.0)])
def test_ladders_that_do_not_rise(ladder):
    with pytest.raises(UserError):
        IterativeL2(0.9, ladder=ladder)


def test_an_interval_longer_than_the_training():
    with pytest.raises(UserError, match="can never fire"):
        start(IterativeL2(0.9, every=50), 30)
