"""State goes through tensors and JSON and comes back the same."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsernn.errors import UserError
from sparsernn.sparsifying import state_tree

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_subnormal=False),
    st.text(),
    st.lists(st.integers(-9, 9), max_size=3).map(torch.tensor),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
        st.dictionaries(st.one_of(st.integers(), st.text()), inner, max_size=3),
    ),
    max_leaves=12,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_round_trip(tree):
    tensors, values = state_tree.split(tree)
    text = json.dumps(values, allow_nan=False)
    assert same(tree, state_tree.join(tensors, json.loads(text)))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"tensor": "absent"},
        {"os.system": "x"},
        {"dict": []},
        {"tuple": 3},
        {"pairs": [1]},
        {"float": "x"},
        {"dict": {}, "tuple": []},
        {"tensor": []},
        {"pairs": [[{"dict": {}}, 1]]},
    ],
)
def test_values_it_did_not_make_are_refused(values):
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        state_tree.join({}, values)


def test_objects_are_refused_by_name():
    with pytest.raises(UserError, match="/state/0/hook holds a object"):
        state_tree.split({"state": {0: {"hook": object()}}})
