"""Writers: never through a link, whole or not at all, the same bytes again, and harmless where they are opened."""

import errno
import multiprocessing
import os
import signal
import stat

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sparsernn import durable, export_c, export_onnx
from sparsernn.cli import app
from sparsernn.compaction.compact import compact
from sparsernn.compaction.files import save_compact
from sparsernn.deploy.rtneural import export_rtneural
from sparsernn.errors import UserError
from sparsernn.harmless import cell, json_text, printable
from sparsernn.own_data import prediction
from sparsernn.training.run_folder import RunFolder
from tests.trust import corpus


def test_a_link_is_replaced_and_what_it_leads_to_is_not_touched(tmp_path):
    (tmp_path / "victim").write_text("precious")
    for name in ("page.html", "page.html.tmp", "page.tmp.html"):
        (tmp_path / name).symlink_to(tmp_path / "victim")
    durable.replace(tmp_path / "page.html", "new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "page.html").read_text() == "new" and not (tmp_path / "page.html").is_symlink()


@pytest.mark.parametrize("name", ["lock", "metrics.jsonl", "checkpoint"])
def test_a_run_folder_with_a_link_inside_writes_nothing_outside(name, tmp_path):
    outside = tmp_path / "outside"
    with RunFolder.create(tmp_path / "run", {}):
        pass
    (tmp_path / "run" / name).unlink(missing_ok=True)
    (tmp_path / "run" / name).symlink_to(outside)
    if name == "checkpoint":
        outside.mkdir()
    elif name == "metrics.jsonl":
        outside.write_text("precious")
    with pytest.raises(UserError, match="a link in its place"), RunFolder.open(tmp_path / "run") as run:
        run.append_metrics({"epoch": 1})
        run.save_checkpoint({"step": 1})
    assert not outside.exists() or (list(outside.iterdir()) == [] if outside.is_dir() else outside.read_text())
    assert name != "metrics.jsonl" or outside.read_text() == "precious"


def hold_a_folder(place, names):
    with durable.scratch(place) as folder:
        (folder / "file").write_text("half")
        names.put(folder)
        signal.pause()


def test_what_a_killed_process_left_in_a_folder_for_a_moment_goes_with_the_next_one(tmp_path):
    processes = multiprocessing.get_context("fork")
    names = [processes.SimpleQueue() for _ in range(2)]  # one that is killed may hold the lock of its own
    ended, running = (processes.Process(target=hold_a_folder, args=(tmp_path, queue)) for queue in names)
    try:
        ended.start()
        left = names[0].get()
        ended.kill()
        ended.join()
        running.start()
        beside = names[1].get()
        with durable.scratch(tmp_path) as folder:
            assert set(tmp_path.iterdir()) == {left, beside, folder}  # they may just have been made
        for one in (left, beside):
            os.utime(one, (0, 0))
        with durable.scratch(tmp_path) as folder:
            assert set(tmp_path.iterdir()) == {beside, folder}
        assert set(tmp_path.iterdir()) == {beside}
    finally:
        running.kill()
        running.join()
    with pytest.raises(UserError, match="A temporary file could not be written"), durable.scratch(tmp_path / "none"):
        pass


def test_what_can_be_no_name_is_told(tmp_path):
    model = nn.GRU(3, 4)
    small, _ = compact(model, {}, torch.randn(5, 2, 3))
    for wrong in (None, b"name", 3, f"{tmp_path}/a\0b"):
        for write in (
            lambda path: save_compact(path, small),
            lambda path: export_onnx(model, path, torch.randn(5, 2, 3)),
            lambda path: export_c(model, path),
        ):
            with pytest.raises(UserError, match="the path is"):
                write(wrong)
    assert not list(tmp_path.iterdir())


def test_exports_write_through_no_link_and_into_no_file_of_another_name(tmp_path):
    model = nn.LSTM(3, 4)
    (tmp_path / "victim").write_text("precious")
    for name in ("a.onnx", "b.onnx.part", "c.json"):
        (tmp_path / name).symlink_to(tmp_path / "victim")
    export_onnx(model, tmp_path / "a.onnx", torch.randn(5, 2, 3))
    export_onnx(model, tmp_path / "b.onnx", torch.randn(5, 2, 3))
    export_rtneural(model, tmp_path / "c.json")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "b.onnx.part").is_symlink()
    assert not any((tmp_path / name).is_symlink() for name in ("a.onnx", "b.onnx", "c.json"))


def test_a_device_or_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="something else than a file"):
        durable.replace(tmp_path / "pipe", "text")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(mask, whole, tmp_path):
    before = os.umask(mask)
    try:
        durable.replace(tmp_path / "a", b"content")
        with RunFolder.create(tmp_path / "run", {}) as run:
            run.append_metrics({"epoch": 1})
            run.save_checkpoint({"step": 1})
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5 and {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~mask}


def writers(whole, folder):
    """What writes a file that is there already, by the file's name."""
    layer = corpus.torch.nn.GRU(2, 2)
    masks = corpus.Masks({"weight_hh_l0": corpus.torch.ones(6, 2, dtype=corpus.torch.bool)})
    small, _ = compact(layer, masks, example=(corpus.torch.zeros(1, 1, 2),))
    return {
        "predictions.csv": lambda path: prediction.write_csv([{"label": "a"}], path),
        "report.html": lambda path: CliRunner().invoke(app, ["report", str(whole / "gru"), "--out", str(path)]),
        "packed": lambda path: corpus.pack_run(whole / "gru" / "sparse-seed0", path, 2, 1, int8=False, dtype=None),
        "small": lambda path: save_compact(path, small),
        "masks.npz": lambda path: corpus.trained.read(whole / "gru" / "sparse-seed0").masks.save(path),
    }


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EMFILE, errno.EACCES, errno.EIO], ids=os.strerror)
@pytest.mark.parametrize("name", ["predictions.csv", "report.html", "packed", "small", "masks.npz"])
def test_a_system_that_refuses_is_one_sentence_and_the_old_file_stays(name, fault, whole, tmp_path, monkeypatch):
    write = writers(whole, tmp_path)[name]
    (tmp_path / name).write_text("old")

    def refuse(descriptor):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", refuse)
    if name == "report.html":
        called = write(tmp_path / name)
        assert called.exit_code == 2 and called.stderr.startswith("Error: The file could not be written to")
    else:
        with pytest.raises(UserError, match="could not be written to"):
            write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "old"


def test_a_writer_that_was_killed_leaves_nothing_that_the_next_one_keeps(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    child = os.fork()
    if not child:
        os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
        durable.replace(folder / "a", b"x")
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list(folder.iterdir())) == 1
    with durable.locked(folder):
        assert [path.name for path in folder.iterdir()] == ["lock"]
        with pytest.raises(UserError, match="in use by another process"), durable.locked(folder):
            pass


def test_the_same_training_writes_the_same_bytes(whole, tmp_path):
    logs = {"metrics.jsonl", "metrics.csv", "result.json", "verdict.json"}
    logs |= {f"{row}-full-seed0.json" for row in ("dense", "small_dense", "sparse")}
    again = corpus.TableFile(path=str(whole / "texts.csv"), text="text", label="label")
    asked = corpus.training.Training(again, units=3, epochs=1, out=tmp_path / "again", progress=False)
    corpus.training.train(asked)
    compared = 0
    for path in (tmp_path / "again").rglob("*"):
        other = whole / "gru" / path.relative_to(tmp_path / "again")
        if path.is_file() and path.name not in logs and "checkpoint" not in path.parts:
            assert path.read_bytes() == other.read_bytes(), path
            compared += 1
    assert compared > 12


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" -2+3", "' -2+3"),
        ("-1", "-1"),
        ("+2.5", "+2.5"),
        ("plain", "plain"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\r\nb\u202e", "a\\r\\nb\\u202e"),
        (0.5, 0.5),
    ],
)
def test_cells_are_harmless(label, shown, tmp_path):
    assert cell(label) == shown
    prediction.write_csv([{"label": label, "probability": 1.0}], tmp_path / "a.csv")
    line = (tmp_path / "a.csv").read_text().splitlines()[1]
    assert line.startswith(str(shown).split("'!")[0].replace('"', ""))


def test_text_for_terminals_holds_no_control_characters():
    hostile = "".join(map(chr, [*range(32), *range(127, 160), 0x202E, 0x2066, 0xD800]))
    assert printable(hostile).isprintable() and "\x9b" not in json_text({"label": hostile})
    assert corpus.json.loads(json_text({"label": hostile})) == {"label": hostile}
    assert json_text({"ü": "日本"}) == '{"ü": "日本"}'
