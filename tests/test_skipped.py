"""What was left out is said at the end of a run."""

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_of_data(number, data_folder):
    pass

@pytest.mark.skipif(True, reason="no browser")
def test_of_pages():
    pass

def test_that_runs():
    pass
"""


def test_the_number_of_skipped_tests_and_why_is_said_at_the_end(tmp_path, monkeypatch):
    monkeypatch.delenv("SPARSERNN_DATA", raising=False)
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text("utf8"), "utf8")
    (tmp_path / "test_made.py").write_text(TESTS, "utf8")
    for workers in ([], ["-n", "1"]):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers, str(tmp_path)]
        said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
        assert " 4 skipped " in said
        assert "    3  SPARSERNN_DATA names no folder of data\n    1  no browser\n" in said
