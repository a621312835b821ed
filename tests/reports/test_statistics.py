"""Intervals against simulations with a known effect: those that are used hold, the naive ones do not."""

import numpy as np
import pytest
from scipy import stats

from sparsernn.reports import statistics

REPEATED = 2000
MONTE_CARLO = 4 * (0.95 * 0.05 / REPEATED) ** 0.5
"""Four standard errors of a coverage of 95 % that is counted so often."""


def split_by_split(rows, test, splits, seed=0):
    """Differences of squared errors of two fixed predictions on splits drawn from the same rows, for many such sets.

    Targets are N(0.5, 1), predictions 0.4 and 0, so the true difference is 0.01 - 0.25.
    """
    generator = np.random.default_rng(seed)
    for _ in range(REPEATED):
        targets = generator.normal(0.5, 1, rows)
        gaps = (targets - 0.4) ** 2 - targets**2
        yield [gaps[generator.permutation(rows)[:test]].mean() for _ in range(splits)]


def coverage(simulated, effect, overlap=0.0):
    estimates = [statistics.estimate(differences, overlap) for differences in simulated]
    return np.mean([abs(one.mean - effect) <= one.half for one in estimates])


@pytest.mark.parametrize(("train", "test", "splits"), [(40, 50, 5), (40, 50, 3), (80, 10, 5)])
def test_the_corrected_interval_holds_over_splits_of_the_same_rows_and_the_naive_one_does_not(train, test, splits):
    # Nadeau and Bengio take n_test / (n_test + n_train) for the correlation, which is exact for fixed predictions.
    drawn = list(split_by_split(train + test, test, splits))
    assert coverage(drawn, -0.24, test / train) == pytest.approx(0.95, abs=MONTE_CARLO)
    assert coverage(drawn, -0.24) < 0.95 - MONTE_CARLO


def test_with_one_split_for_all_the_seeds_are_independent():
    generator = np.random.default_rng(1)
    drawn = [generator.normal(0.3, 2, 4) for _ in range(REPEATED)]
    assert coverage(drawn, 0.3) == pytest.approx(0.95, abs=MONTE_CARLO)


def test_the_sets_are_the_unit_of_a_claim_over_sets():
    # Each of four sets has an effect of its own, N(1, 1); the runs on it add N(0, 0.5).
    generator = np.random.default_rng(2)
    sets = [generator.normal(1, 1, (4, 1)) + generator.normal(0, 0.5, (4, 4)) for _ in range(REPEATED)]
    estimates = [statistics.over_sets(list(differences)) for differences in sets]
    held = np.mean([abs(one.mean - 1) <= one.half for one in estimates])
    assert held == pytest.approx(0.95, abs=MONTE_CARLO)
    assert coverage([differences.ravel() for differences in sets], 1.0) < 0.8


def test_without_correction_it_is_the_usual_t_test():
    differences = [0.1, 0.4, 0.2, 0.7]
    one, usual = statistics.estimate(differences), stats.ttest_1samp(differences, 0)
    low, high = usual.confidence_interval(0.95)
    assert (one.mean - one.half, one.mean + one.half, one.p) == pytest.approx((low, high, usual.pvalue))


def test_the_published_correction_by_hand():
    one = statistics.estimate([1.0, 2.0, 3.0], overlap=0.5)
    assert one.half == pytest.approx(4.302653 * (1 / 3 + 0.5) ** 0.5)  # the sample deviation is 1


def test_fewer_than_three_say_nothing():
    assert statistics.estimate([0.1, 0.2]) is None and statistics.over_sets([[1.0] * 9, [2.0] * 9]) is None
    assert statistics.sample_deviation([3.0]) == 0 and statistics.sample_deviation([1.0, 3.0]) == pytest.approx(2**0.5)


def test_values_without_any_difference():
    assert statistics.estimate([0.0] * 3).p == 1 and statistics.estimate([0.5] * 3).p == 0


def test_holm_by_hand_and_the_order_of_the_table():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == pytest.approx([1.0, 1.0]) and statistics.holm([]) == []


def test_holm_keeps_the_chance_of_any_false_claim_where_one_by_one_does_not():
    generator = np.random.default_rng(3)
    tables = generator.uniform(size=(REPEATED, 20))
    assert np.mean([min(statistics.holm(table)) <= 0.05 for table in tables]) == pytest.approx(0.05, abs=MONTE_CARLO)
    assert np.mean(tables.min(1) <= 0.05) > 0.6
