"""The state that a callback leaves beside a checkpoint, where something else stands in its place."""

import json
import os

import pytest
import torch
from safetensors.torch import save

from sparsernn.callbacks.state_file import NAME, read_state, write_state
from sparsernn.errors import UserError

VALUES = {"step": 3, "name": {"a": [1.5, None]}}


def state() -> dict:
    return {"tensors": {"b": torch.arange(6.0).view(2, 3).t(), "a": torch.tensor([True, False])}, "values": VALUES}


def a_pipe(path):
    os.mkfifo(path)


def a_folder(path):
    path.mkdir()


def a_huge_file(path):
    with open(path, "wb") as file:
        file.truncate(1 << 42)


def a_header_longer_than_the_file(path):
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{")


def values_too_deep(path):
    path.write_bytes(save({}, {"values": "[" * 100_000}))


def values_that_are_a_list(path):
    path.write_bytes(save({}, {"values": "[1, 2]"}))


def values_with_a_number_that_is_none(path):
    path.write_bytes(save({}, {"values": '{"step": NaN}'}))


def no_values(path):
    path.write_bytes(save({"a": torch.zeros(2)}))


def its_first_half(path):
    content = save({"a": torch.zeros(100)}, {"values": json.dumps(VALUES)})
    path.write_bytes(content[: len(content) // 2])


def test_what_is_written_is_read(tmp_path):
    write_state(tmp_path, state())
    again = read_state(tmp_path)
    assert again["values"] == VALUES
    assert again["tensors"].keys() == {"a", "b"}
    assert all(torch.equal(again["tensors"][name], tensor) for name, tensor in state()["tensors"].items())


@pytest.mark.parametrize(
    "put",
    [
        a_pipe,
        a_folder,
        a_huge_file,
        a_header_longer_than_the_file,
        values_too_deep,
        values_that_are_a_list,
        values_with_a_number_that_is_none,
        no_values,
        its_first_half,
        lambda path: None,
    ],
)
def test_anything_else_in_its_place_is_one_sentence(tmp_path, put):
    put(tmp_path / NAME)
    with pytest.raises(UserError, match=f"{NAME} cannot be read") as raised:
        read_state(tmp_path)
    assert raised.value.expected == "a checkpoint that was written with the same callback"


def test_a_link_in_its_place_is_replaced_not_followed(tmp_path):
    (tmp_path / "other").write_text("precious")
    (tmp_path / NAME).symlink_to(tmp_path / "other")
    write_state(tmp_path, state())
    assert (tmp_path / "other").read_text() == "precious"
    assert read_state(tmp_path)["values"] == VALUES
