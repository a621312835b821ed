"""A disk that is full: one clear error, nothing lost, and the run goes on once there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsernn.errors import UserError
from sparsernn.training import checkpoints
from sparsernn.training.run_folder import RunFolder

LIMITED = """
import resource, sys
import torch
from sparsernn.errors import UserError
from sparsernn.training.run_folder import RunFolder

limit = int(sys.argv[2])
with RunFolder.open(sys.argv[1]) as run:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run.save_checkpoint({"weights": torch.zeros(100_000)})
    except UserError as error:
        print(error)
"""


def test_a_file_that_cannot_grow_leaves_the_checkpoint_before_intact(tmp_path):
    with RunFolder.create(tmp_path / "run", {}) as run:
        run.append_metrics({"epoch": 1})
        run.save_checkpoint({"step": 1})
    finished = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "run"), "100000"], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("A checkpoint could not be written to") and "the disk is full" in finished.stdout
    assert [path.name for path in (tmp_path / "run" / "checkpoint").iterdir()] == ["checkpoint-1"]
    with RunFolder.open(tmp_path / "run") as run:
        [found] = run.checkpoints()
        assert found.state == {"step": 1}


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 200 kB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_training_on_a_full_disk_stops_and_can_go_on(classification, small_disk, run_whole):
    whole = run_whole(classification)
    ballast = small_disk / "ballast"
    with RunFolder.create(small_disk / "run", {}) as run:
        classification.fit(run=run, epochs=3, train=classification.train)
        number = checkpoints.numbers(small_disk / "run" / "checkpoint")[-1]
        with pytest.raises(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"0" * 512):
                pass
        with pytest.raises(UserError, match="the disk is full"):
            run.save_checkpoint({"weights": list(range(100_000))})
        with pytest.raises(UserError, match="the disk is full"):
            run.write_environment(run.environment | {"more": "x" * 100_000})
        assert run.environment["processes"] == 1
        assert checkpoints.numbers(small_disk / "run" / "checkpoint")[-1] == number
        ballast.unlink()
        classification.fit(run=run, resume=True)
    assert (small_disk / "run" / "weights.safetensors").read_bytes() == whole.weights


def test_a_disk_that_fills_while_training_is_one_clear_error(classification, small_disk, run_whole):
    whole = run_whole(classification)
    ballast = small_disk / "ballast"
    with RunFolder.create(small_disk / "run", {}) as run:
        with ballast.open("wb") as file:
            file.write(b"0" * 130_000)
        with pytest.raises(UserError, match="could not be written to .*the disk is full"):
            classification.fit(run=run, checkpoint_seconds=0.0)
        assert not run.is_finished
        ballast.unlink()
        classification.fit(run=run, resume=True, checkpoint_seconds=0.0)
    assert (small_disk / "run" / "weights.safetensors").read_bytes() == whole.weights


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_one_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission denied"):
        RunFolder.create(tmp_path / "run", {})
    tmp_path.chmod(0o700)
