"""What a network reads of series, against the same written out step by step."""

from __future__ import annotations

import numpy as np
import pytest

from sparsernn.data.patches import Frames, Patches, frame_steps, running, windows_for
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.task import IGNORED

CHANCE = np.random.default_rng(0)


def padded(series):
    lengths = np.array([len(one) for one in series])
    batch = np.zeros((len(series), lengths.max(), series[0].shape[1]), np.float32)
    for row, one in zip(batch, series, strict=True):
        row[: len(one)] = one
    return batch, lengths


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_patches_hold_the_steps_and_their_standardised_copy(steps):
    series = [CHANCE.normal(5, 3, (length, 2)).astype(np.float32) for length in (7, 1, 12)]
    read, counts = Patches(steps)(*padded(series))
    for row, one, count in zip(read, series, counts, strict=True):
        assert count == -(-len(one) // steps)
        deviation = one.std(0)
        copy = (one - one.mean(0)) / np.where(deviation > 1e-6, deviation, 1)
        for patch in range(count):
            for step in range(steps):
                place = min(patch * steps + step, len(one) - 1)
                part = row[patch, 4 * step : 4 * step + 4]
                np.testing.assert_allclose(part, np.concatenate([one[place], copy[place]]), atol=1e-5)
    assert Patches(steps).width(2) == read.shape[2] and read.dtype == np.float32


def test_an_average_series_has_32_patches_at_most():
    for lengths in ([5, 9], [32], [33], [100, 1000, 2000]):
        steps = Patches.for_lengths(np.array(lengths)).steps
        assert -(-int(np.median(lengths)) // steps) <= 32 and (steps == 1 or np.median(lengths) / (steps - 1) > 32)


def test_running_figures_are_those_of_the_steps_before_and_after():
    values = CHANCE.normal(2, 4, (9, 2))
    read = running(values, (3, 20))
    assert read.shape == (9, 2 * (1 + 4 * 2))
    for step in range(9):
        expected = [values[step]]
        for window in (3, 20):
            for part in (values[max(0, step - window + 1) : step + 1], values[step : step + window]):
                expected += [part.mean(0), part.std(0)]
        np.testing.assert_allclose(read[step], np.concatenate(expected), atol=1e-5)


def test_windows_begin_at_half_a_series_and_are_never_one_step():
    assert windows_for(np.array([1000, 1000, 5])) == (6, 18, 55, 166, 500)
    assert windows_for(np.array([4])) == (2,) and windows_for(np.array([1])) == ()


def test_frames_are_short_beside_how_long_labels_last():
    labels, offsets = np.repeat([0, 1, 0, 1], 50), np.array([0, 100, 200])
    assert frame_steps(labels, offsets) == 3
    assert frame_steps(np.repeat([0, 1], 1000), np.array([0, 2000])) == 8
    assert frame_steps(np.array([0, 1, 0, 1]), np.array([0, 4])) == 1
    # The same label on both sides of a border is two labels that last.
    assert frame_steps(np.zeros(64, int), np.array([0, 32, 64])) == 2


def test_frames_keep_every_label_and_every_step():
    values = np.arange(10 * 3, dtype=np.float32).reshape(10, 3)
    split = SequenceSplit(values, np.array([0, 7, 10]), np.arange(10) % 3, per_step=True, patches=Frames(3, channels=2))
    batch = next(split.batches(2))
    assert batch.inputs.shape == (2, 3, 3 * 2 + 1) and batch.lengths.tolist() == [3, 1]
    assert batch.targets.shape == (2, 3, 3)
    scored = batch.targets[batch.targets != IGNORED]
    assert scored.tolist() == (np.arange(10) % 3).tolist()
    first = batch.inputs[0].numpy()
    assert first[1, :6].tolist() == values[3:6, :2].flatten().tolist() and first[1, 6] == values[4, 2]
    assert first[2, :6].tolist() == [*values[6, :2]] * 3 and first[2, 6] == values[6, 2]
