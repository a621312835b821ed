"""What a compacted model takes on disk: what is kept, exactly or in a smaller type, and nothing that a file claims."""

import itertools
import json
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import nn

from sparsernn.compaction.compact import compact
from sparsernn.compaction.files import file_of, load_compact, plain_size, save_compact
from sparsernn.errors import UserError
from sparsernn.models.classifier import Classifier
from sparsernn.structure.masks import Masks
from tests.structure.networks import Reading, difference, random_masks

IDS = torch.randint(7, (5, 2), generator=torch.Generator().manual_seed(0))


def make(units: int = 64) -> Reading:
    torch.manual_seed(0)
    return Reading(nn.GRU(32, units), "final state")


def sparse(level: str, kept: float, units: int = 64) -> tuple[nn.Module, Masks]:
    model = make(units)
    return compact(model.eval(), random_masks(model, level, kept, 0, example=(IDS,)), IDS)


@pytest.mark.parametrize("level, kept, most", [("weight", 0.1, 5.3), ("16x1", 0.1, 4.2), ("gate", 0.3, 4.1)])
def test_bytes_are_those_of_the_weights_that_are_kept(level, kept, most, tmp_path):
    small, masks = sparse(level, kept)
    assert save_compact(tmp_path / "small", small, masks) == {}
    numbers = sum(int(torch.count_nonzero(tensor)) for tensor in small.state_dict().values())
    size = (tmp_path / "small").stat().st_size
    assert size <= most * numbers + 2500
    plain, _ = file_of(small, plain=True)
    assert size < 0.4 * len(plain)
    loaded = load_compact(tmp_path / "small", make())
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in small.state_dict().items())


def test_a_dense_model_takes_no_more_than_its_numbers_and_a_header(tmp_path):
    small, _ = compact(make(), Masks({}), IDS)
    save_compact(tmp_path / "small", small)
    plain, _ = file_of(small, plain=True)
    numbers = sum(tensor.numel() for tensor in small.state_dict().values())
    assert (tmp_path / "small").stat().st_size <= len(plain) <= 4 * numbers + 2500


def test_masks_turn_what_they_leave_out_into_zeros(tmp_path):
    small, masks = sparse("weight", 0.2)
    expected = {name: value.clone() for name, value in small.state_dict().items()}
    with torch.no_grad():
        for name, kept in masks.kept.items():
            small.get_parameter(name)[~kept] = -0.0
    whole = {name: value.clone() for name, value in small.state_dict().items()}
    save_compact(tmp_path / "small", small, masks)
    save_compact(tmp_path / "whole", small)
    assert (tmp_path / "small").stat().st_size < (tmp_path / "whole").stat().st_size
    loaded = [load_compact(tmp_path / name, make()).state_dict() for name in ("small", "whole")]
    assert all(torch.equal(loaded[0][name].view(torch.int32), expected[name].view(torch.int32)) for name in expected)
    assert all(torch.equal(loaded[1][name].view(torch.int32), whole[name].view(torch.int32)) for name in whole)


def test_masks_of_another_model_are_refused(tmp_path):
    small, _ = sparse("weight", 0.2)
    with pytest.raises(UserError, match="its mask"):
        save_compact(tmp_path / "small", small, Masks({"head.weight": torch.ones(1, 1, dtype=torch.bool)}))


@pytest.mark.parametrize("dtype, most, times", [("float16", 5e-4, 1.5), ("int8", 4.1e-3, 2.0)])
def test_smaller_types_are_smaller_and_say_their_error(dtype, most, times, tmp_path):
    small, _ = sparse("weight", 0.3)
    save_compact(tmp_path / "exact", small)
    errors = save_compact(tmp_path / "small", small, dtype=dtype)
    loaded = load_compact(tmp_path / "small", make())
    state, back = small.state_dict(), loaded.state_dict()
    assert set(errors) == {name for name, value in state.items() if value.dim() > 1}
    for name, value in state.items():
        assert back[name].dtype == torch.float32
        error = float((value - back[name]).abs().max() / value.abs().max())
        assert error == pytest.approx(errors.get(name, 0), abs=1e-7) and error <= most
    with safe_open(str(tmp_path / "small"), "np") as file:
        entries = json.loads(file.metadata()["tensors"])
    assert {name: entries[name]["error"] for name in errors} == errors
    assert (tmp_path / "exact").stat().st_size > times * (tmp_path / "small").stat().st_size
    assert difference(small, loaded, IDS) < 0.05


@pytest.mark.parametrize("dtype", ["float32", "int3", ""])
def test_other_types_are_refused(dtype, tmp_path):
    with pytest.raises(UserError, match="dtype is"):
        save_compact(tmp_path / "small", sparse("weight", 0.2)[0], dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_every_type_come_back(dtype, tmp_path):
    small, _ = sparse("weight", 0.2)
    save_compact(tmp_path / "small", small.to(dtype))
    state = load_compact(tmp_path / "small", make().to(dtype)).state_dict()
    assert all(value.dtype == dtype and torch.equal(value, state[name]) for name, value in small.state_dict().items())


def test_a_vocabulary_of_few_living_words_takes_few_bytes(tmp_path):
    torch.manual_seed(0)
    model, ids = Classifier(vocabulary=20_003, inputs=16, classes=2, units=8), torch.randint(20_003, (2, 9))
    kept = torch.zeros(20_003, 16, dtype=torch.bool)
    kept[torch.randperm(20_002)[:100] + 1] = True
    small, masks = compact(model.eval(), Masks({"embedding.weight": kept}), ids)
    save_compact(tmp_path / "small", small, masks)
    numbers = sum(parameter.numel() for parameter in small.parameters())
    assert (tmp_path / "small").stat().st_size < 4 * numbers + 2500
    assert difference(small, load_compact(tmp_path / "small", model), ids) == 0


def test_files_of_the_first_format_are_read(tmp_path):
    """The header of that time: every axis as a list of the units that stay."""
    torch.manual_seed(0)
    model = Reading(nn.GRU(4, 6), "final state").eval()
    small, _ = compact(model, random_masks(model, "neuron", 0.5, 6, example=(IDS,)), IDS)
    kept = [unit for unit in range(6) if unit in _units(small, model)]
    cut = {"kept": {"input": [0, 1, 2, 3], "hidden_0": kept}, "sizes": {"input": 4, "hidden_0": 6}, "narrow": False}
    head = {"kept": {"input": kept, "output": [0, 1, 2]}, "sizes": {"input": 6, "output": 3}, "narrow": False}
    rest = {"widen": [], "seen": [[]]}
    cuts = json.dumps([{"cell": cut | rest, "head": head | {"widen": [], "seen": []}}])
    save_file(
        {name: value.contiguous() for name, value in small.state_dict().items()},
        str(tmp_path / "first"),
        {"format": "sparsernn-compact-1", "cuts": cuts},
    )
    loaded = load_compact(tmp_path / "first", model)
    assert difference(small, loaded, IDS) == 0
    save_compact(tmp_path / "second", loaded)
    assert difference(small, load_compact(tmp_path / "second", model), IDS) == 0


def _units(small: nn.Module, model: nn.Module) -> list[int]:
    """Which units of the only layer stayed, by their columns of the output layer."""
    columns = small.head.weight.T
    return [int((model.head.weight.T - column).abs().sum(1).argmin()) for column in columns]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "small"
    save_compact(path, sparse("weight", 0.1, 32)[0])
    with safe_open(str(path), "np") as file:
        header = file.metadata()
    return path, load_file(path), header


NAME = "cell.weight_ih_l0"
HOSTILE = {
    "a list": "[]",
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a number for a tensor": json.dumps({NAME: 3}),
    "another shape": json.dumps({NAME: {"shape": [96, 31], "type": "float32"}}),
    "a huge shape": json.dumps({NAME: {"shape": [10**9, 10**9], "type": "float32"}}),
    "a negative shape": json.dumps({NAME: {"shape": [-96, -32], "type": "float32"}}),
    "another type": json.dumps({NAME: {"shape": [96, 32], "type": "float64"}}),
    "an unknown type": json.dumps({NAME: {"type": "float7"}}),
    "numbers of an unknown type": json.dumps({NAME: {"shape": [96, 32], "type": "float32", "stored": "int4"}}),
    "no pattern": json.dumps({NAME: {"shape": [96, 32], "type": "float32"}}),
    "a pattern without bytes": json.dumps({NAME: {"shape": [96, 32], "type": "float32", "tiles": ["bits", 0]}}),
    "a huge pattern": json.dumps({NAME: {"shape": [96, 32], "type": "float32", "tiles": ["gaps8", 10**20]}}),
    "a huge tile": json.dumps({NAME: {"shape": [96, 32], "type": "float32", "tile": [10**9, 1]}}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tensors_are_refused(kind, packed, tmp_path):
    _, arrays, header = packed
    save_arrays(arrays, tmp_path / "small", header | {"tensors": HOSTILE[kind]})
    with pytest.raises(UserError, match="not a readable compacted model|does not fit this model"):
        load_compact(tmp_path / "small", make(32))


def test_bytes_that_no_model_needs_are_not_read(packed, tmp_path):
    _, arrays, header = packed
    large = np.zeros(50_000_000, np.uint8)
    for changed in (arrays | {NAME: large}, arrays | {"extra": large}):
        save_arrays(changed, tmp_path / "small", header)
        tracemalloc.start()
        with pytest.raises(UserError):
            load_compact(tmp_path / "small", make(32))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


def test_a_huge_vocabulary_in_the_header_makes_nothing_large(packed, tmp_path):
    _, arrays, header = packed
    cut = {"kept": {"word": ["gaps8", "AA=="]}, "sizes": {"word": 10**12, "unit": 32}}
    cuts = json.dumps([{"embedding": cut | {"narrow": False, "widen": [], "seen": []}}])
    save_arrays(arrays, tmp_path / "small", header | {"cuts": cuts})
    with pytest.raises(UserError, match="does not fit this model"):
        load_compact(tmp_path / "small", make(32))


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_file_gives_one_clear_error_or_a_model(tmp_path_factory, packed, data):
    content = bytearray(packed[0].read_bytes())
    end = data.draw(st.sampled_from([len(content), 2500, 1200, 8]))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path_factory.mktemp("damaged") / "small"
    damaged.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 1, 1000]))])
    try:
        loaded = load_compact(damaged, make(32))
    except UserError as error:
        assert str(damaged) in error.happened and error.expected and error.do
    else:
        loaded(IDS)


@pytest.mark.parametrize("make_one", [make, lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()])
def test_the_size_of_a_plain_file_is_known_without_it(make_one):
    model = make_one()
    assert plain_size(model) == len(file_of(model, plain=True)[0])
    with torch.device("meta"):
        assert plain_size(make_one()) == plain_size(model)


def test_a_packed_file_is_never_larger_than_a_plain_one():
    chance = torch.Generator().manual_seed(0)
    for rows, columns in itertools.product((1, 3, 40), (1, 7, 90)):
        for density in (0.0, 0.5, 0.7, 0.9, 0.97, 1.0):
            model = nn.Linear(columns, rows, dtype=torch.float64)
            with torch.no_grad():
                model.weight.mul_(torch.rand(rows, columns, generator=chance) < density)
            assert len(file_of(model)[0]) <= plain_size(model)
