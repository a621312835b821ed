"""A fixed sparse network: random, Erdős–Rényi, or given."""

import numpy as np
import pytest
import torch

from sparsernn import sparsify
from sparsernn.methods.rigl import RigL
from sparsernn.methods.static import Static
from tests.methods.networks import absent_are_zero, network, start, train


def test_a_connectome_stays_as_given():
    generator = torch.Generator().manual_seed(5)
    wiring = torch.rand(32, 8, generator=generator) < 0.2
    model, optimizer, sparsifier = start(Static(masks={"rnn.weight_hh_l0": wiring}), steps=5)
    wiring_before = wiring.clone()
    train(sparsifier, 5)
    masks = sparsifier.finalize()
    assert torch.equal(masks.kept["rnn.weight_hh_l0"], wiring_before)
    assert masks.sparsity() == pytest.approx(1 - wiring_before.float().mean().item())
    assert all(bool(kept.all()) for name, kept in masks.kept.items() if name != "rnn.weight_hh_l0")
    assert bool((model.rnn.weight_hh_l1 != 0).all())


def test_a_connectome_may_be_an_array_of_numbers_and_of_any_weight():
    wiring = np.eye(3, 8)
    model = network()
    masks = sparsify(model, Static(masks={"head.weight": wiring}))
    assert torch.equal(masks.kept["head.weight"], torch.eye(3, 8).bool())
    assert absent_are_zero(model, masks)


def test_a_random_mask_has_exact_counts_and_never_changes():
    model, optimizer, sparsifier = start(Static(0.7), steps=10)
    before = sparsifier.masks.state_dict()
    assert all(int(kept.sum()) == round(0.3 * kept.numel()) for kept in before.values())
    train(sparsifier, 10)
    assert all(torch.equal(kept, before[name]) for name, kept in sparsifier.masks.kept.items())


@pytest.mark.parametrize(
    "method", [Static(0.8, distribution="erdos_renyi"), RigL(0.8, every=2, distribution="erdos_renyi")]
)
def test_erdos_renyi(method):
    """density = eps (n_in + n_out) / (n_in n_out), one eps for all tensors below density 1."""
    model, optimizer, sparsifier = start(method, steps=10)
    kept = sparsifier.masks.kept
    assert sum(int(mask.sum()) for mask in kept.values()) == round(0.2 * sum(mask.numel() for mask in kept.values()))
    eps = [int(mask.sum()) / sum(mask.shape) for mask in kept.values()]
    assert max(eps) - min(eps) <= 2 / 36
    densities = {name: int(mask.sum()) / mask.numel() for name, mask in kept.items()}
    assert densities["rnn.weight_ih_l0"] > densities["rnn.weight_hh_l0"]


def test_erdos_renyi_fills_small_tensors_and_shares_out_the_rest():
    model, optimizer, sparsifier = start(Static(0.15, distribution="erdos_renyi"), steps=10)
    kept = sparsifier.masks.kept
    assert bool(kept["rnn.weight_ih_l0"].all())
    assert sum(int(mask.sum()) for mask in kept.values()) == round(0.85 * sum(mask.numel() for mask in kept.values()))


def test_a_budget_for_each_gate():
    model, optimizer, sparsifier = start(Static(0.75, per="gate"), steps=10)
    assert {kept for gates in sparsifier.masks.by_gate().values() for kept in gates.values()} == {0.25}
