"""Masks: zeros that stay exact, counts, bits on disk, and files that are not what they say."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from sparsernn.errors import UserError
from sparsernn.structure.masks import Masks
from sparsernn.tracing.recording import trace
from tests.structure.networks import Reading, random_masks


def made(level: str = "weight") -> tuple[nn.Module, Masks]:
    model = Reading(nn.LSTM(4, 6, 2), "output")
    return model, random_masks(model, level, 0.5, 1)


def test_absent_weights_become_exact_zeros_also_where_they_were_not_numbers():
    model, masks = made()
    name = "cell.weight_hh_l0"
    masks.kept[name][0, :3] = False
    with torch.no_grad():
        model.cell.weight_hh_l0[0, :3] = torch.tensor([float("nan"), float("inf"), -0.0])
    before = {key: parameter.clone() for key, parameter in model.named_parameters()}
    masks.apply_(model)
    for key, parameter in model.named_parameters():
        kept = masks.kept.get(key, torch.ones_like(parameter, dtype=torch.bool))
        assert torch.equal(parameter[kept], before[key][kept])
        assert bool((parameter[~kept] == 0).all()) and not bool(torch.signbit(parameter[~kept]).any())


def test_sparsity_counts_the_selected_tensors_only():
    kept = {"a": torch.tensor([True, False, False, False]), "b": torch.ones(4, dtype=torch.bool)}
    assert Masks(kept).sparsity() == pytest.approx(3 / 8)
    assert Masks(kept, selected={"a"}).sparsity() == pytest.approx(3 / 4)
    assert Masks(kept).per_tensor() == {"a": 0.75, "b": 0.0}
    assert Masks({}).sparsity() == 0.0


def test_fractions_by_gate():
    model, masks = made()
    masks.kept["cell.weight_ih_l0"][:6] = False
    masks.kept["cell.weight_ih_l0"][6:12] = True
    found = masks.by_gate(model)["cell.weight_ih_l0"]
    assert list(found) == ["input", "forget", "candidate", "output"]
    assert found["input"] == 0 and found["forget"] == 1
    assert found["output"] == pytest.approx(float(masks.kept["cell.weight_ih_l0"][18:].float().mean()))


@pytest.mark.parametrize("level", ["weight", "neuron", "gate"])
def test_saved_masks_come_back(level, tmp_path):
    model, masks = made(level)
    masks.constant_gates = masks.find_constant_gates(trace(model), model)
    masks.save(tmp_path / "masks.npz")
    loaded = Masks.load(tmp_path / "masks.npz")
    assert set(loaded.kept) == set(masks.kept)
    assert all(torch.equal(loaded.kept[name], kept) for name, kept in masks.kept.items())
    assert loaded.selected == masks.selected and loaded.constant_gates == masks.constant_gates
    assert {name: loaded.layouts[name] for name in loaded.kept} == {name: masks.layouts[name] for name in masks.kept}
    assert loaded.by_gate() == masks.by_gate()
    loaded.apply_(model)


def test_a_weight_takes_one_bit(tmp_path):
    kept = torch.rand(1000, 1000) < 0.5
    Masks({"w": kept}).save(tmp_path / "masks.npz")
    assert (tmp_path / "masks.npz").stat().st_size < 1000 * 1000 / 8 + 2000


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "masks.npz"
    Masks({"w": torch.tensor([[True, False, True], [False, False, True]]), "scalar": torch.tensor(True)}).save(path)
    return path.read_bytes()


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_file_gives_one_clear_error_or_valid_masks(tmp_path_factory, whole, data):
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "masks.npz"
    path.write_bytes(content)
    try:
        masks = Masks.load(path)
    except UserError as error:
        assert str(path) in error.happened and error.expected and error.do
    else:
        assert all(kept.dtype == torch.bool for kept in masks.kept.values())


@given(st.binary(max_size=200))
@example(b"")
@example(b"PK\x03\x04")
@example(b"\x93NUMPY\x01\x00")
def test_a_file_of_something_else_gives_the_same_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("other") / "masks.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable file of masks"):
        Masks.load(path)


def hostile(arrays: dict, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    about = {"layouts": {}, "selected": [], "constant_gates": []}
    arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)} | arrays
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def with_header(header: bytes) -> bytes:
    buffer = io.BytesIO(hostile({}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("w.bits.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    return buffer.getvalue()


HOSTILE = {
    "a pickle": hostile({"w.bits": np.array([{"code": "runs"}], dtype=object), "w.shape": np.array([1])}),
    "a bomb": hostile({"w.bits": np.zeros(10**7, np.uint8), "w.shape": np.array([8 * 10**7])}, compressed=True),
    "a header of a huge array": with_header(
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (100000000000000,), }          \n"
    ),
    "a header that is code": with_header(b"__import__('os').system('true')\n"),
    "too few bits": hostile({"w.bits": np.zeros(1, np.uint8), "w.shape": np.array([9])}),
    "a huge shape": hostile({"w.bits": np.zeros(1, np.uint8), "w.shape": np.array([2**62, 2**62])}),
    "a negative shape": hostile({"w.bits": np.zeros(1, np.uint8), "w.shape": np.array([-8])}),
    "no shape": hostile({"w.bits": np.zeros(1, np.uint8)}),
    "bits beyond the end": hostile({"w.bits": np.array([255], np.uint8), "w.shape": np.array([3])}),
    "deep JSON": hostile({"about": np.frombuffer(b"[" * 100_000, np.uint8)}),
    "JSON of another kind": hostile({"about": np.frombuffer(b"[1, 2]", np.uint8)}),
    "floats": hostile({"w.bits": np.zeros(1), "w.shape": np.array([8])}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(kind, tmp_path):
    (tmp_path / "masks.npz").write_bytes(HOSTILE[kind])
    with pytest.raises(UserError, match="not a readable file of masks"):
        Masks.load(tmp_path / "masks.npz")


@pytest.mark.parametrize("place", ["missing.npz", "."])
def test_no_file_is_the_same_error(place, tmp_path):
    with pytest.raises(UserError, match="not a readable file of masks"):
        Masks.load(tmp_path / place)


def test_masks_of_another_model_are_refused():
    _, masks = made()
    state = masks.state_dict()
    masks.load_state_dict(state)
    name = next(iter(state))
    with pytest.raises(UserError, match="do not fit this model"):
        masks.load_state_dict({key: value for key, value in state.items() if key != name})
    with pytest.raises(UserError, match=name):
        masks.load_state_dict(state | {name: torch.ones(3, dtype=torch.bool)})


def test_masks_applied_to_another_model_are_refused():
    _, masks = made()
    with pytest.raises(UserError, match="has no parameter"):
        masks.apply_(nn.Linear(3, 3))
    with pytest.raises(UserError, match="its mask"):
        masks.apply_(Reading(nn.LSTM(4, 7, 2), "output"))


@pytest.mark.parametrize("form", [lambda kept: kept.float(), lambda kept: kept.long(), lambda kept: kept.numpy(), list])
def test_zeros_and_ones_of_any_type_are_masks(form):
    kept = torch.tensor([[True, False], [False, True]])
    masks = Masks.of({"weight": form(kept) if form is not list else kept.tolist()})
    assert masks.kept["weight"].dtype == torch.bool and torch.equal(masks.kept["weight"], kept)
    assert Masks.of(masks) is masks and masks.sparsity() == 0.5
