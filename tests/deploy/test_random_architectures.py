"""Random networks are the same everywhere: a few in the suite, a thousand in the slow one."""

import shutil

import pytest

pytest.importorskip("onnxruntime")

from tests.deploy.random_architectures import Architecture, Stack, Tally, check, drawn

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")
pytestmark = [needs_gcc, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize("count", [8, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_networks_are_the_same_everywhere(count):
    architectures, tally = drawn(count, number=5), Tally()
    for first in range(0, count, 25):
        check(architectures[first : first + 25], tally)
    assert tally.failures == []
    assert len(architectures) == count and tally.counts["C"] > count // 8


def test_an_array_that_a_shut_gate_leaves_unread_is_no_warning():
    """Found among a thousand: an LSTM above few states, a third of whose weights are left."""
    stacks = (Stack("fastgrnn", 6, 21, 1, False, True), Stack("torch LSTM", 11, 21, 2, False, True))
    architecture = Architecture(
        2, 1, False, stacks, False, False, False, False, 0.0, 1, 3, "by hand", 0.6, "blocks", False, 154
    )
    tally = Tally()
    check([architecture], tally)
    assert tally.failures == [] and tally.counts["C"] == 1
