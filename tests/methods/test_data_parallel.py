"""Two processes under DistributedDataParallel hold the same masks and weights."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sparsernn import Sparsifier
from sparsernn.methods.deep_r import DeepR
from sparsernn.methods.dsr import DSR
from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.rigl import RigL
from sparsernn.methods.snfs import SNFS
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN
from tests.methods.networks import absent_are_zero, batch, network
from tests.methods.two_processes import STEPS, both, check_equal, side_by_side, write

METHODS = {
    "st_rnn": STRNN(0.5, every=2),
    "rigl": RigL(0.5, every=2, stop=1.0),
    "set": SparseEvolutionaryTraining(0.5, every=2, birth="initial"),
    "snfs": SNFS(0.5, every=2),
    "dsr": DSR(0.6, every=2, threshold=0.05),
    "deep_r": DeepR(0.5, strength=0.5, temperature=1e-3),
    "magnitude": Magnitude(0.5, "neuron", every=1),
    "rewound": Magnitude(0.5, every=1, rewind=0.2),
    "random_pruning": RandomPruning(0.5, "neuron"),
    "group_lasso": GroupLasso(0.01, ("gate", "neuron"), sparsity=0.5),
}


def averaged_gradients(model: nn.Module, number: int) -> dict[str, torch.Tensor]:
    """Of the losses of both processes in one step, at absent weights too."""
    plain = copy.deepcopy(model)
    plain.zero_grad()
    for inputs, labels in (batch(2 * number), batch(2 * number + 1)):
        (nn.functional.cross_entropy(plain(inputs), labels) / 2).backward()
    return {name: weight.grad for name, weight in plain.named_parameters()}


def work(rank: int, folder: Path) -> None:
    """One of two processes: train with every method on this process's own batches, and write what came out."""
    for name, method in METHODS.items():
        model = network()
        parallel = DistributedDataParallel(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        sparsifier = Sparsifier(parallel, method, optimizer, steps=STEPS)
        for number in range(STEPS):
            inputs, labels = batch(2 * number + rank)
            optimizer.zero_grad()
            expected = averaged_gradients(model, number) if isinstance(method, RigL | SNFS) and number else {}
            (nn.functional.cross_entropy(parallel(inputs), labels) + sparsifier.penalty()).backward()
            if expected and method.reads_next_gradient(sparsifier):
                for weight in sparsifier.masks.kept:
                    assert torch.allclose(sparsifier.gradient(weight), expected[weight], rtol=1e-4, atol=1e-7)
            optimizer.step()
            assert absent_are_zero(model, sparsifier.masks)
            if isinstance(method, Rewiring):
                assert sparsifier.masks.sparsity() == sparsifier.events[0]["sparsity"]
        masks = sparsifier.finalize()
        tensors = {f"kept.{key}": kept for key, kept in masks.kept.items()} | dict(model.state_dict())
        write(tensors, folder, rank, name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("parallel")
    side_by_side(work, path)
    return path


@pytest.mark.parametrize("name", METHODS)
def test_both_processes_hold_the_same(folder, name):
    first, second = both(folder, name)
    check_equal(first, second)
    assert any(not bool(tensor.all()) for key, tensor in first.items() if key.startswith("kept."))
