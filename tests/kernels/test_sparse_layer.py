"""Layers of few weights: what they compute, with which instructions, and when the kernel is taken."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparsernn.nn as sparsernn_nn
from sparsernn import Sparsifier, explain_kernels, folders, native
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.rnn import RNN
from sparsernn.kernels import patterns, registry
from sparsernn.kernels.patterns import Pattern, pattern_of
from sparsernn.kernels.registry import Problem, choose, using
from sparsernn.kernels.sequence import reference
from sparsernn.kernels.sequence import sparse_layer as sparse
from sparsernn.methods.deep_r import DeepR
from sparsernn.methods.dsr import DSR
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.rigl import RigL
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN

pytestmark = pytest.mark.skipif(native.module is None, reason="needs the compiled extension")
SETS = native.module.instruction_sets() if native.module is not None else []
CELLS = {about.name: cell for cell, about in sparse.CELLS.items()}
every_cell = pytest.mark.parametrize("name", CELLS)


@pytest.fixture
def taken_when_sparse(monkeypatch):
    """It is taken up to a share of 0.3, however small a layer and however few the sequences."""
    eager = {cell: replace(about, densest=(0.3,) * 4, smallest=1) for cell, about in sparse.CELLS.items()}
    monkeypatch.setattr(sparse, "CELLS", eager)


def problem_of(name, units=40, batch=3, density=0.1, dtype=torch.float64, time=6, bias=True):
    """A layer with seven inputs, and where its weights exist."""
    torch.manual_seed(0)
    cell, masks, weights = CELLS[name], {}, {}
    for local in cell.axes if bias else ("weight_ih", "weight_hh"):
        weights[local] = torch.randn(cell.shape(local, {"input": 7, "hidden": units}), dtype=dtype) / units**0.5
        if local.startswith("weight"):
            masks[local] = torch.rand(weights[local].shape) < density
            weights[local] *= masks[local]
        weights[local].requires_grad_()
    x = torch.randn(time, batch, 7, dtype=dtype, requires_grad=True)
    state = tuple(torch.randn(batch, units, dtype=dtype, requires_grad=True) for _ in cell.states)
    return Problem(cell, weights, x, state, masks=masks)


def results(problem, run, read=slice(None)):
    """The output and final states, and the gradients of those that are read in everything that exists."""
    leaves = {"x": problem.x, **{str(at): part for at, part in enumerate(problem.state)}, **problem.weights}
    for leaf in leaves.values():
        leaf.grad = None
    output, finals = run(problem)
    parts = [output, *finals]
    sum((place * part.sin()).sum() for place, part in list(enumerate(parts, 1))[read]).backward()
    gradients = {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
    return parts, gradients


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize(("units", "batch"), [(40, 3), (5, 70), (33, 17)])
@every_cell
def test_values_and_gradients(name, instructions, units, batch, bias):
    problem = problem_of(name, units, batch, bias=bias)
    expected, wanted = results(problem, reference.run)
    found, gradients = results(problem, lambda problem: sparse.run(problem, instructions))
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(found, expected, strict=True))
    for leaf, gradient in gradients.items():
        mask = problem.masks.get(leaf, torch.ones(()).bool())
        assert torch.allclose(gradient, wanted[leaf] * mask, rtol=1e-10, atol=1e-12), leaf
        assert not gradient[~mask.expand_as(gradient)].any()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@every_cell
def test_what_is_not_finite_comes_out_where_the_reference_has_it(name, bad):
    for place in ("x", "state"):
        problem = problem_of(name)
        with torch.no_grad():
            (problem.x[2] if place == "x" else problem.state[-1])[1, 3] = bad
        (output, *finals), gradients = results(problem, sparse.run)
        (expected, *ends), wanted = results(problem, reference.run)
        for ours, theirs in zip((output, *finals), (expected, *ends), strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)
        assert not all(torch.isfinite(gradient).all() for gradient in gradients.values())
        assert set(gradients) == set(wanted)


@pytest.mark.parametrize("read", [slice(0, 1), slice(1, 2), slice(-1, None)], ids=["output", "hidden", "last state"])
@every_cell
def test_gradients_of_one_result_alone(name, read):
    problem = problem_of(name)
    _, wanted = results(problem, reference.run, read)
    _, gradients = results(problem, sparse.run, read)
    for leaf, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[leaf] * problem.masks.get(leaf, 1), rtol=1e-10, atol=1e-12), leaf


@every_cell
def test_weights_that_are_not_trained_get_no_gradient_and_the_rest_the_same(name):
    problem = problem_of(name)
    _, wanted = results(problem, reference.run)
    frozen = replace(problem, weights={local: weight.detach() for local, weight in problem.weights.items()})
    _, gradients = results(frozen, sparse.run)
    for leaf in ("x", *map(str, range(len(problem.state)))):
        assert torch.allclose(gradients[leaf], wanted[leaf], rtol=1e-10, atol=1e-12)


@every_cell
def test_gradcheck_where_weights_exist(name):
    problem = problem_of(name, units=4, density=0.4, time=3, batch=2)
    values = [problem.weights[local].detach()[mask].requires_grad_() for local, mask in problem.masks.items()]
    rest = {local: weight for local, weight in problem.weights.items() if local not in problem.masks}

    def run(x, *given):
        states, numbers = given[: len(problem.state)], given[len(problem.state) :]
        filled = {
            local: torch.zeros(mask.shape, dtype=torch.float64).masked_scatter(mask, value)
            for (local, mask), value in zip(problem.masks.items(), numbers[: len(values)], strict=True)
        }
        biases = dict(zip(rest, numbers[len(values) :], strict=True))
        output, ends = sparse.run(replace(problem, x=x, state=states, weights=filled | biases))
        return output, *ends

    assert torch.autograd.gradcheck(run, (problem.x, *problem.state, *values, *rest.values()))


@every_cell
def test_threads_do_not_change_the_result(name):
    problem = problem_of(name, batch=21, dtype=torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            parts, gradients = results(problem, sparse.run)
            found.append([part.clone() for part in (*parts, *gradients.values())])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


KINDS = {"gru before": (GRU, {"reset": "before"}), "gru": (GRU, {}), "lstm": (LSTM, {}), "rnn": (RNN, {})}
DENSE = {"gru before": "gru_reset_before", "gru": "torch_fused", "lstm": "torch_fused", "rnn": "torch_fused"}


class Net(nn.Module):
    def __init__(self, kind="gru before"):
        super().__init__()
        torch.manual_seed(0)
        make, options = KINDS[kind]
        self.cell, self.head = make(7, 40, batch_first=True, **options), nn.Linear(40, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def trained(model, method, provider="", steps=5):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    run = Sparsifier(model, method, optimizer, steps=steps)
    torch.manual_seed(1)
    for _ in range(steps):
        x, y = torch.randn(8, 6, 7), torch.randint(3, (8,))
        with using(provider):
            loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        (loss + run.penalty()).backward()
        optimizer.step()
    return run


def taken(model, monkeypatch):
    """The providers that a forward of the model takes."""
    kernels = []
    with monkeypatch.context() as patch:
        patch.setattr(registry, "choose", lambda problem: kernels.append(choose(problem)) or kernels[-1])
        model(torch.randn(2, 3, 7))
    return [kernel.provider for kernel in kernels]


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
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("taken_when_sparse")
def test_a_training_with_it_is_the_training_without(kind, method, monkeypatch):
    first, second = Net(kind), Net(kind)
    run = trained(first, method)
    assert run.masks.sparsity() < 0.7 or taken(first, monkeypatch) == ["sparse_layer"]
    trained(second, method, DENSE[kind])
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "is_sparse"),
    [
        (RandomPruning(0.9), True),
        (RandomPruning(0.3), False),
        (RigL(0.9, every=2), False),
        (Magnitude(0.9), True),
        (STRNN(0.9, every=2), True),
        (STRNN(0.9, every=2, redistribution="momentum"), False),
        (GroupLasso(1e-3), False),
    ],
    ids=lambda value: value if isinstance(value, bool) else type(value).__name__,
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("taken_when_sparse")
def test_it_is_taken_while_a_method_trains_few_weights_whose_gradients_suffice(kind, method, is_sparse, monkeypatch):
    model = Net(kind)
    run = trained(model, method)
    assert taken(model, monkeypatch) == ["sparse_layer" if is_sparse else DENSE[kind]]
    assert taken(copy.deepcopy(model), monkeypatch) == [DENSE[kind]]
    few = float((model.cell.weight_hh_l0 != 0).float().mean()) < 0.2
    run.finalize()
    assert taken(model, monkeypatch) == [DENSE[kind]]
    assert taken(copy.deepcopy(model), monkeypatch) == [DENSE[kind]]
    with torch.no_grad():
        assert taken(copy.deepcopy(model), monkeypatch) == ["sparse_layer" if few else DENSE[kind]]


@pytest.mark.usefixtures("taken_when_sparse")
def test_a_mask_that_changes_in_place_is_seen():
    model = Net()
    run = Sparsifier(model, RandomPruning(0.9), torch.optim.SGD(model.parameters(), 0.1), steps=3)
    weight, mask = model.cell.weight_hh_l0, run.masks.kept["cell.weight_hh_l0"]
    model(torch.randn(2, 3, 7))
    share = patterns.share(mask)
    mask[:, :3] = False
    assert patterns.share(mask) < share
    weight.data[~mask] = 0
    x = torch.randn(2, 3, 7)
    found = model(x)
    with using("reference"):
        assert torch.allclose(found, model(x), atol=1e-6)
    model(x).sum().backward()
    assert not weight.grad[:, :3].any()


def test_a_weight_that_changes_in_place_is_read_anew():
    weight = torch.randn(6, 4) * (torch.rand(6, 4) < 0.5)
    mask = patterns.read_off(weight)
    assert torch.equal(mask, weight != 0) and patterns.read_off(weight) is mask
    weight *= 2
    assert patterns.read_off(weight) is mask
    weight[0] = 0
    assert torch.equal(patterns.read_off(weight), weight != 0) and not patterns.read_off(weight)[0].any()
    trained_one = nn.Parameter(weight)
    assert patterns.mask_of(trained_one, None, "weight_hh") is None
    with torch.no_grad():
        assert torch.equal(patterns.mask_of(trained_one, None, "weight_hh"), weight != 0)
    assert patterns.mask_of(weight, {}, "weight_hh") is None


def written_by_data(weight: Tensor, values: Tensor) -> None:
    weight.data.copy_(values)


def written_by_numpy(weight: Tensor, values: Tensor) -> None:
    weight.detach().numpy()[:] = values.numpy()


def given_other_data(weight: Tensor, values: Tensor) -> None:
    weight.data = values


@pytest.mark.parametrize("write", [written_by_data, written_by_numpy, given_other_data])
def test_weights_written_behind_autograds_back_are_multiplied_as_they_are(write):
    ours, theirs, x = sparsernn_nn.GRU(8, 64).requires_grad_(False), nn.GRU(8, 64), torch.randn(5, 32, 8)
    kernels = []
    for _ in range(2):
        for name in ("weight_ih_l0", "weight_hh_l0"):
            weight = ours.get_parameter(name)
            write(weight, torch.randn_like(weight) * (torch.rand_like(weight) < 0.05))
        with torch.no_grad():
            found = ours(x)[0]
        kernels.append(explain_kernels(ours)[0].kernel)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(found, theirs(x)[0].detach(), atol=1e-5, rtol=0)
    assert kernels == ["sparse_layer"] * 2


def test_what_is_read_off_in_inference_is_remembered_as_well():
    weight = torch.eye(4)
    with torch.inference_mode():
        assert patterns.share(patterns.read_off(weight)) == 0.25
    assert patterns.share(patterns.read_off(weight)) == 0.25


def test_patterns_are_found_once_a_mask():
    mask = torch.rand(6, 4) < 0.5
    first = pattern_of(mask, (0, 4))
    assert pattern_of(mask, (0, 4)) is first and pattern_of(mask, (4, 6)) is not first
    mask[0, 0] = ~mask[0, 0]
    again = pattern_of(mask, (0, 4))
    assert again is not first and torch.equal(again.positions, mask[:4].flatten().nonzero().squeeze(1))


@every_cell
def test_no_sequences_and_one(name):
    for batch in (0, 1):
        problem = problem_of(name, batch=batch)
        found, ends = sparse.run(problem)
        expected, wanted = reference.run(problem)
        for ours, theirs in zip((found, *ends), (expected, *wanted), strict=True):
            assert ours.shape == theirs.shape and torch.allclose(ours, theirs)


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
    with pytest.raises(ValueError, match="starts must|columns must"):
        native.module.SparseRows(np.array(starts, np.int32), np.array(columns, np.int32), 4)


def test_numbers_that_do_not_fit_are_refused():
    rows = Pattern(torch.ones(2, 3, dtype=torch.bool)).rows
    given = np.zeros((1, 3, 4), np.float32), np.zeros((1, 2, 4), np.float32), 1, ""
    with pytest.raises(ValueError, match=r"values must be a C-contiguous array of float32 and shape \[6\]"):
        rows.product(np.zeros(5, np.float32), *given)
    with pytest.raises(ValueError, match=r"dense must be a C-contiguous array of float32 and shape \[any, 3, any\]"):
        rows.product(np.zeros(6, np.float32), given[0][:, :2].copy(), *given[1:])


REFUSED = {
    "nobody says which weights exist": {"masks": None},
    "weights exist; above": {"masks": {"weight_hh": torch.ones(160, 40, dtype=torch.bool)}},
    "have to end together": {"lengths": torch.tensor([1, 2, 3])},
    "nothing can be put between": {"factors": {"weight_hh": (torch.ones(3, 40), None)}},
    "differentiated once": {"twice": True},
    "not on meta": {"x": torch.empty(6, 3, 7, device="meta")},
    "not in bfloat16": {"x": torch.empty(6, 3, 7, dtype=torch.bfloat16)},
    "with the usual functions": {"cell": LSTM(gate_activation="hard_sigmoid")},
}


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.usefixtures("taken_when_sparse")
def test_it_says_what_it_refuses(reason):
    problem = problem_of("lstm")
    assert sparse.refuses(problem) is None
    assert reason in sparse.refuses(replace(problem, **REFUSED[reason]))


@pytest.mark.usefixtures("taken_when_sparse")
def test_it_refuses_every_cell_that_it_does_not_compute():
    problem, cells = problem_of("lstm"), folders.entries("cells")
    computed = {name for name, cell in cells.items() if sparse.refuses(replace(problem, cell=cell())) is None}
    assert computed == {"lstm", "gru", "rnn"}


@pytest.mark.parametrize("batch", [1, 64])
@every_cell
def test_it_is_left_where_dense_products_are_faster(name, batch):
    about = sparse.CELLS[CELLS[name]]
    densest = about.densest[3 if batch == 64 else 0]
    for density in (densest / 2, densest + 0.1):
        problem = problem_of(name, max(about.smallest, 40), batch, density, time=1)
        assert (sparse.refuses(problem) is None) == (problem.density <= densest)
