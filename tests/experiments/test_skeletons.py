"""Networks without numbers: their shapes are right, and none of torch's compiler is loaded for them."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from sparsernn import folders
from sparsernn.errors import UserError
from sparsernn.experiments import network
from sparsernn.experiments.network import build, skeleton_for, skeletons

DATA = {"objective": "classification", "inputs": 500, "tokens": True, "outputs": 3, "metric": "accuracy"}
ROW = folders.find("recipes", "liu2021_table4").at("quick")[0]
ALONE = f"""
import sys
from sparsernn import folders
from sparsernn.experiments.network import build, skeletons

with skeletons():
    build(folders.find("recipes", "liu2021_table4").at("quick")[0], {DATA})
print("torch._dynamo" in sys.modules)
"""


def test_a_skeleton_has_the_shapes_of_the_network():
    with skeletons():
        bones = build(ROW, DATA).state_dict()
    assert {name: tensor.shape for name, tensor in bones.items()} == {
        name: tensor.shape for name, tensor in build(ROW, DATA).state_dict().items()
    }
    assert all(tensor.is_meta for tensor in bones.values()) and not torch.empty(1).is_meta


def test_a_skeleton_does_without_the_compiler_of_torch():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.register_buffer("scale", torch.full((3,), 2.0), persistent=False)


def test_a_network_with_numbers_that_no_file_holds_is_built_with_them(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(100))
    assert next(skeleton_for(tmp_path / "file", ROW, DATA).parameters()).is_meta
    monkeypatch.setattr(network, "build", lambda row, data: Buffered())
    assert skeleton_for(tmp_path / "file", ROW, DATA).scale.tolist() == [2.0] * 3


def test_a_file_that_cannot_hold_the_numbers_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(100))
    monkeypatch.setattr(network, "build", lambda row, data: nn.Linear(1 << 13, 1 << 12))
    with pytest.raises(UserError, match="100 bytes and its network would have 33,558,528 numbers"):
        skeleton_for(tmp_path / "file", ROW, DATA)
