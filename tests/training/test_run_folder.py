"""Run folders: one run each, one process at a time, and files that exist whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from sparsernn.errors import UserError
from sparsernn.structure.masks import Masks
from sparsernn.training.run_folder import RunFolder, differing_keys, finite

HOLDER = """
import sys
from sparsernn.training.run_folder import RunFolder
folder = RunFolder.open(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    RunFolder.create(tmp_path / "run", {"a": 1}).close()
    with pytest.raises(UserError, match=r"already holds a run \(recipe.json\)"):
        RunFolder.create(tmp_path / "run", {"a": 1})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.safetensors").touch()
    with pytest.raises(UserError, match=r"already holds a run \(weights.safetensors\)"):
        RunFolder.create(tmp_path / "other", {}, resume=True)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match="could not be written to"):
        RunFolder.create(tmp_path / "run", {})


def test_two_processes_cannot_share_a_folder(tmp_path):
    RunFolder.create(tmp_path / "run", {}).close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="in use by another process"):
            RunFolder.open(tmp_path / "run")
        holder.kill()
    RunFolder.open(tmp_path / "run").close()


def test_the_lock_is_released_on_leaving(tmp_path):
    with RunFolder.create(tmp_path / "run", {}), pytest.raises(UserError, match="in use"):
        RunFolder.open(tmp_path / "run")
    RunFolder.open(tmp_path / "run").close()


def test_resume_of_nothing_is_a_new_run(tmp_path):
    with RunFolder.create(tmp_path / "run", {"a": (1, 2)}, resume=True) as folder:
        assert folder.recipe == {"a": [1, 2]}


def test_a_recipe_that_is_not_json_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be written as JSON"):
        RunFolder.create(tmp_path / "run", {"a": object()})


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, "\xff"])
def test_a_damaged_recipe_is_one_clear_error(content, tmp_path):
    RunFolder.create(tmp_path / "run", {}).close()
    (tmp_path / "run" / "recipe.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="recipe.json"):
        RunFolder.open(tmp_path / "run", {})


def test_a_second_training_in_a_folder_is_refused(classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        assert not folder.is_begun
        classification.fit(run=folder)
        with pytest.raises(UserError, match="already holds a training"):
            classification.fit(run=folder)


def test_a_torn_line_of_metrics_is_one_clear_error(tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        folder.append_metrics({"epoch": 1, "loss": float("nan")})
        assert folder.metrics == [{"epoch": 1, "loss": None}]
        with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 2, "lo')
        with pytest.raises(UserError, match="metrics.jsonl cannot be read"):
            _ = folder.metrics


def test_the_environment_names_versions_and_no_place(classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        classification.fit(run=folder)
        environment = folder.environment
    assert {
        "python",
        "torch",
        "numpy",
        "sparsernn",
        "platform",
        "processor",
        "threads",
        "flush_denormal",
        "native",
        "processes",
    } <= set(environment)
    assert "/" not in json.dumps({name: value for name, value in environment.items() if name != "processor"})


def test_weights_and_masks_come_back(classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        assert not folder.is_finished
        model, _ = classification.fit(run=folder)
        assert folder.is_finished and folder.load_masks().kept == {}
        other = classification.network()
        folder.load_weights(other)
        assert all(map(torch.equal, other.state_dict().values(), model.state_dict().values()))
        with pytest.raises(UserError, match="does not fit the model"):
            folder.load_weights(torch.nn.Linear(2, 2))
        kept = {"recurrent.weight_hh_l0": torch.rand(18, 6) > 0.5}
        folder.save_result(model.state_dict(), Masks(kept))
        assert torch.equal(folder.load_masks().kept["recurrent.weight_hh_l0"], kept["recurrent.weight_hh_l0"])


def test_tied_weights_are_saved_under_both_names(cases, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        model, _ = cases["language_model"].fit(run=folder)
        other = cases["language_model"].network()
        folder.load_weights(other)
    assert other.head.weight is other.embedding.weight and torch.equal(other.head.weight, model.head.weight)


def test_nothing_unfinished_and_no_old_checkpoint_stays(classification, tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as folder:
        (tmp_path / "run" / "checkpoint" / "checkpoint-9.tmp").mkdir(parents=True)
        classification.fit(run=folder, checkpoint_seconds=0.0)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoint").iterdir())
    assert names == ["checkpoint-17", "checkpoint-18"]
    assert not [path for path in (tmp_path / "run").iterdir() if ".tmp" in path.name]


def test_differing_keys_tell_types_apart():
    assert differing_keys({"a": 1, "b": {"c": [1, 2]}}, {"a": True, "b": {"c": [1, 3]}}) == [
        "a: 1, now true",
        "b.c: [1, 2], now [1, 3]",
    ]
    assert differing_keys({"a": 1}, {"a": 1}) == []


def test_numbers_that_json_cannot_hold_become_null():
    assert finite({"a": float("nan"), "b": [float("inf"), 1.5]}) == {"a": None, "b": [None, 1.5]}
