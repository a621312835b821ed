"""`plan` takes the format that took least, whatever the clock says, and only exact ones unless 8 bits are asked for."""

import itertools

import numpy as np
import pytest

from sparsernn.cells.gru import GRU
from sparsernn.deploy import planning
from sparsernn.errors import UserError
from sparsernn.runtime.network import LayerSpec, NetworkSpec


def network() -> NetworkSpec:
    generator = np.random.default_rng(0)
    shapes = {"weight_ih": (48, 8), "weight_hh": (48, 16), "bias_ih": (48,), "bias_hh": (48,)}
    weights = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return NetworkSpec("recurrent", [LayerSpec(GRU(), weights, "dense")])


@pytest.mark.parametrize("quickest", ["dense", "rows", "blocks", "int8_blocks"])
def test_the_quickest_is_taken(quickest, monkeypatch):
    times = {name: 2.0 + number for number, name in enumerate(("int8_dense", "rows", "int8_lookup", "dense", "blocks"))}
    times |= {"int8_blocks": 9.0, quickest: 1.0}
    monkeypatch.setattr(planning, "_timed", lambda built, *_: {name: times[name] for name in built})
    planned, choices = planning.plan(network(), int8=True)
    assert planned.layers[0].format == quickest
    assert [choice.format for choice in choices if choice.taken] == [quickest]
    assert {choice.format: choice.us for choice in choices} == times


def test_what_is_taken_took_least_by_the_clock():
    for steps, int8 in itertools.product((1, 20), (False, True)):
        planned, choices = planning.plan(network(), steps=steps, int8=int8, seconds=0.02)
        assert {"dense", "rows", "blocks"} <= {choice.format for choice in choices}
        assert any(choice.format.startswith("int8") for choice in choices) == int8
        assert planned.layers[0].format == min(choices, key=lambda choice: choice.us).format


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"batch": 0}], ids=["steps", "batch"])
def test_a_call_of_nothing_is_refused(wrong):
    with pytest.raises(UserError, match="at least 0 steps and 1 sequence"):
        planning.plan(network(), **wrong)


def test_without_a_clock_the_format_that_reads_least_is_taken():
    planned, choices = planning.plan(network(), steps=0, int8=True)
    assert planned.layers[0].format == min(choices, key=lambda choice: choice.bytes).format
    assert planning.plan(network(), steps=0, int8=True)[0].layers[0].format == planned.layers[0].format
