"""What every test shares: one thread, flushed denormals, and the folder of real data where there is one."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from _pytest.terminal import TerminalReporter
from hypothesis import settings

from sparsernn.denormals import set_flush_denormal

torch.set_num_threads(1)
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """How many tests were skipped, and for which reasons, at the end of every run."""
    reports = terminalreporter.stats.get("skipped", [])
    if reports:
        terminalreporter.section(f"{len(reports)} skipped")
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5}  {reason}")


@pytest.fixture(autouse=True)
def flushed_denormals() -> None:
    """As the project advises, whatever the test before left; hypothesis' floats() then need allow_subnormal=False."""
    set_flush_denormal()


@pytest.fixture(autouse=True)
def nothing_follows_torch() -> Iterator[None]:
    """A test that leaves a function mode behind is the one that fails, not one of those after it."""
    yield
    assert not torch.overrides._get_current_function_mode_stack()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder named by SPARSERNN_DATA; tests that need real data are left out without it."""
    folder = os.environ.get("SPARSERNN_DATA")
    if not folder:
        pytest.skip("SPARSERNN_DATA names no folder of data")
    return Path(folder)
