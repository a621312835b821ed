"""Batches hold every example once, padded as said, in an order that the seed decides."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.data.cuts import cut, cut_by_few, cut_by_label
from sparsernn.data.splits import SequenceSplit, TensorSplit, TextSplit, TextWindowSplit, WindowSplit
from sparsernn.data.task import IGNORED
from sparsernn.errors import UserError

lengths = st.lists(st.integers(0, 9), min_size=1, max_size=40)
seeds = st.one_of(st.none(), st.integers(0, 2**40))


def sequences(lengths, **options):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return SequenceSplit(np.arange(1, offsets[-1] + 1), offsets, np.arange(len(lengths)), **options)


@given(lengths, st.integers(1, 7), seeds, st.booleans(), st.sampled_from(["left", "right"]))
def test_every_sequence_comes_once_and_whole(lengths, size, seed, bucketed, padding):
    split = sequences(lengths, bucketed=bucketed, padding=padding)
    batches = list(split.batches(size, shuffle_seed=seed))
    assert len(batches) == split.number_of_batches(size)
    found = {}
    for inputs, targets, counted in batches:
        assert len(inputs) <= size and inputs.dtype == torch.int64
        for row, target in enumerate(targets.tolist()):
            count = lengths[target]
            assert counted is None or int(counted[row]) == max(1, count)
            kept = inputs[row, :count] if padding == "right" else inputs[row, inputs.shape[1] - count :]
            assert int((inputs[row] != 0).sum()) == count
            found[target] = kept.tolist()
    starts = np.cumsum([0, *lengths])
    assert found == {row: list(range(starts[row] + 1, starts[row + 1] + 1)) for row in range(len(lengths))}


@given(lengths, st.integers(1, 7), st.booleans())
def test_where_order_does_not_matter_every_sequence_comes_once_beside_those_of_like_length(lengths, size, bucketed):
    split = sequences(lengths, bucketed=bucketed)
    batches = list(split.unordered(size))
    assert len(batches) == split.number_of_batches(size)
    targets = torch.cat([batch.targets for batch in batches]).tolist()
    assert sorted(targets) == list(range(len(lengths)))
    assert targets == sorted(targets, key=lengths.__getitem__) if bucketed else targets == sorted(targets)
    for batch in batches:
        assert torch.equal(batch.inputs, split.batch(batch.targets.numpy()).inputs)


@given(lengths, st.integers(1, 7), st.integers(0, 99), st.booleans())
def test_same_seed_same_batches(lengths, size, seed, bucketed):
    first, second = (list(sequences(lengths, bucketed=bucketed).batches(size, shuffle_seed=seed)) for _ in range(2))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, second, strict=True))


@given(lengths, st.integers(1, 7))
def test_without_a_seed_the_stored_order_holds(lengths, size):
    targets = torch.cat([batch.targets for batch in sequences(lengths, bucketed=True).batches(size)])
    assert targets.tolist() == list(range(len(lengths)))


@given(st.lists(st.integers(1, 30), min_size=60, max_size=200), st.integers(0, 9))
def test_buckets_hold_sequences_of_like_length(lengths, seed):
    def padded(bucketed):
        batches = sequences(lengths, bucketed=bucketed).batches(8, shuffle_seed=seed)
        return sum(batch.inputs.numel() for batch in batches)

    assert padded(True) <= padded(False)


def test_targets_of_padded_steps_are_ignored():
    split = SequenceSplit(np.ones((5, 2), np.float32), np.array([0, 2, 5]), np.arange(5), per_step=True)
    batch = next(split.batches(2))
    assert batch.inputs.shape == (2, 3, 2) and batch.targets.tolist() == [[0, 1, IGNORED], [2, 3, 4]]


def test_least_length_and_chosen_rows():
    split = sequences([1, 2, 3], rows=np.array([2, 0]), padding="left", least=4)
    batch = next(split.batches(5))
    assert batch.inputs.tolist() == [[0, 4, 5, 6], [0, 0, 0, 1]] and batch.lengths is None and len(split) == 2
    assert split.lengths.tolist() == [3, 1]


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 6), st.booleans())
def test_text_streams_continue_and_cover_the_text(count, steps, size, keep_last):
    split = TextSplit(np.arange(count, dtype=np.int32), steps, keep_last)
    if count // size < 2:
        with pytest.raises(UserError, match="streams"):
            next(split.batches(size))
        return
    batches = list(split.batches(size))
    assert len(batches) == split.number_of_batches(size) and split.carries_state
    if batches:
        inputs, targets = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
        assert torch.equal(targets, inputs + 1) and torch.equal(inputs[1:], targets[:-1])
        assert inputs[0].tolist() == [stream * (count // size) for stream in range(size)]
        assert not keep_last or len(inputs) == count // size - 1


@given(st.integers(12, 90), st.integers(1, 9), st.integers(1, 6), seeds)
def test_text_windows_do_not_overlap(count, steps, size, seed):
    split = TextWindowSplit(np.arange(count), steps)
    batches = list(split.batches(size, shuffle_seed=seed))
    inputs = torch.cat([batch.inputs for batch in batches], 1)
    assert inputs.shape == (steps, len(split)) and len(set(inputs.flatten().tolist())) == inputs.numel()
    assert len(batches) == split.number_of_batches(size) and not split.carries_state


def test_chosen_text_windows_stay_where_they_are():
    every = TextWindowSplit(np.arange(50), 7)
    some = TextWindowSplit(np.arange(50), 7, np.array([1, 4, 5]))
    whole, _ = next(iter(every.batches(9)))[:2]
    for seed in (None, 3):
        batches = list(some.batches(2, shuffle_seed=seed))
        inputs = torch.cat([batch.inputs for batch in batches], 1)
        assert len(some) == 3 and len(batches) == some.number_of_batches(2) == 2
        assert sorted(inputs[0].tolist()) == whole[0, [1, 4, 5]].tolist()


def test_windows_end_where_the_forecast_begins():
    series = np.stack([np.arange(10), 100 + np.arange(10)], 1)
    split = WindowSplit(series, np.array([0, 5]), window=3, horizon=2, target=1)
    batch = next(split.batches(2))
    assert batch.inputs[1, :, 0].tolist() == [5, 6, 7] and batch.targets[1].tolist() == [108, 109]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(0, 9))
def test_cuts_are_disjoint_complete_and_even(labels, seed):
    labels = np.array(labels)
    for parts in (cut(len(labels), (8, 1, 1), seed), cut_by_label(labels, (8, 1, 1), seed)):
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for label in np.unique(labels):
        share = int((labels[parts[0]] == label).sum()) - 0.8 * int((labels == label).sum())
        assert abs(share) <= 0.5


def test_a_batch_size_of_zero_is_refused():
    with pytest.raises(UserError, match="batch size is 0"):
        next(TensorSplit(torch.zeros(2, 1, 1), torch.zeros(2)).batches(0))


@given(st.lists(st.integers(0, 30), min_size=5, max_size=300), st.integers(0, 9))
def test_few_rows_of_a_label_are_dealt_out_in_turn(labels, seed):
    labels = np.array(labels)
    parts = cut_by_few(labels, (0.8, 0.1, 0.1), seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert set(labels[parts[0]]) == set(labels)
    counts = np.bincount(labels)
    held = len(parts[1]) + len(parts[2])
    assert held <= 0.2 * len(labels) + 0.5 * (counts >= 10).sum() * 2 + 2
    if (counts > 1).sum() > 1:
        assert min(map(len, parts)) > 0
    if not ((counts > 0) & (counts < 15)).any():
        assert all(
            np.array_equal(one, other) for one, other in zip(parts, cut_by_label(labels, (8, 1, 1), seed), strict=True)
        )
