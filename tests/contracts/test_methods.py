"""Every method on every cell at every granularity, found by folder."""

import dataclasses

import pytest

from sparsernn import folders
from tests.contracts import contract

METHODS = folders.entries("methods")
CELLS = contract.cells()


def levels_in_line(cell):
    """Granularities whose groups are units in line, such as the states of automata, which only some cells have."""
    declared = getattr(cell, "levels", {})
    line = cell().lines if declared else None
    return [level for level, axis in declared.items() if line is not None and axis == line.units]


def takes_any(method):
    """Whether a method works at whatever level a cell declares."""
    return "neuron" in method.granularities and "granularity" in {field.name for field in dataclasses.fields(method)}


CASES = [
    (cell, name, granularity)
    for cell, kind in CELLS.items()
    for name, method in METHODS.items()
    for granularity in (*method.granularities, *(levels_in_line(kind) if takes_any(method) else ()))
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    cell, name, granularity = request.param
    return CELLS[cell], contract.for_a_short_run(METHODS[name], granularity), granularity


@pytest.fixture(scope="module")
def trained(case):
    cell, method, _ = case
    return contract.trains(cell, method)


def test_trains_to_its_target(case, trained):
    contract.meets_its_target(trained, granularity=case[2])


def test_leaves_plain_parameters(case, trained):
    contract.leaves_plain_parameters(trained, cell=case[0])


def test_compacts_exactly(trained):
    contract.compacts_exactly(trained)


def test_resumes_bit_for_bit(case):
    contract.resumes_bit_for_bit(*case[:2])


@pytest.mark.parametrize(
    "entry", [*METHODS.values(), *folders.entries("cells").values()], ids=lambda entry: entry.__name__
)
def test_is_described(entry):
    contract.is_described(entry)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.__name__)
def test_is_flat_and_explains_every_option(method):
    contract.names_every_option(method)
    contract.is_in_a_short_chain(method)
