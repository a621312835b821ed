"""A run that is killed at any moment, any number of times, resumes to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_and_resume.py")


def killed(kills: int, seed: int) -> dict[str, int]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), str(kills), str(seed)], capture_output=True, text=True, env=environment
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_runs_that_are_killed_resume_to_the_same_bits():
    done = killed(24, seed=0)
    assert done["kills"] >= 24 and done["identical"] == done["runs"] >= 1


@pytest.mark.slow
def test_a_hundred_kills():
    done = killed(100, seed=1)
    assert done["kills"] >= 100 and done["identical"] == done["runs"] >= 4
