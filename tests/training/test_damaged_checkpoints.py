"""Whatever a checkpoint's files hold: an older checkpoint is used, or there is one clear error."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.training import checkpoints
from sparsernn.training.run_folder import RunFolder

METHOD = Magnitude(0.5)
FILES = ("manifest.json", "state.json", "tensors.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    """A finished run; each use resumes a copy of it."""
    return {"folder": tmp_path_factory.mktemp("damaged")}


@pytest.fixture
def finished(classification, whole) -> Callable[[], Path]:
    source = whole["folder"] / "source"
    if not source.exists():
        with RunFolder.create(source, {}) as run:
            classification.fit(run=run, method=METHOD)

    def copy() -> Path:
        shutil.rmtree(whole["folder"] / "copy", ignore_errors=True)
        return shutil.copytree(source, whole["folder"] / "copy")

    return copy


def resume(case, folder: Path) -> bytes:
    with RunFolder.open(folder) as run:
        case.fit(run=run, resume=True, method=METHOD)
    return (folder / "weights.safetensors").read_bytes()


def newest(folder: Path) -> Path:
    return checkpoints.path_of(folder / "checkpoint", checkpoints.numbers(folder / "checkpoint")[-1])


def sealed(checkpoint: Path, **contents: bytes) -> None:
    """Replace files of a checkpoint and write a manifest with the right sums, as a forger would."""
    names = {"state": "state.json", "tensors": "tensors.safetensors"}
    for name, content in contents.items():
        (checkpoint / names[name]).write_bytes(content)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["sha256"]
    for name in names.values():
        content = (checkpoint / name).read_bytes()
        manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    signature = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (checkpoint / "manifest.json").write_text(json.dumps(manifest | {"sha256": signature}))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_falls_back_or_is_one_clear_error(classification, finished, data):
    folder = finished()
    expected = (folder / "weights.safetensors").read_bytes()
    both = data.draw(st.booleans(), label="both checkpoints")
    for checkpoint in [newest(folder)] + ([newest(folder).with_name("checkpoint-2")] if both else []):
        path = checkpoint / data.draw(st.sampled_from(FILES), label="file")
        content = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1), label="position")
        if data.draw(st.booleans(), label="truncate"):
            del content[position:]
        else:
            content[position] ^= 1 << data.draw(st.integers(0, 7), label="bit")
        path.write_bytes(bytes(content))
    try:
        assert resume(classification, folder) == expected
    except UserError as error:
        assert both and "No checkpoint in" in str(error)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(classification, finished):
    folder = finished()
    expected, checkpoint = (folder / "weights.safetensors").read_bytes(), newest(folder)
    (checkpoint / "tensors.safetensors").write_bytes(b"")
    assert resume(classification, folder) == expected
    assert [row["epoch"] for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())] == [1, 2, 3]
    assert checkpoints.numbers(folder / "checkpoint") == [2, 3]
    checkpoints.read(folder / "checkpoint", 3)


def test_metrics_that_are_shorter_than_the_checkpoint_says_are_damage(classification, finished):
    folder = finished()
    expected, metrics = (folder / "weights.safetensors").read_bytes(), folder / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-5])
    assert resume(classification, folder) == expected
    metrics.unlink()
    with pytest.raises(UserError, match="metrics.jsonl is shorter"):
        resume(classification, folder)


def replaced_state(checkpoint: Path, change: Callable[[dict], None]) -> bytes:
    values = json.loads((checkpoint / "state.json").read_text())
    change(values["dict"])
    return json.dumps(values).encode()


def set_in(*path: str | int, to: object) -> Callable[[dict], None]:
    def change(values: dict) -> None:
        for name in path[:-1]:
            values = values[name]
        values[path[-1]] = to

    return change


FORGED_STATES = {
    "not a tree": b"7",
    "not JSON": b"{",
    "not UTF-8": b'"\xff"',
    "NaN": b"NaN",
    "deep": b"[" * 200_000,
    "deep tree": b'{"tuple": [' * 30_000 + b"]}" * 30_000,
    "long number": b'{"dict": {"epoch": ' + b"9" * 10_000 + b"}}",
    "python object": b'{"dict": {"fit": {"__reduce__": ["os.system", "true"]}}}',
    "empty": b"",
}
FORGED_VALUES = {
    "epoch beyond the end": set_in("epoch", to=10**6),
    "epoch before the start": set_in("epoch", to=-1),
    "epoch that is true": set_in("epoch", to=True),
    "batch beyond the epoch": set_in("batch", to=10**9),
    "batch as text": set_in("batch", to="../../etc/passwd"),
    "no model": set_in("model", to=None),
    "no processes": set_in("processes", to=[]),
    "no generator": set_in("processes", 0, "dict", "random", to=None),
    "history of another length": set_in("history", to=[]),
    "history of text": set_in("history", 0, "dict", "valid_loss", to="low"),
    "history without a figure": set_in("history", 0, "dict", to={"epoch": 1}),
    "sums of text": set_in("processes", 0, "dict", "sums", to={"dict": {"loss": ["a", "b"]}}),
    "carry out of nowhere": set_in("processes", 0, "dict", "carry", to={"tuple": [{"tensor": "/model/head.bias"}]}),
    "weight of another shape": set_in("model", "dict", "head.weight", to={"tensor": "/model/head.bias"}),
    "weight that is text": set_in("model", "dict", "head.weight", to="head.weight"),
    "mask of another shape": set_in(
        "sparsifier", "dict", "tensors", "dict", "kept.recurrent.weight_hh_l0", to={"tensor": "/model/head.bias"}
    ),
    "optimizer of text": set_in("optimizer", to="adam"),
    "option of another type": set_in("optimizer", "dict", "param_groups", 0, "dict", "betas", to="ab"),
    "best of another shape": set_in("best", "dict", "model", "dict", "head.bias", to={"tensor": "/model/head.weight"}),
}


@pytest.mark.parametrize("name", FORGED_STATES)
def test_a_forged_state_file_is_one_clear_error(name, classification, finished):
    folder = finished()
    for number in checkpoints.numbers(folder / "checkpoint"):
        sealed(checkpoints.path_of(folder / "checkpoint", number), state=FORGED_STATES[name])
    with pytest.raises(UserError, match="No checkpoint in"):
        resume(classification, folder)


@pytest.mark.parametrize("name", FORGED_VALUES)
def test_a_forged_value_is_passed_over_or_is_one_clear_error(name, classification, finished):
    folder = finished()
    expected, checkpoint = (folder / "weights.safetensors").read_bytes(), newest(folder)
    sealed(checkpoint, state=replaced_state(checkpoint, FORGED_VALUES[name]))
    assert resume(classification, folder) == expected
    older = newest(folder).with_name("checkpoint-2")
    for path in (newest(folder), older):
        sealed(path, state=replaced_state(path, FORGED_VALUES[name]))
    with pytest.raises(UserError, match="No checkpoint in"):
        resume(classification, folder)


def test_optimizer_state_of_another_shape_is_refused(classification, finished):
    folder = finished()
    for number in checkpoints.numbers(folder / "checkpoint"):
        path = checkpoints.path_of(folder / "checkpoint", number)
        values = json.loads((path / "state.json").read_text())
        values["dict"]["optimizer"]["dict"]["state"]["pairs"][0][1]["dict"]["exp_avg"] = {
            "tensor": "/model/head.weight"
        }
        sealed(path, state=json.dumps(values).encode())
    with pytest.raises(UserError, match="exp_avg of its optimizer does not fit"):
        resume(classification, folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 90_000_000) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 57) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,9999]}}',
    ],
    ids=["empty", "no header", "huge header", "long header", "no tensors", "offsets outside"],
)
def test_a_forged_tensor_file_is_one_clear_error(content, classification, finished):
    folder = finished()
    for number in checkpoints.numbers(folder / "checkpoint"):
        sealed(checkpoints.path_of(folder / "checkpoint", number), tensors=content)
    with pytest.raises(UserError, match="No checkpoint in"):
        resume(classification, folder)


def test_names_and_links_lead_nowhere_outside(classification, finished, tmp_path):
    folder = finished()
    expected, checkpoint = (folder / "weights.safetensors").read_bytes(), newest(folder)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(checkpoint / "state.json", elsewhere)
    (checkpoint / "state.json").symlink_to(elsewhere)
    assert resume(classification, folder) == expected
    assert elsewhere.exists()
    manifest = json.loads((newest(folder) / "manifest.json").read_text())
    manifest["files"] = {"../../recipe.json": manifest["files"]["state.json"]}
    (newest(folder) / "manifest.json").write_text(json.dumps(manifest))
    assert resume(classification, folder) == expected


def test_a_folder_with_a_strange_name_is_no_checkpoint(classification, finished):
    folder = finished()
    for name in ("checkpoint-x", "checkpoint-99999999999999999999", "checkpoint--1"):
        (folder / "checkpoint" / name).mkdir()
    (folder / "checkpoint" / "checkpoint-7").write_text("a file")
    resume(classification, folder)
    assert checkpoints.numbers(folder / "checkpoint") == [2, 3]


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path):
    tied = torch.arange(6.0).view(2, 3)
    state = {
        "weights": {"one": tied, "other": tied, "turned": tied.t()},
        "lr": float("inf"),
        "betas": (0.9, 0.99),
        3: [True, None],
    }
    checkpoints.write(tmp_path, 4, state, 17)
    found = checkpoints.read(tmp_path, 4)
    assert (found.number, found.metrics_bytes) == (4, 17)
    assert all(torch.equal(found.state["weights"][name], value) for name, value in state["weights"].items())
    assert {key: value for key, value in found.state.items() if key != "weights"} == {
        "lr": float("inf"),
        "betas": (0.9, 0.99),
        3: [True, None],
    }
