"""What was wrong in 0.1 stays right."""

import shutil

import pytest

from tests.faithful import faults, mutations

faults.load()


@pytest.mark.parametrize("name", faults.FAULTS)
def test_a_fault_of_0_1_stays_mended(name):
    outcome = faults.FAULTS[name]()
    assert outcome.right, f"expected {outcome.expected}, measured {outcome.measured}"


def test_a_wrong_outcome_is_told_and_ends_with_status_1(monkeypatch, capsys):
    monkeypatch.setitem(faults.FAULTS, "made", lambda: faults.equal(1, 2))
    assert faults.main(["made"]) == 1 and capsys.readouterr().out == "made: expected 1, measured 2, wrong\n"
    assert faults.main(["threshold_of_group_lasso"]) == 0


def test_every_mutation_has_its_place(tmp_path):
    shutil.copytree(mutations.PACKAGE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__", "native"))
    for mutation in mutations.MUTATIONS:
        mutation.put(tmp_path / "copy")
