"""Layouts are views with names; units are joined into classes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.errors import UserError
from sparsernn.structure.axes import OUTSIDE, Layout, Units


def test_gates_are_a_view():
    layout = Layout.parse("gate hidden <- input", ("i", "f", "g", "o"))
    weight = torch.arange(24.0).view(8, 3)
    view = layout.view(weight)
    assert view.shape == (4, 2, 3) and view.data_ptr() == weight.data_ptr()
    assert torch.equal(view[2, 1], weight[5])
    assert torch.equal(layout.stack(view), weight)
    assert (layout.destination, layout.source, layout.incoming) == (("gate", "hidden"), ("input",), True)


@pytest.mark.parametrize(
    ("text", "destination", "source", "incoming"),
    [
        ("output <- input", ("output",), ("input",), True),
        ("word -> unit", ("unit",), ("word",), True),
        ("gate hidden", ("gate", "hidden"), (), False),
        ("gate hidden <- self", ("gate", "hidden"), (), True),
    ],
)
def test_layouts_say_who_writes_and_who_reads(text, destination, source, incoming):
    layout = Layout.parse(text, ("r", "z"))
    assert (layout.destination, layout.source, layout.incoming) == (destination, source, incoming)


def test_a_layout_without_names_is_refused():
    with pytest.raises(UserError, match="names no dimension"):
        Layout.parse(" ")


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=15))
def test_joined_units_are_the_connected_components(pairs):
    units = Units()
    units.fresh(12)
    for a, b in pairs:
        assert units.join(torch.tensor([a]), torch.tensor([b])) == set()
    component = {number: {number} for number in range(1, 13)}
    for a, b in pairs:
        merged = component[a] | component[b]
        for member in merged:
            component[member] = merged
    roots = units.find(torch.arange(13)).tolist()
    assert roots[OUTSIDE] == OUTSIDE
    for a in range(1, 13):
        assert {b for b in range(1, 13) if roots[b] == roots[a]} == component[a]


def test_a_unit_that_meets_the_outside_is_told():
    units = Units()
    numbers = units.fresh(3)
    assert units.join(numbers, torch.tensor([0, 2, 0])) == {1, 3}
    assert units.join(numbers, torch.tensor(0)) == {1, 2, 3}
