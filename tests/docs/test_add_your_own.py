"""The files that the pages tell a reader to add do what the package asks of its own."""

from dataclasses import replace

import pytest
import torch

from sparsernn import folders
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.kernels import registry
from sparsernn.kernels.product import Products, best, matrix_of, products
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Problem, candidates, using
from sparsernn.running.runner import running_by
from tests.contracts import contract
from tests.docs.blocks import ROOT, added_files, blocks_of, save

FEW_CELLS = ("gru", "recurrent_highway", "torch.LSTM")
FEW_METHODS = ("magnitude", "st_rnn", "group_lasso")


@pytest.fixture
def added(tmp_path):
    """A function that adds the file of a page."""
    with added_files(tmp_path):

        def add(page: str) -> None:
            for file in files_of(page):
                assert len(file.text.splitlines()) < 45
                save(file, tmp_path)

        yield add


def files_of(page):
    """The blocks of a page that are files of the package."""
    return [block for block in blocks_of(ROOT / "docs" / page) if "file" in block.marks]


def check(cell, method, granularity):
    built = contract.for_a_short_run(method, granularity)
    trained = contract.trains(cell, built)
    contract.meets_its_target(trained, granularity)
    contract.leaves_plain_parameters(trained, cell)
    contract.compacts_exactly(trained)
    contract.resumes_bit_for_bit(cell, built)


def test_the_method(added):
    added("add-a-method.md")
    assert "taylor" in folders.names("methods")
    method = folders.find("methods", "taylor")
    contract.is_described(method)
    for cell in FEW_CELLS:
        for granularity in method.granularities:
            check(contract.cells()[cell], method, granularity)


def test_the_cell(added):
    added("add-a-cell.md")
    cell = folders.find("cells", "mgu")
    assert cell is folders.find("cells", "minimal_gated_unit")
    contract.is_described(cell)
    for name in FEW_METHODS:
        method = folders.find("methods", name)
        for granularity in method.granularities:
            check(cell, method, granularity)


def layer(units=12):
    """A layer that no compiled kernel takes; half of the columns of its recurrent matrix are empty."""
    torch.manual_seed(0)
    cell = PeepholeLSTM()
    sizes = cell.sizes(5, units)
    weights = {local: torch.randn(cell.shape(local, sizes), requires_grad=True) for local in cell.axes}
    mask = (torch.arange(units) % 2 == 0).expand_as(weights["weight_hh"])
    start = torch.randn(3, units)
    return Problem(cell, weights, torch.randn(6, 3, 5), (start, start), masks={"weight_hh": mask})


def test_the_kernel(added):
    added("add-a-kernel.md")
    problem = replace(layer(), masks=None)
    names = [kernel.provider for kernel, refusal in candidates(problem) if refusal is None]
    assert names == ["preallocated", "reference"]
    by_name = {kernel.provider: kernel for kernel, _ in candidates(problem)}
    assert agree(*(by_name[name].run(problem)[0] for name in names), problem.weights.values())


def test_the_format(added):
    added("add-a-kernel.md")
    problem, columns = layer(), folders.find("kernels.products", "columns")
    assert [name for name, _ in products()] == ["rows", "living_rows", "columns", "dense"]
    assert columns.refuses(matrix_of(problem, "weight_hh")) is None
    assert "diagonal" in columns.refuses(matrix_of(problem, "weight_ch"))
    assert "nobody says" in columns.refuses(matrix_of(problem, "weight_ih"))
    masked = problem.weights | {"weight_hh": problem.weights["weight_hh"] * problem.masks["weight_hh"]}
    problem = replace(problem, weights=masked)
    for gates in (None, ("forget",), ("candidate", "output")):
        results = [
            Products(problem, lambda matrix, product=product: product)("weight_hh", problem.state[0], gates)
            for product in (columns, dense.product)
        ]
        assert agree(*results, [masked["weight_hh"], masked["bias_hh"]], problem.masks["weight_hh"])
    assert [kernel.provider for kernel, refusal in candidates(problem) if refusal is None][0] == "sparse_steps"


def test_a_method_a_cell_and_a_format_of_ones_own_meet_in_one_network(added):
    """Each is one file; the network that the method prunes is computed by the cell's own step in the new format."""
    for page in ("add-a-method.md", "add-a-cell.md", "add-a-kernel.md"):
        added(page)
    cell, method = folders.find("cells", "mgu"), folders.find("methods", "taylor")
    trained = contract.trains(cell, contract.for_a_short_run(method, "neuron"))
    contract.compacts_exactly(trained)
    kernels, formats = [], []

    def noting(place, problem):
        kernels.append(registry.choose(problem).provider)
        formats.append(best(matrix_of(problem, "weight_hh", ("forget",)))[0])
        return registry.run(problem)

    inputs, _ = contract.batch(0)
    model = trained.model.eval()
    with torch.no_grad():
        with using("reference"):
            expected = model(inputs)
        with running_by(noting):
            result = model(inputs)
    assert set(kernels) == {"sparse_steps"} and set(formats) == {"columns"}
    assert torch.allclose(result, expected, atol=1e-6)


def agree(output, expected, weights, mask=None):
    """Whether two results are the same, and their gradients where there is a weight."""
    gradients = [torch.autograd.grad(one.sin().sum(), list(weights), retain_graph=True) for one in (output, expected)]
    if mask is not None:
        gradients = [(first * mask, *others) for first, *others in gradients]
    return torch.allclose(output, expected, atol=1e-6) and all(
        torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(*gradients, strict=True)
    )


def test_the_task(added):
    added("add-a-task.md")
    task = folders.find("data", "first_symbol")
    loaded, again = task().load(), task().load()
    assert len(loaded.train) + len(loaded.valid) + len(loaded.test) == task().examples
    for split, same in zip(
        (loaded.train, loaded.valid, loaded.test), (again.train, again.valid, again.test), strict=True
    ):
        batches = list(split.batches(32, shuffle_seed=3))
        assert len(batches) == split.number_of_batches(32)
        assert sum(len(batch.targets) for batch in batches) == len(split)
        for batch, other in zip(batches, same.batches(32, shuffle_seed=3), strict=True):
            assert torch.equal(batch.inputs, other.inputs) and torch.equal(batch.targets, other.targets)
        assert all(torch.equal(batch.targets, batch.inputs[:, 0] - 1) for batch in batches)


def test_the_package_is_afterwards_as_before(tmp_path):
    pages = ("add-a-method.md", "add-a-cell.md", "add-a-kernel.md", "add-a-task.md")
    before = {folder: folders.names(folder) for folder in ("methods", "cells", "kernels", "data")}
    with added_files(tmp_path):
        for file in (file for page in pages for file in files_of(page)):
            save(file, tmp_path)
        added = {folder: len(folders.names(folder)) - len(names) for folder, names in before.items()}
    assert added == {"methods": 1, "cells": 1, "kernels": 2, "data": 1}
    assert {folder: folders.names(folder) for folder in before} == before
