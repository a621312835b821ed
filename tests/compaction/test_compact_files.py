"""Compacted models on disk: they come back exactly, and a file that is not one gives one clear error."""

import copy
import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.compaction.compact import compact
from sparsernn.compaction.files import load_compact, save_compact
from sparsernn.errors import UserError
from sparsernn.models.language_model import LanguageModel
from sparsernn.nn import module_of
from sparsernn.structure.masks import Masks
from tests.structure.networks import Reading, difference, random_masks

IDS = torch.randint(7, (5, 2), generator=torch.Generator().manual_seed(0))


def saved(path, model: nn.Module, *inputs, seed: int = 6) -> nn.Module:
    small, _ = compact(model, random_masks(model, "neuron", 0.5, seed, example=inputs), inputs)
    save_compact(path, small)
    return small


def test_unequal_layers_come_back_as_a_module_of_this_package(tmp_path):
    model = Reading(nn.LSTM(4, 6, 2), "final state")
    small = saved(tmp_path / "small", model, IDS)
    assert type(small.cell) is module_of(LSTM)
    loaded = load_compact(tmp_path / "small", Reading(nn.LSTM(4, 6, 2), "final state"))
    assert type(loaded.cell) is module_of(LSTM)
    assert difference(small, loaded, IDS) == 0 and difference(small, copy.deepcopy(loaded), IDS) == 0


def test_files_of_earlier_versions_which_gave_each_layer_a_module_are_read(tmp_path):
    small = saved(tmp_path / "small", Reading(nn.LSTM(4, 6, 2), "final state"), IDS)
    with safe_open(str(tmp_path / "small"), "pt") as file:
        metadata, tensors = file.metadata(), {}
        for name in file.keys():
            parameter, layer = re.fullmatch(r"(.*?)(?:_l(\d))?", name).groups()
            earlier = parameter.replace("cell.", f"cell.layers.{layer}.") + "_l0" if layer else name
            tensors[earlier] = file.get_tensor(name)
    assert "cell.layers.1.weight_hh_l0" in tensors
    save_file(tensors, str(tmp_path / "earlier"), metadata | {"format": "sparsernn-compact-1"})
    assert difference(small, load_compact(tmp_path / "earlier", Reading(nn.LSTM(4, 6, 2), "final state")), IDS) == 0


def test_tied_weights_are_saved_once_and_come_back_tied(tmp_path):
    model = LanguageModel(7, units=6, tied=True)
    small = saved(tmp_path / "small", model, IDS)
    with safe_open(str(tmp_path / "small"), "pt") as file:
        assert "embedding.weight" in file.keys() and "head.weight" not in file.keys()
    loaded = load_compact(tmp_path / "small", LanguageModel(7, units=6, tied=True))
    assert loaded.head.weight is loaded.embedding.weight
    assert difference(small, loaded, IDS) == 0


def test_a_module_with_two_names_comes_back_with_two_names(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.GRU(4, 6, 2)
            self.again, self.head = self.first, nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.again(self.first(x)[0][..., :1].expand(-1, -1, 4))[0])

    model, x = Twice(), torch.randn(5, 2, 4)
    small = saved(tmp_path / "small", model, x)
    loaded = load_compact(tmp_path / "small", Twice())
    assert loaded.first is loaded.again and difference(small, loaded, x) == 0


@pytest.mark.filterwarnings("ignore:0 of ")
def test_states_of_the_old_width_are_taken_by_a_loaded_model(tmp_path):
    model = Reading(GRU(4, 6, 2), "returned states")
    state = model(IDS)[1]
    small = saved(tmp_path / "small", model, IDS, state)
    loaded = load_compact(tmp_path / "small", Reading(GRU(4, 6, 2), "returned states"))
    assert difference(small, loaded, IDS, state) == 0


def test_cuts_of_two_compactions_are_both_made_again(tmp_path):
    model = Reading(nn.LSTM(4, 8, 2), "returned states")
    small, _ = compact(model, random_masks(model, "neuron", 0.8, 0, example=(IDS,)), IDS, carried_states=True)
    small, _ = compact(small, random_masks(small, "neuron", 0.6, 3, example=(IDS,)), IDS, carried_states=True)
    save_compact(tmp_path / "small", small)
    loaded = load_compact(tmp_path / "small", model)
    assert difference(small, loaded, IDS) == 0
    state = model(IDS)[1]
    assert difference(small, loaded, IDS, state) == 0


def test_buffers_and_other_types_come_back(tmp_path):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), nn.BatchNorm1d(3)).double()
    model(torch.randn(8, 4, dtype=torch.float64))
    masks = Masks({"2.weight": torch.tensor([[True] * 4 + [False] * 2] * 3)})
    small, _ = compact(model.eval(), masks, torch.randn(8, 4, dtype=torch.float64))
    save_compact(tmp_path / "small", small)
    loaded = load_compact(tmp_path / "small", model)
    x = torch.randn(8, 4, dtype=torch.float64)
    assert loaded[0].out_features == 4 and difference(small, loaded, x) == 0
    assert int(loaded[3].num_batches_tracked) == 1


@pytest.mark.parametrize(
    "other",
    [
        Reading(nn.LSTM(4, 7, 2), "final state"),
        Reading(nn.LSTM(4, 6, 3), "final state"),
        Reading(nn.GRU(4, 6, 2), "final state"),
        Reading(nn.LSTM(4, 6, 2, bias=False), "final state"),
        Reading(nn.LSTM(4, 6, 2), "final state", words=8),
        Reading(nn.LSTM(4, 6, 2), "attention"),
        Reading(nn.LSTM(4, 6, 2), "final state").double(),
        nn.Linear(3, 3),
    ],
)
def test_another_architecture_is_refused_and_left_alone(other, tmp_path):
    saved(tmp_path / "small", Reading(nn.LSTM(4, 6, 2), "final state"), IDS)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(UserError, match="does not fit this model"):
        load_compact(tmp_path / "small", other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_only_compacted_models_are_saved(tmp_path):
    with pytest.raises(UserError, match="not made by compact"):
        save_compact(tmp_path / "small", nn.LSTM(3, 4))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "small"
    model = Reading(nn.GRU(4, 6, 2), "final state")
    saved(path, model, IDS)
    return path, model


@settings(max_examples=100)
@given(st.data())
def test_a_damaged_file_gives_one_clear_error_or_a_model(tmp_path_factory, whole, data):
    path, model = whole
    content = bytearray(path.read_bytes())
    end = data.draw(st.sampled_from([len(content), 900, 200, 8]))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path_factory.mktemp("damaged") / "small"
    damaged.write_bytes(content[: data.draw(st.sampled_from([len(content), 0, 5, 9, 1000, len(content) - 1]))])
    try:
        loaded = load_compact(damaged, model)
    except UserError as error:
        assert str(damaged) in error.happened and error.expected and error.do
    else:
        loaded(IDS)


@settings(max_examples=50)
@given(st.binary(max_size=100))
def test_a_file_of_something_else_gives_the_same_error(tmp_path_factory, whole, content):
    path = tmp_path_factory.mktemp("other") / "small"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable compacted model"):
        load_compact(path, whole[1])


def changed(cut: dict, key: str, **values) -> str:
    return json.dumps([{key: cut | values}])


CUT = {
    "kept": {"input": [0, 1, 2, 3], "hidden_0": [0, 1], "hidden_1": [0, 1]},
    "sizes": {"input": 4, "hidden_0": 6, "hidden_1": 6},
    "narrow": False,
    "widen": [],
    "seen": [[]],
}
HOSTILE = {
    "no JSON": "{",
    "a number": "3",
    "a list of numbers": "[1]",
    "deep": "[" * 100_000,
    "null": "null",
    "no cut": json.dumps([{"cell": {}}]),
    "an unknown module": changed(CUT, "nothing.here"),
    "a module that is no layer": changed(CUT, ""),
    "a unit twice": changed(CUT, "cell", kept=CUT["kept"] | {"hidden_0": [1, 1]}),
    "a unit out of range": changed(CUT, "cell", kept=CUT["kept"] | {"hidden_0": [1, 6]}),
    "a negative unit": changed(CUT, "cell", kept=CUT["kept"] | {"hidden_0": [-1, 1]}),
    "a huge unit": changed(CUT, "cell", kept=CUT["kept"] | {"hidden_0": [10**30]}),
    "no unit": changed(CUT, "cell", kept=CUT["kept"] | {"hidden_0": []}),
    "words for units": changed(CUT, "cell", kept=CUT["kept"] | {"hidden_0": ["0"]}),
    "more sizes": changed(CUT, "cell", sizes=CUT["sizes"] | {"hidden_2": 6}),
    "a huge size": changed(CUT, "cell", sizes=CUT["sizes"] | {"hidden_0": 10**9}),
    "a state that is not there": changed(CUT, "cell", widen=[7]),
    "a state by name": changed(CUT, "cell", widen=["h"]),
    "an axis that is not there": changed(CUT, "cell", seen=[["hidden_9"]]),
    "an axis of another kind": changed(CUT, "cell", seen=[[[]]]),
    "seen as a number": changed(CUT, "cell", seen=3),
}


@pytest.mark.parametrize("written", ["sparsernn-compact-1", "sparsernn-compact-2"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_are_refused(kind, written, whole, tmp_path):
    with safe_open(str(whole[0]), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    save_file(tensors, str(tmp_path / "small"), metadata={"format": written, "cuts": HOSTILE[kind]})
    with pytest.raises(UserError, match="not a readable compacted model|does not fit this model"):
        load_compact(tmp_path / "small", whole[1])


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"format": "sparsernn-compact-1"}])
def test_ordinary_safetensors_are_refused(header, whole, tmp_path):
    save_file({"w": torch.zeros(3)}, str(tmp_path / "small"), metadata=header)
    with pytest.raises(UserError, match="not a readable compacted model"):
        load_compact(tmp_path / "small", whole[1])


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_tensors_that_do_not_belong_are_refused(change, whole, tmp_path):
    with safe_open(str(whole[0]), "pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    name = sorted(tensors)[0]
    tensors = {
        "missing": {key: value for key, value in tensors.items() if key != name},
        "more": tensors | {"extra": torch.zeros(2)},
        "shape": tensors | {name: torch.zeros(3, 3, 3)},
    }[change]
    save_file(tensors, str(tmp_path / "small"), metadata=header)
    with pytest.raises(UserError, match="does not fit this model"):
        load_compact(tmp_path / "small", whole[1])


@pytest.mark.parametrize("place", ["missing", "."])
def test_no_file_is_one_clear_error(place, whole, tmp_path):
    with pytest.raises(UserError, match="not a readable compacted model"):
        load_compact(tmp_path / place, whole[1])
