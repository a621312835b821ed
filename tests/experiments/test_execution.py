"""A recipe from its rows to its result files, in seconds."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from sparsernn.compaction.files import load_compact
from sparsernn.errors import UserError
from sparsernn.experiments import results, trained
from sparsernn.experiments.compacted import compact_run, output
from sparsernn.experiments.execution import Outcome, run
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.scoring import batch_of
from sparsernn.experiments.trained import COMPACT, read_final

TINY = ("settings.epochs=1", "model.units=8", "measure.latency_seconds=0.02")
ALL_ROWS = ["dense", "small_dense", "neurons", "st_rnn", "group_lasso"]


def request(out: Path, **fields) -> Request:
    return Request("quickstart", size="quick", out=out, assignments=TINY, progress=False, **fields)


def ran(asked: Request, *say) -> Outcome:
    return run(Jobs(Experiment.of(asked), *say))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The whole recipe, run once at toy size."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return ran(request(out, results=out.parent / "results"))


def test_every_row_leaves_a_result_of_the_agreed_form(finished):
    assert [result["row"] for result in finished.results] == ALL_ROWS
    for result, folder in zip(finished.results, finished.run_folders, strict=True):
        assert list(result) == list(results.Content.__annotations__)
        assert (result["recipe"], result["size"], result["seed"]) == ("quickstart", "quick", 0)
        metrics = result["metrics"]
        assert 0 <= metrics["accuracy"] <= 1 and 0 < metrics["weights_kept"] <= metrics["weights"]
        assert metrics["compaction_difference"] <= 1e-5
        assert {"ms_batch_1", "ms_batch_32", "speedup_batch_1", "bytes", "sparsity", "valid_accuracy"} <= set(metrics)
        assert result["seconds"] >= 0 and "torch" in result["environment"]
        assert result["command"].startswith(f"sparsernn run quickstart --size quick --rows {result['row']} --seed 0")
        assert str(finished.out) not in result["command"]
        name = f"quickstart/{result['row']}-quick-seed0.json"
        copies = [folder / "result.json", finished.out / "results" / name, finished.out.parent / "results" / name]
        assert [json.loads(copy.read_text()) for copy in copies] == [result] * 3
        assert metrics["bytes"] == (folder / result["provenance"]["bytes_of"]).stat().st_size


def test_what_the_rows_promise(finished):
    metrics = {result["row"]: result["metrics"] for result in finished.results}
    assert metrics["small_dense"]["bytes"] <= metrics["neurons"]["bytes"] < metrics["dense"]["bytes"]
    assert metrics["st_rnn"]["bytes"] < metrics["st_rnn"]["bytes_dense"] == metrics["dense"]["bytes_dense"]
    assert metrics["st_rnn"]["sparsity"] == pytest.approx(0.9, abs=0.01)
    assert metrics["neurons"]["weights_kept"] < metrics["dense"]["weights_kept"]
    assert metrics["dense"]["speedup_batch_1"] == 1


def test_a_run_folder_gives_back_the_network_that_was_scored(finished):
    folder = finished.run_folders[ALL_ROWS.index("neurons")]
    found, small = trained.read(folder), read_final(folder)
    batch = batch_of(found.row.task.load(None), 7)
    with torch.no_grad():
        whole, cut = output(found.network.eval(), batch), output(small.eval(), batch)
    assert batch.inputs.shape[0] == 7
    assert torch.allclose(whole, cut, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in found.network.parameters())


def test_compacting_a_run_folder_again_gives_the_same_sizes(finished, tmp_path):
    folder = shutil.copytree(finished.run_folders[ALL_ROWS.index("neurons")], tmp_path / "run")
    (folder / COMPACT).unlink()
    sizes = compact_run(folder)
    metrics = finished.results[ALL_ROWS.index("neurons")]["metrics"]
    assert sizes["weights_compacted"] == metrics["weights_kept"] and sizes["weights"] == metrics["weights"]
    load_compact(folder / COMPACT, trained.read(folder).network)


def test_a_folder_in_use_is_refused_and_nothing_in_it_changes(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*")}
    with pytest.raises(UserError, match="in use.*--resume"):
        Experiment.of(request(finished.out))
    assert {path: path.stat().st_mtime_ns for path in finished.out.rglob("*")} == before


def test_resume_skips_what_is_finished(finished):
    said: list[str] = []
    again = ran(request(finished.out, resume=True), said.append)
    assert said == [f"{name}: finished before" for name in ["dense", "neurons", "small_dense", "st_rnn", "group_lasso"]]
    assert again.results == finished.results


def test_resume_goes_on_with_an_interrupted_row(finished, tmp_path):
    out = shutil.copytree(finished.out, tmp_path / "out")
    for name in ("result.json", "weights.safetensors", "masks.npz", "compact.safetensors"):
        (out / "neurons-seed0" / name).unlink()
    shutil.rmtree(out / "st_rnn-seed0")
    said: list[str] = []
    again = ran(request(out, resume=True), said.append)
    assert [line for line in said if "finished" not in line and "timing" not in line] == [
        line for line in said if line.startswith(("neurons: magnitude", "st_rnn: st_rnn"))
    ]
    timed = ("ms_", "speedup_")
    for before, after in zip(finished.results, again.results, strict=True):
        untimed = [{k: v for k, v in r["metrics"].items() if not k.startswith(timed)} for r in (before, after)]
        assert untimed[0] == untimed[1]


def test_resume_with_another_recipe_is_refused(finished):
    changed = dataclasses.replace(request(finished.out, resume=True), assignments=(*TINY, "settings.learning_rate=0.1"))
    with pytest.raises(UserError, match="settings.learning_rate"):
        ran(changed)


def test_a_damaged_result_is_named(finished, tmp_path):
    out = shutil.copytree(finished.out, tmp_path / "out")
    (out / "dense-seed0" / "result.json").write_text("{")
    with pytest.raises(UserError, match="result.json cannot be read"):
        ran(request(out, resume=True))


def test_rows_and_seeds_can_be_chosen(tmp_path):
    outcome = ran(request(tmp_path / "out", rows=("neurons",), seeds=(3, 4)))
    assert [(result["row"], result["seed"]) for result in outcome.results] == [
        (row, seed) for seed in (3, 4) for row in ("dense", "neurons")
    ]
    assert len({result["metrics"]["loss"] for result in outcome.results}) == 4


def test_weights_of_another_size_cannot_be_started_from(tmp_path):
    wrong = dataclasses.replace(
        request(tmp_path / "out", rows=("neurons",)), assignments=(*TINY, "rows.dense.model.units=9")
    )
    with pytest.raises(UserError, match="starts from row 'dense'"):
        ran(wrong)


def test_the_next_free_folder_is_taken_where_none_is_given(tmp_path):
    def take(resume=False):
        return results.output_folder(None, "quickstart", resume, tmp_path)

    assert take() == take(resume=True) == tmp_path / "quickstart"
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "file").touch()
    assert take() == tmp_path / "quickstart-2"
    assert take(resume=True) == tmp_path / "quickstart"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="is a file"):
        Experiment.of(request(tmp_path / "out"))


def test_a_full_size_request_of_something_unknown_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="quickstart"):
        Experiment.of(dataclasses.replace(request(tmp_path), recipe="quikstart"))
    with pytest.raises(UserError, match="Write 'st_rnn', the nearest"):
        Experiment.of(request(tmp_path / "free", rows=("st_rn",)))
