"""Random networks are the same everywhere: a few in the suite, a thousand in the slow one."""

import shutil

import pytest

pytest.importorskip("onnxruntime")

from tests.deploy.random_architectures import Tally, check, drawn

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")
pytestmark = [needs_gcc, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize("count", [8, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_networks_are_the_same_everywhere(count):
    architectures, tally = drawn(count, number=5), Tally()
    for first in range(0, count, 25):
        check(architectures[first : first + 25], tally)
    assert tally.failures == []
    assert len(architectures) == count and tally.counts["C"] > count // 8
