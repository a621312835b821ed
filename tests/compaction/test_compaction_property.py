"""Compaction never changes an output: random masks over every cell, depth, direction and way of reading."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsernn.compaction.files import load_compact, save_compact
from tests.structure.networks import MAKERS, Reading, check_exact, difference, random_masks, size_of

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:0 of ")
seeds = st.integers(0, 10**6)


@st.composite
def readings(draw, maker: str):
    """A model around one recurrent module, its inputs, and masks."""
    torch.manual_seed(draw(seeds))
    layers, both = draw(st.integers(1, 3)), draw(st.booleans())
    options = {"bias": draw(st.booleans())}
    if layers > 1:
        options["dropout"] = draw(st.sampled_from([0.0, 0.4]))
    cell = MAKERS[maker](4, draw(st.integers(5, 7)), layers, bidirectional=both, **options)
    way = draw(st.sampled_from(Reading.WAYS))
    model = Reading(cell, way, learned_start=draw(st.booleans()))
    for name, parameter in model.cell.named_parameters():
        if "bias" in name and draw(st.booleans()):
            nn.init.zeros_(parameter)
    model.train(draw(st.booleans()))
    ids = torch.randint(7, (5, 2))
    level, kept = (
        draw(st.sampled_from(["weight", "gate", "neuron", "2x1"])),
        draw(st.sampled_from([0.0, 0.1, 0.3, 0.6])),
    )
    where = draw(st.sampled_from([None, "cell.*", "*_l0*", "*weight_ih*", lambda name: True]))
    return model, random_masks(model, level, kept, draw(seeds), where, (ids,)), ids


@pytest.mark.parametrize("maker", MAKERS)
@settings(max_examples=8)
@given(data=st.data())
def test_random_masks_compact_exactly(maker, data):
    model, masks, ids = data.draw(readings(maker))
    small, left = check_exact(model, masks, ids, uniform=data.draw(st.booleans()))
    assert size_of(small) <= size_of(model)
    again, _ = check_exact(small, left, ids)
    assert size_of(again) <= size_of(small)


@pytest.mark.parametrize("maker", MAKERS)
@settings(max_examples=4)
@given(data=st.data())
def test_saved_models_come_back(maker, data, tmp_path_factory):
    model, masks, ids = data.draw(readings(maker))
    small, left = check_exact(model, masks, ids)
    small, _ = check_exact(small, left, ids)
    path = tmp_path_factory.mktemp("saved") / "small.safetensors"
    save_compact(path, small)
    loaded = load_compact(path, model)
    assert list(loaded.state_dict()) == list(small.state_dict())
    assert difference(small.eval(), loaded.eval(), ids) == 0
