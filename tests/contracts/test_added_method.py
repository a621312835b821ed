"""A method is one file: the one of the docs page is put into a folder of its own and passes what all others pass."""

import dataclasses
import re

import pytest

from sparsernn import folders
from tests.contracts import contract
from tests.docs.blocks import ROOT, added_files, blocks_of, save

PAGE = ROOT / "docs" / "add-a-method.md"
CELLS = contract.cells()
NAME = "taylor"


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    folder = tmp_path_factory.mktemp("added")
    (block,) = (block for block in blocks_of(PAGE) if block.marks.get("file", "").startswith("src/sparsernn/methods/"))
    with added_files(folder):
        save(block, folder)
        yield folders.entries("methods")[NAME], block
    assert NAME not in folders.names("methods")


def test_it_is_one_short_file(added):
    method, block = added
    code = [
        line
        for line in re.sub(r'""".*?"""', "", block.text, flags=re.DOTALL).splitlines()
        if line.strip() and not line.startswith(("from", "import"))
    ]
    assert len(code) <= 20
    assert dataclasses.is_dataclass(method)


def test_it_is_found_by_name(added):
    assert folders.find("methods", NAME) is added[0]
    contract.is_described(added[0])
    contract.names_every_option(added[0])
    contract.is_in_a_short_chain(added[0])


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_it_passes_at_each_of_its_granularities(added, cell):
    for granularity in added[0].granularities:
        method = contract.for_a_short_run(added[0], granularity)
        trained = contract.trains(cell, method)
        contract.meets_its_target(trained, granularity)
        contract.leaves_plain_parameters(trained, cell)
        contract.compacts_exactly(trained)
        contract.resumes_bit_for_bit(cell, method)
