"""A command that is killed at any moment, any number of times, and given again leaves what one leaves that was not."""

import os
import subprocess
import sys

import pytest

from tests.trust.killed_commands import COMMANDS


def killed(kills, seed, *names):
    """The lines of the table."""
    words = [sys.executable, "-m", "tests.trust.killed_commands", str(kills), str(seed), *names]
    finished = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout.splitlines()


def test_a_training_of_a_file_survives_kills():
    assert len(killed(3, 0, "train, texts")) == 1


@pytest.mark.slow
def test_every_command_survives_two_hundred_kills():
    assert len(killed(200, 1)) == len(COMMANDS)
