"""Kinds of units and agreement of maps, counted by hand."""

import pytest

from sparsernn.errors import UserError
from sparsernn.measure.gate_maps import GateMap, agreement


def gate_map(*units, label="l0"):
    """A map from the letters of the gates that vary of each unit, or None for one that was removed."""
    gates = ("input", "forget")
    constant = {gate: [None if unit and gate[0] in unit else 0.5 for unit in units] for gate in gates}
    layer = {"label": label, "cell": "LSTM", "gates": gates, "constant": constant}
    return GateMap.from_json(layer | {"alive": [unit is not None for unit in units]})


def test_kinds_begin_with_most_gates_and_leave_removed_units_out():
    one = gate_map("f", "", None, "if", "i", "f")
    assert one.kinds() == {("input", "forget"): [3], ("input",): [4], ("forget",): [0, 5], (): [1]}
    assert list(one.kinds()) == [("input", "forget"), ("input",), ("forget",), ()]
    assert one.varying() == {"input": 2, "forget": 3} and one.living == 5


def test_maps_agree_with_themselves_and_whatever_the_order_of_units():
    first = [gate_map("if", "f", "f", None), gate_map("i", "", label="l1")]
    second = [gate_map(None, "f", "if", "f"), gate_map("", "i", label="l1")]
    alike = agreement(first, second)
    assert alike.correlation == pytest.approx(1) and alike.distance == 0


def test_agreement_by_hand():
    # Shares of input and forget: 1/2 and 1 against 1 and 1/2. Kinds: half "if", half "f" against half "if", half "i".
    alike = agreement([gate_map("if", "f")], [gate_map("if", "i")])
    assert alike.correlation == pytest.approx(-1) and alike.distance == pytest.approx(0.5)
    assert agreement([gate_map("i", "i")], [gate_map("f", "f")]).distance == 1
    assert agreement([gate_map("if", "if")], [gate_map("if", "f")]).correlation is None


def test_other_layers_are_refused():
    with pytest.raises(UserError, match="not of the same layers"):
        agreement([gate_map("i")], [gate_map("i", label="l1")])


def test_an_entry_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one value a unit"):
        GateMap.from_json({"label": "a", "cell": "LSTM", "gates": ["i"], "alive": [True], "constant": {"i": []}})
