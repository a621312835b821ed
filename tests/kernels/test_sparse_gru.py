"""The GRU of few weights: what it computes, with which instructions, and when it is taken."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sparsernn import native
from sparsernn.cells.gru import GRU
from sparsernn.kernels.registry import Problem, choose, using
from sparsernn.kernels.sequence import gru_reset_before_sparse as sparse
from sparsernn.kernels.sequence.patterns import Pattern, patterns_of
from sparsernn.methods.deep_r import DeepR
from sparsernn.methods.dsr import DSR
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.rigl import RigL
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure import presence

pytestmark = pytest.mark.skipif(native.module is None, reason="needs the compiled extension")
SETS = native.module.instruction_sets() if native.module is not None else []


def layer(units=40, inputs=7, density=0.1, dtype=torch.float64):
    torch.manual_seed(0)
    cell = GRU(inputs, units, reset="before").to(dtype)
    weights = {local: cell.get_parameter(name) for local, name in cell.names[0].items()}
    for name in ("weight_ih", "weight_hh"):
        weights[name].data *= torch.rand_like(weights[name]) < density
    return cell, weights


def results(cell, weights, x, start, run):
    leaves = [x, start, *weights.values()]
    for leaf in leaves:
        leaf.grad = None
    output, (final,) = run(cell, weights, x, start)
    (output.sin().sum() + final.square().sum()).backward()
    return [output, final, *(leaf.grad for leaf in leaves)]


def by_reference(cell, weights, x, start):
    with using("reference"):
        return cell._layer(x, (start,), None, 0)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize(("units", "batch"), [(40, 3), (5, 70), (33, 17)])
def test_values_and_gradients(instructions, units, batch):
    cell, weights = layer(units)
    x = torch.randn(6, batch, 7, dtype=torch.float64, requires_grad=True)
    start = torch.randn(batch, units, dtype=torch.float64, requires_grad=True)

    def compiled(cell, weights, x, start):
        return sparse.run(None, (start,), None, weights, cell.advance, x, instructions=instructions)

    expected = results(cell, weights, x, start, by_reference)
    for local, gradient in zip(weights, expected[4:], strict=True):
        if local.startswith("weight"):
            gradient *= weights[local] != 0
    found = results(cell, weights, x, start, compiled)
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(found, expected, strict=True))


def test_gradcheck_where_weights_exist():
    cell, weights = layer(units=4, density=0.4)
    kept = {name: weights[name] != 0 for name in ("weight_ih", "weight_hh")}
    values = [weights[name].detach()[mask].requires_grad_() for name, mask in kept.items()]

    def run(x, start, *given):
        filled = {
            name: torch.zeros(mask.shape, dtype=torch.float64).masked_scatter(mask, value)
            for (name, mask), value in zip(kept.items(), given, strict=True)
        }
        return sparse.run(None, (start,), None, {**weights, **filled}, cell.advance, x, kept=kept)[0]

    x = torch.randn(3, 2, 7, dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, start, *values))


def test_threads_do_not_change_the_result():
    cell, weights = layer(dtype=torch.float32)
    x, start = torch.randn(5, 21, 7, requires_grad=True), torch.randn(21, 40, requires_grad=True)

    def compiled(cell, weights, x, start):
        return sparse.run(None, (start,), None, weights, cell.advance, x)

    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append([part.clone() for part in results(cell, weights, x, start, compiled)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = GRU(7, 40, reset="before", batch_first=True), nn.Linear(40, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def trained(model, method, provider=None, steps=5):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    run = Sparsifier(model, method, optimizer, steps=steps)
    torch.manual_seed(1)
    for _ in range(steps):
        x, y = torch.randn(8, 6, 7), torch.randint(3, (8,))
        loss = nn.functional.cross_entropy(model(x), y)
        if provider is not None:
            with using(provider):
                loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return run


def taken(model, monkeypatch):
    """The providers that a forward of the model takes."""
    found = []
    monkeypatch.setattr("sparsernn.cells.cell.choose", lambda problem: found.append(choose(problem)) or found[-1])
    model(torch.randn(2, 3, 7))
    return [kernel.provider for kernel in found]


@pytest.mark.parametrize(
    "method",
    [
        RandomPruning(0.9),
        STRNN(0.9, every=2),
        SparseEvolutionaryTraining(0.9, every=2),
        DSR(0.9, every=2),
        DeepR(0.9),
        Magnitude(0.9, stop=0.6, every=1),
    ],
    ids=lambda method: type(method).__name__,
)
def test_a_training_with_it_is_the_training_without(method):
    first, second = Net(), Net()
    trained(first, method)
    trained(second, method, "gru_reset_before")
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "provider"),
    [
        (RandomPruning(0.9), "gru_reset_before_sparse"),
        (RandomPruning(0.3), "gru_reset_before"),
        (RigL(0.9, every=2), "gru_reset_before"),
        (Magnitude(0.9), "gru_reset_before_sparse"),
        (STRNN(0.9, every=2), "gru_reset_before_sparse"),
        (STRNN(0.9, every=2, redistribution="momentum"), "gru_reset_before"),
        (GroupLasso(1e-3), "gru_reset_before"),
    ],
    ids=lambda value: getattr(value, "provider", str(value))[:20],
)
def test_it_is_taken_while_a_method_trains_few_weights_whose_gradients_suffice(method, provider, monkeypatch):
    model = Net()
    run = trained(model, method)
    assert taken(model, monkeypatch) == [provider]
    run.finalize()
    assert taken(model, monkeypatch) == ["gru_reset_before"]
    assert taken(copy.deepcopy(model), monkeypatch) == ["gru_reset_before"]


def test_a_mask_that_changes_in_place_is_seen():
    model = Net()
    run = Sparsifier(model, RandomPruning(0.9), torch.optim.SGD(model.parameters(), 0.1), steps=3)
    weight, mask = model.cell.weight_hh_l0, run.masks.kept["cell.weight_hh_l0"]
    model(torch.randn(2, 3, 7))
    share = presence.density(weight)
    mask[:, :3] = False
    assert presence.density(weight) < share
    weight.data[~mask] = 0
    x = torch.randn(2, 3, 7)
    found = model(x)
    with using("reference"):
        assert torch.allclose(found, model(x), atol=1e-6)
    model(x).sum().backward()
    assert not weight.grad[:, :3].any()


def test_patterns_are_found_once_a_mask():
    mask = torch.rand(6, 4) < 0.5
    first = patterns_of(mask, (4, 2))
    assert patterns_of(mask, (4, 2)) is first
    mask[0, 0] = ~mask[0, 0]
    assert patterns_of(mask, (4, 2)) is not first


def test_no_sequences_and_one():
    cell, weights = layer()
    for batch in (0, 1):
        x = torch.randn(3, batch, 7, dtype=torch.float64)
        start = torch.zeros(batch, 40, dtype=torch.float64)
        found = sparse.run(None, (start,), None, weights, cell.advance, x)[0]
        assert torch.allclose(found, by_reference(cell, weights, x, start)[0])


def test_products_of_rows():
    mask = torch.rand(9, 5) < 0.4
    weight, dense = torch.randn(9, 5) * mask, torch.randn(3, 5, 21)
    pattern, out = Pattern(mask), torch.empty(3, 9, 21)
    pattern.rows.product(pattern.values(weight).numpy(), dense.numpy(), out.numpy(), 2, "")
    assert torch.allclose(out, weight @ dense, atol=1e-5)
    turned, back = pattern.values(weight)[pattern.turned], torch.empty(3, 5, 21)
    pattern.columns.product(turned.numpy(), out.numpy(), back.numpy(), 1, "")
    assert torch.allclose(back, weight.T @ out, atol=1e-5)


@pytest.mark.parametrize(
    ("starts", "columns"), [([0, 2], [0]), ([1, 1], []), ([0, 2, 1], [0]), ([0, 1], [5]), ([0, 1], [-1]), ([], [])]
)
def test_places_that_cannot_be_are_refused(starts, columns):
    with pytest.raises(ValueError, match="shapes disagree"):
        native.module.SparseRows(np.array(starts, np.int32), np.array(columns, np.int32), 4)


def test_numbers_that_do_not_fit_are_refused():
    rows = Pattern(torch.ones(2, 3, dtype=torch.bool)).rows
    given = np.zeros((1, 3, 4), np.float32), np.zeros((1, 2, 4), np.float32), 1, ""
    with pytest.raises(ValueError, match="shapes disagree"):
        rows.product(np.zeros(5, np.float32), *given)
    with pytest.raises(ValueError, match="shapes disagree"):
        rows.product(np.zeros(6, np.float32), given[0][:, :2].copy(), *given[1:])


@pytest.mark.parametrize(
    "problem",
    [
        Problem("sequence", "GRU_RESET_BEFORE"),
        Problem("sequence", "GRU", density=0.1),
        Problem("sequence", "GRU_RESET_BEFORE", True, density=0.1),
        Problem("sequence", "GRU_RESET_BEFORE", False, "cuda", density=0.1),
        Problem("sequence", "GRU_RESET_BEFORE", dtype="bfloat16", density=0.1),
    ],
)
def test_it_says_what_it_refuses(problem):
    assert sparse.refuses(problem)
