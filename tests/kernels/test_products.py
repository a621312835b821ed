"""Every format of a weight against the dense product, and layers that step through with them against the reference."""

from dataclasses import replace

import pytest
import torch

from sparsernn import folders, native
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork
from sparsernn.cells.sru import SRU
from sparsernn.kernels.product import Products, best, matrix_of, products
from sparsernn.kernels.products import dense, living_rows, rows
from sparsernn.kernels.registry import Problem, using
from sparsernn.kernels.sequence import reference, sparse_steps

FORMATS = folders.entries("kernels.products")
compiled = pytest.mark.skipif(native.module is None, reason="needs the compiled extension")
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-10}

STEPPED = {name: cell() for name, cell in folders.entries("cells").items() if cell().reads_state} | {
    "gru before": GRU(reset="before"),
    "lstm projected": LSTM(projected=True),
    "peephole full": PeepholeLSTM(peephole="full"),
    "deep highway": RecurrentHighwayNetwork(depth=5),
}
WHOLE = {
    "all of it": (GRU(), "weight_hh", None),
    "the input's": (LSTM(), "weight_ih", None),
    "the first gates": (GRU(reset="before"), "weight_hh", ("reset", "update")),
    "the last gate": (GRU(reset="before"), "weight_hh", ("candidate",)),
    "one in the midst": (LSTM(), "weight_hh", ("forget",)),
    "fewer biases than gates": (SRU(straight=True), "weight_ih", None),
    "gates with and without a bias": (SRU(straight=True), "weight_ih", ("candidate", "forget")),
    "without gates": (LSTM(projected=True), "weight_hr", None),
    "a diagonal": (PeepholeLSTM(), "weight_ch", None),
    "a gate of a diagonal": (PeepholeLSTM(), "weight_ch", ("forget",)),
}


@pytest.fixture(autouse=True)
def small_matrices_may_be_sparse(monkeypatch):
    monkeypatch.setattr(rows, "SMALLEST", 0)
    monkeypatch.setattr(living_rows, "SMALLEST", 0)


def problem_of(cell, dtype=torch.float64, kept=0.1, units=24, lengths=None, time=6, batch=3):
    """A layer with seven inputs; every matrix has a mask, unless `kept` is None."""
    torch.manual_seed(0)
    sizes = cell.sizes(7, units) | {"projection": units - 5}
    weights, masks = {}, None if kept is None else {}
    for local, text in cell.axes.items():
        weights[local] = torch.randn(cell.shape(local, sizes), dtype=dtype)
        if "<-" in text and kept is not None:
            masks[local] = torch.rand(weights[local].shape) < kept
            weights[local] *= masks[local]
        weights[local].requires_grad_()
    x = torch.randn(time, batch, 7, dtype=dtype, requires_grad=True)
    state = tuple(torch.randn(batch, sizes[axis], dtype=dtype, requires_grad=True) for axis in cell.state_axes)
    return Problem(cell, weights, x, state, lengths, masks)


def width_of(problem, name):
    """How many numbers a weight multiplies."""
    source = problem.cell.axes[name].partition("<- ")[2]
    return problem.state[-1].shape[-1] if source == "self" else problem.weights[name].shape[-1]


def results(problem, name, gates, product, vector):
    """A product and the gradients of the vector, and of the numbers of the weight and its bias that exist."""
    leaves = {"vector": vector} | {local: weight for local, weight in problem.weights.items()}
    for leaf in leaves.values():
        leaf.grad = None
    multiplied = Products(problem, lambda matrix: product)(name, vector, gates)
    multiplied.sin().sum().backward()
    masks = problem.masks or {}
    gradients = {local: leaf.grad for local, leaf in leaves.items() if leaf.grad is not None}
    return multiplied, {local: gradient * masks.get(local, 1) for local, gradient in gradients.items()}


@pytest.mark.parametrize("shape", [(1,), (3,), (4, 3), (0,)], ids=str)
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("part", WHOLE)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_agrees_with_the_dense_one(name, part, dtype, shape):
    cell, local, gates = WHOLE[part]
    problem, product = problem_of(cell, dtype), FORMATS[name]
    if product.refuses(matrix_of(problem, local, gates)) is not None:
        return
    vector = torch.randn(*shape, width_of(problem, local), dtype=dtype, requires_grad=True)
    expected, wanted = results(problem, local, gates, dense.product, vector)
    found, gradients = results(problem, local, gates, product, vector)
    assert found.dtype == dtype and torch.allclose(found, expected, rtol=CLOSE[dtype], atol=CLOSE[dtype])
    assert set(gradients) == set(wanted) >= {"vector", local}
    for leaf, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[leaf], rtol=CLOSE[dtype], atol=CLOSE[dtype]), leaf


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("part", WHOLE)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_finite_comes_out_where_the_dense_product_has_it(name, part, bad):
    cell, local, gates = WHOLE[part]
    problem, product = problem_of(cell, kept=0.1), FORMATS[name]
    if product.refuses(matrix_of(problem, local, gates)) is not None:
        return
    vector = torch.randn(3, width_of(problem, local), dtype=torch.float64)
    vector[1, 2] = bad
    expected = Products(problem, lambda matrix: dense.product)(local, vector, gates)
    result = Products(problem, lambda matrix: product)(local, vector, gates)
    torch.testing.assert_close(result, expected, equal_nan=True)
    assert not torch.isfinite(result[1]).all() and torch.isfinite(result[0]).all()


@pytest.mark.parametrize("part", [part for part in WHOLE if "diagonal" not in part])
def test_empty_rows_are_not_computed(part, monkeypatch):
    """Two of three rows are empty: a third of the rows is multiplied, and the others have their bias."""
    cell, local, gates = WHOLE[part]
    problem = problem_of(cell, kept=0.9)
    problem.masks[local][torch.arange(len(problem.masks[local])) % 3 > 0] = False
    with torch.no_grad():
        problem.weights[local] *= problem.masks[local]
    matrix = matrix_of(problem, local, gates)
    assert living_rows.refuses(matrix) is None
    vector, heights = torch.randn(3, width_of(problem, local), dtype=torch.float64, requires_grad=True), []
    expected, wanted = results(problem, local, gates, dense.product, vector)
    linear = living_rows.F.linear
    monkeypatch.setattr(living_rows.F, "linear", lambda v, weight: heights.append(len(weight)) or linear(v, weight))
    found, gradients = results(problem, local, gates, living_rows.product, vector)
    assert heights == [-(-len(matrix.weight) // 3)]
    assert torch.allclose(found, expected)
    assert all(torch.allclose(gradient, wanted[leaf]) for leaf, gradient in gradients.items())


@compiled
def test_every_format_takes_something_and_the_last_one_all():
    matrices = [matrix_of(problem_of(cell), local, gates) for cell, local, gates in WHOLE.values()]
    empty = problem_of(LSTM())
    empty.masks["weight_hh"][:48] = False
    matrices.append(matrix_of(empty, "weight_hh"))
    for name, product in FORMATS.items():
        assert any(product.refuses(matrix) is None for matrix in matrices), name
    assert all(products()[-1][1].refuses(matrix) is None for matrix in matrices)
    assert [product.rank for _, product in products()] == sorted(product.rank for product in FORMATS.values())


def test_the_dense_product_is_a_matrix_times_a_vector():
    problem = problem_of(PeepholeLSTM(), kept=None)
    multiply, hidden, memory = Products(problem, lambda matrix: dense.product), *problem.state
    weight, bias = problem.weights["weight_hh"], problem.weights["bias_hh"]
    assert torch.allclose(multiply("weight_hh", hidden), hidden @ weight.T + bias)
    forget = slice(24, 48)
    assert torch.allclose(multiply("weight_hh", hidden, ("forget",)), hidden @ weight[forget].T + bias[forget])
    peephole = problem.weights["weight_ch"]
    assert torch.allclose(multiply("weight_ch", memory), torch.cat([memory] * 3, -1) * peephole)
    assert torch.allclose(multiply("weight_ch", memory, ("output",)), memory * peephole[48:])
    assert multiply("bias_ih") is problem.weights["bias_ih"] and multiply("weight_not_there") == 0


def test_a_bias_of_fewer_gates_is_added_where_it_belongs():
    problem = problem_of(SRU(straight=True), kept=None)
    multiply, x = Products(problem, lambda matrix: dense.product), problem.x
    products_of_gates = (x @ problem.weights["weight_ih"].T).chunk(3, -1)
    forget, output = problem.weights["bias_ih"].chunk(2)
    expected = [products_of_gates[0], products_of_gates[1] + forget, products_of_gates[2] + output]
    assert torch.allclose(multiply("weight_ih", x), torch.cat(expected, -1))
    assert torch.allclose(multiply("weight_ih", x, ("candidate",)), expected[0])
    assert torch.allclose(multiply("weight_ih", x, ("forget", "output")), torch.cat(expected[1:], -1))


@compiled
@pytest.mark.parametrize("name", FORMATS)
def test_factors_stand_around_the_product_of_every_format(name):
    problem, hidden = problem_of(GRU(reset="before")), torch.randn(3, 24, dtype=torch.float64)
    column, row = torch.rand(3, 24, dtype=torch.float64), torch.rand(3, 72, dtype=torch.float64)
    weight, bias = problem.weights["weight_hh"], problem.weights["bias_hh"]
    for factors in ((column, None), (None, row), (column, row)):
        multiply = Products(replace(problem, factors={"weight_hh": factors}), lambda matrix: FORMATS[name])
        expected = (hidden * (1 if factors[0] is None else column)) @ weight.T
        expected = expected * (1 if factors[1] is None else row) + bias
        assert torch.allclose(multiply("weight_hh", hidden), expected)
        assert torch.allclose(multiply("weight_hh", hidden, ("reset", "update")), expected[:, :48])
        assert torch.allclose(multiply("weight_hh", hidden, ("candidate",)), expected[:, 48:])


@pytest.mark.parametrize("name", FORMATS)
def test_a_product_is_prepared_once_a_sequence(name):
    problem, hidden, prepared = problem_of(GRU()), torch.randn(3, 24, dtype=torch.float64), []
    product = replace(FORMATS[name], prepare=lambda matrix: prepared.append(matrix.rows) or (lambda vector: vector))
    multiply = Products(problem, lambda matrix: product)
    for gates in (None, ("reset",), None, ("update",), ("reset",)):
        multiply("weight_hh", hidden, gates)
    assert prepared == [(0, 72), (0, 24), (24, 48)]


REFUSED = {
    "diagonal": lambda problem: matrix_of(problem, "weight_ch"),
    "differentiated once": lambda problem: matrix_of(replace(problem, twice=True), "weight_hh"),
    "nobody says": lambda problem: matrix_of(replace(problem, masks=None), "weight_hh"),
    "nobody says which": lambda problem: matrix_of(replace(problem, masks={}), "weight_hh"),
    "numbers exist; above": lambda problem: matrix_of(
        replace(problem, masks={"weight_hh": torch.ones(96, 24, dtype=torch.bool)}), "weight_hh"
    ),
    "not in bfloat16": lambda problem: matrix_of(
        replace(problem, weights={"weight_hh": problem.weights["weight_hh"].bfloat16()}), "weight_hh"
    ),
}


@compiled
@pytest.mark.parametrize("reason", REFUSED)
def test_products_by_rows_say_what_they_refuse(reason):
    problem = problem_of(PeepholeLSTM())
    assert rows.product.refuses(matrix_of(problem, "weight_hh")) is None
    matrix = REFUSED[reason](problem)
    assert reason in rows.product.refuses(matrix) and best(matrix)[0] == "dense"


@compiled
def test_small_matrices_are_left_to_dense_products(monkeypatch):
    matrix = matrix_of(problem_of(GRU()), "weight_hh")
    assert best(matrix)[0] == "rows"
    monkeypatch.setattr(rows, "SMALLEST", 1 << 18)
    assert "quicker dense" in rows.product.refuses(matrix) and best(matrix)[0] == "dense"


def of_a_layer(problem, run):
    """Outputs, final states, and the gradients of everything that exists."""
    leaves = {"x": problem.x, **{str(at): part for at, part in enumerate(problem.state)}, **problem.weights}
    for leaf in leaves.values():
        leaf.grad = None
    output, ends = run(problem)
    sum((place * part.sin()).sum() for place, part in enumerate((output, *ends), 1)).backward()
    return [output, *ends], {name: leaf.grad * problem.masks.get(name, 1) for name, leaf in leaves.items()}


@compiled
@pytest.mark.parametrize("lengths", [None, torch.tensor([2, 6, 1])], ids=["whole", "lengths"])
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("name", STEPPED)
def test_sparse_steps_are_the_steps_of_the_reference(name, dtype, lengths):
    problem = problem_of(STEPPED[name], dtype, lengths=lengths)
    assert sparse_steps.refuses(problem) is None
    expected, wanted = of_a_layer(problem, reference.run)
    found, gradients = of_a_layer(problem, sparse_steps.run)
    assert all(torch.allclose(a, b, rtol=CLOSE[dtype], atol=CLOSE[dtype]) for a, b in zip(found, expected, strict=True))
    for leaf, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[leaf], rtol=10 * CLOSE[dtype], atol=10 * CLOSE[dtype]), leaf


@compiled
@pytest.mark.parametrize("name", STEPPED)
def test_sparse_steps_need_a_mask_of_a_matrix_that_reads_a_state(name, monkeypatch):
    problem = problem_of(STEPPED[name])
    assert "nobody says" in sparse_steps.refuses(replace(problem, masks=None))
    only_input = {"weight_ih": problem.masks["weight_ih"]}
    assert "no weight that reads a state" in sparse_steps.refuses(replace(problem, masks=only_input))
    with torch.no_grad():
        assert sparse_steps.refuses(replace(problem, masks=None)) is None
    monkeypatch.setattr(rows, "SMALLEST", 1 << 18)
    monkeypatch.setattr(living_rows, "SMALLEST", 1 << 18)
    assert "no weight that reads a state" in sparse_steps.refuses(problem)


@compiled
@torch.no_grad()
def test_a_module_whose_zeros_are_read_off_takes_it_and_computes_the_same():
    torch.manual_seed(0)
    module, x = LSTM(7, 24, 2, bidirectional=True, gate_activation="hard_sigmoid"), torch.randn(6, 3, 7)
    for parameter in module.parameters():
        parameter *= torch.rand_like(parameter) < 0.1
    with using("sparse_steps"):
        output, ends = module(x, lengths=torch.tensor([6, 2, 5]))
    with using("reference"):
        expected, wanted = module(x, lengths=torch.tensor([6, 2, 5]))
    for ours, theirs in zip((output, *ends), (expected, *wanted), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
