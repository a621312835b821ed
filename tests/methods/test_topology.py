"""The budgets of a sparse beginning on whole models: every weight matrix, tied ones once, biases never."""

import pytest
import torch

from sparsernn import Sparsifier
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from sparsernn.models.classifier import Classifier
from sparsernn.models.language_model import LanguageModel
from sparsernn.structure.groups import Groups
from sparsernn.tracing.recording import trace
from tests.methods.networks import absent_are_zero, start


def counts(sparsifier):
    return {name: int(kept.sum()) for name, kept in sparsifier.masks.kept.items()}


@pytest.mark.parametrize(("tied", "matrices"), [(False, 6), (True, 5)])
def test_a_language_model(tied, matrices):
    ids = torch.randint(40, (6, 3), generator=torch.Generator().manual_seed(0))
    model = LanguageModel(40, units=8, tied=tied)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    method = STRNN(eps=3.0, every=1, per="gate")
    sparsifier = Sparsifier(model, method, optimizer, steps=4, where=("*weight*",), example=(ids,))
    assert len(sparsifier.selected) == matrices and not any("bias" in name for name in sparsifier.masks.kept)
    shares = {"embedding.weight": 3 * 48, "head.weight": 3 * 48}
    assert counts(sparsifier) == {name: shares.get(name, 4 * 3 * 16) for name in sparsifier.masks.kept}
    for _ in range(4):
        optimizer.zero_grad()
        model(ids)[0].square().mean().backward()
        optimizer.step()
        assert absent_are_zero(model, sparsifier.masks)
    assert len(sparsifier.events) == 4


def test_a_classifier_whose_output_layer_is_filled():
    model = Classifier(16, 3, cell="lstm", units=16, vocabulary=50)
    optimizer = torch.optim.Adam(model.parameters())
    sparsifier = Sparsifier(model, STRNN(eps=3.0, every=1, per="gate"), optimizer, steps=3, where=("*weight*",))
    kept = counts(sparsifier)
    assert kept.pop("embedding.weight") == 3 * 66 and kept.pop("head.weight") == 48
    assert list(kept.values()) == [4 * 3 * 32] * 2


@pytest.mark.parametrize(("eps", "sparsity"), [(10, 95.686), (2, 99.137), (20, 91.371), (110, 52.54)])
def test_epsilon_of_the_text_classification_model(eps, sparsity):
    """Embedding 20,000 x 256 and eight gate matrices of 256 x 256."""
    with torch.device("meta"):
        model = Classifier(256, 2, cell="lstm", units=256, vocabulary=20000)
    groups = Groups.of(trace(model), model, "weight", ["embedding*", "cell*weight*"], "gate")
    kept = STRNN(eps=eps).topology.counts_to_keep(groups.families)
    assert kept == [20256 * eps] + 8 * [512 * eps]
    assert 100 * (1 - sum(kept) / 5_644_288) == pytest.approx(sparsity, abs=3e-3)


def test_the_rule_for_kernels_takes_the_stored_shape():
    """All our weights are matrices, so it is the same as the rule for matrices, per gate as well."""
    for per in ("tensor", "gate"):
        masks = [
            start(Static(0.7, distribution=name, per=per), 5)[2].masks.kept
            for name in ("erdos_renyi", "erdos_renyi_kernel")
        ]
        assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_bernoulli_counts_are_right_on_average():
    found = []
    for seed in range(60):
        kept = start(Static(0.8, counts="bernoulli"), 5, seed=seed)[2].masks.kept
        found.append(torch.tensor([int(mask.sum()) for mask in kept.values()]))
    counts, sizes = torch.stack(found).float(), torch.tensor([mask.numel() for mask in kept.values()])
    assert (counts.mean(0) - 0.2 * sizes).abs().max() < 4 * (0.16 * sizes.max() / 60) ** 0.5
    assert (counts.var(0) / (0.16 * sizes) - 1).abs().max() < 0.8
