"""The files that the pages tell a reader to add do what the package asks of its own."""

import pytest
import torch

from sparsernn import folders
from sparsernn.kernels.registry import Problem, candidates
from tests.contracts import contract
from tests.docs.blocks import ROOT, added_files, blocks_of, save

FEW_CELLS = ("gru", "recurrent_highway", "torch.LSTM")
FEW_METHODS = ("magnitude", "st_rnn", "group_lasso")


@pytest.fixture
def added(tmp_path):
    """A function that adds the file of a page."""
    with added_files(tmp_path):

        def add(page: str) -> None:
            (file,) = [block for block in blocks_of(ROOT / "docs" / page) if "file" in block.marks]
            assert len(file.text.splitlines()) < 45
            save(file, tmp_path)

        yield add


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


def test_the_kernel(added):
    added("add-a-kernel.md")
    names = [kernel.provider for kernel, refusal in candidates(Problem("sequence")) if refusal is None]
    assert names == ["preallocated", "reference"]


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
    before = {folder: folders.names(folder) for folder in ("methods", "cells", "kernels", "data")}
    with added_files(tmp_path):
        for page in ("add-a-method.md", "add-a-cell.md", "add-a-kernel.md", "add-a-task.md"):
            for block in blocks_of(ROOT / "docs" / page):
                if "file" in block.marks:
                    save(block, tmp_path)
        added = {folder: folders.names(folder) for folder in before}
    assert all(len(added[folder]) == len(before[folder]) + 1 for folder in before)
    assert {folder: folders.names(folder) for folder in before} == before
