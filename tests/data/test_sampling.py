"""Samples of large splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.data.splits import Sample, SequenceSplit, TextSplit, WindowSplit, at_most


def sequences(many, rows=None):
    return SequenceSplit(np.arange(many), np.arange(many + 1), np.arange(many) % 3, rows=rows, bucketed=True)


def windows(many):
    return WindowSplit(np.arange(many + 3.0)[:, None], np.arange(many), 2, 1, 0)


def seen(split, size, seed=None):
    return np.concatenate([batch.inputs[:, 0].flatten().numpy() for batch in split.batches(size, shuffle_seed=seed)])


@pytest.mark.parametrize("make", [sequences, windows])
@given(many=st.integers(2, 60), data=st.data(), seed=st.integers(0, 2**40))
def test_a_pass_reads_so_many_different_examples(make, many, data, seed):
    count, size = data.draw(st.integers(1, many - 1)), data.draw(st.integers(1, 9))
    sample = at_most(make(many), count)
    assert isinstance(sample, Sample) and len(sample) == count
    for given_seed in (None, seed):
        found = seen(sample, size, given_seed)
        assert len(found) == len(set(found)) == count and set(found) <= set(range(many))
        assert np.array_equal(found, seen(sample, size, given_seed))
        assert len(list(sample.batches(size, shuffle_seed=given_seed))) == sample.number_of_batches(size)
    unordered = np.concatenate([batch.inputs[:, 0].flatten().numpy() for batch in sample.unordered(size)])
    assert sorted(unordered) == sorted(seen(sample, size))


def test_passes_differ_and_stay_within_the_split():
    sample = at_most(sequences(1000, rows=np.arange(0, 1000, 2)), 100)
    passes = [set(seen(sample, 8, seed)) for seed in range(30)]
    assert all(number % 2 == 0 for one in passes for number in one)
    assert passes[0] != passes[1] and len(set.union(*passes)) > 490
    assert list(seen(sample, 8)) == list(range(0, 1000, 10))


def test_small_splits_and_running_text_stay_whole():
    for split in (sequences(5), TextSplit(np.arange(100))):
        assert at_most(split, 5) is split
