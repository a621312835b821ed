import json

import made_runs
import numpy as np
import pytest
import torch
from torch import nn

from sparsernn import sparsify
from sparsernn.errors import UserError
from sparsernn.methods.static import Static
from sparsernn.reports.reading import read_masks, read_run, read_runs
from sparsernn.reports.tables import results_table


def test_a_run_folder_reads_back(tmp_path):
    masks = made_runs.neuron_masks()
    folder = made_runs.make_run(tmp_path / "a", "neurons", {"accuracy": 0.9}, masks=masks)
    run = read_run(folder)
    assert (run.label, run.metrics["accuracy"], run.environment["threads"]) == ("neurons", 0.9, 1)
    assert set(run.masks) == set(masks)
    for name, kept in masks.items():
        np.testing.assert_array_equal(run.masks[name].kept, kept)
    gates = run.masks["rnn.weight_hh_l0"].by_gate()
    assert list(gates) == list(made_runs.GRU)
    assert gates["update"].shape == (64, 64)
    steps, losses = run.curve("valid_loss")
    assert len(steps) == len(losses) == 21 and steps[-1] == 400


def test_the_masks_of_a_sparsifier_read_back(tmp_path):
    model = nn.Sequential(nn.LSTM(5, 6, num_layers=2))
    masks = sparsify(model, Static(sparsity=0.7), example=(torch.zeros(3, 2, 5),))
    masks.save(tmp_path / "masks.npz")
    found = read_masks(tmp_path / "masks.npz")
    assert set(found) == set(masks.kept) and len(found) == 4
    for name, kept in masks.kept.items():
        np.testing.assert_array_equal(found[name].kept, kept.numpy())
        assert found[name].gates == ("input", "forget", "candidate", "output")
        assert found[name].axes[:2] == ("gate", "hidden")


def test_a_run_that_was_killed_still_reads(tmp_path):
    folder = made_runs.make_run(tmp_path / "a", "dense", {})
    (folder / "result.json").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 440, "train_lo')
    run = read_run(folder)
    assert run.result == {} and len(run.records) == 21 and run.label == "a"


def test_values_that_are_not_numbers_are_left_out_of_curves(tmp_path):
    folder = made_runs.make_run(tmp_path / "a", "dense", {})
    lines = [{"step": 1, "train_loss": 2.0}, {"step": 2, "train_loss": None}, {"step": 3, "train_loss": float("nan")}]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_run(folder).curve("train_loss") == ([1.0], [2.0])


def test_a_folder_of_runs_stands_for_all_of_them_dense_ones_first(tmp_path):
    made_runs.make_run(tmp_path / "a", "neurons", {}, masks=made_runs.neuron_masks())
    made_runs.make_run(tmp_path / "b", "dense", {})
    assert [run.label for run in read_runs([tmp_path])] == ["dense", "neurons"]
    alone = made_runs.make_run(tmp_path / "z", "baseline", {"accuracy": 0.9})
    for path in alone.iterdir():
        if path.name != "result.json":
            path.unlink()
    assert [run.label for run in read_runs([tmp_path])] == ["baseline", "dense", "neurons"]


def test_runs_of_one_row_are_told_apart(tmp_path):
    folders = [made_runs.make_run(tmp_path / str(seed), "dense", {}, seed=seed) for seed in (0, 1)]
    assert [run.label for run in read_runs(folders)] == ["dense, seed 0", "dense, seed 1"]
    assert [run.label for run in read_runs([folders[0], folders[0]])] == [f"dense, {folders[0]}"] * 2


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("result.json", "{"),
        ("result.json", "[1]"),
        ("environment.json", "\x00"),
        ("metrics.jsonl", "nonsense\n{}\n"),
        ("metrics.jsonl", "1\n"),
        ("masks.npz", "not a zip"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path, file, content):
    folder = made_runs.make_run(tmp_path / "a", "dense", {}, masks=made_runs.neuron_masks())
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=rf"{file} cannot be read"):
        read_run(folder)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run folder"):
        read_runs([tmp_path])


@pytest.mark.parametrize(
    "arrays",
    [
        {"w.bits": np.zeros(2, np.uint8), "w.shape": np.array([4, 8])},
        {"w.bits": np.zeros(4, np.uint8), "w.shape": np.array([-4, -8])},
        {"w.bits": np.zeros(4, np.float32), "w.shape": np.array([4, 8])},
        {"w.bits": np.zeros(4, np.uint8)},
        {"w.bits": np.array([object()]), "w.shape": np.array([4, 8])},
    ],
    ids=["short", "negative", "floats", "no shape", "pickled"],
)
def test_masks_that_do_not_fit_their_description_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "masks.npz", **arrays)
    with pytest.raises(UserError, match="masks.npz cannot be read"):
        read_masks(tmp_path / "masks.npz")


def test_a_truncated_mask_file_is_refused(tmp_path):
    folder = made_runs.make_run(tmp_path / "a", "dense", {}, masks=made_runs.neuron_masks())
    whole = (folder / "masks.npz").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        (folder / "masks.npz").write_bytes(whole[:size])
        with pytest.raises(UserError, match="masks.npz cannot be read"):
            read_masks(folder / "masks.npz")


@pytest.mark.parametrize("part", ["metrics", "published", "environment", "splits", "provenance"])
@pytest.mark.parametrize("value", [3, True, None, "x", [1]])
def test_a_result_whose_parts_are_no_objects_is_one_sentence(part, value, tmp_path):
    result = {"recipe": "r", "row": "a", "size": "cpu", "seed": 0, "metrics": {"accuracy": 0.5}}
    (tmp_path / "r").mkdir()
    for path in (tmp_path / "r" / "a-cpu-seed0.json", tmp_path / "result.json"):
        path.write_text(json.dumps(result | {part: value}))
    for read in (lambda: results_table(tmp_path, "r"), lambda: read_run(tmp_path)):
        with pytest.raises(UserError, match=f"{part} in .*json is .* Expected an object"):
            read()
