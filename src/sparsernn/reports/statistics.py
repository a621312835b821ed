"""Statistics of repeated runs: sample deviations, intervals of mean differences, many comparisons in one table."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 3
"""Fewer values say nothing of how much others would differ."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """What differences say of their mean.

    Arguments:
        mean: of the values.
        half: the interval reaches this far from the mean on both sides.
        p: how probable a mean as far from zero is if the true one is zero.
    """

    mean: float
    half: float
    p: float


def mean(values: Sequence[float]) -> float:
    """The mean of some values."""
    return statistics.fmean(values)


def sample_deviation(values: Sequence[float]) -> float:
    """The root of the sum of squares over n - 1; 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def estimate(differences: Sequence[float], overlap: float = 0.0) -> Estimate | None:
    """The mean of differences with its interval, by Student's t; None for fewer than three.

    The variance of the mean is s² (1/n + overlap). Splits that are drawn from the same rows share rows, so their
    differences are alike and s² is too small; the correction is for that.

    Arguments:
        overlap: test rows over training rows where every difference is of another split drawn from the same rows, and 0
            where all have the same split and only the seed of the training differs.
    Source: Nadeau & Bengio 2003, Inference for the Generalization Error, the corrected resampled t-test.
    """
    count = len(differences)
    if count < LEAST:
        return None
    from scipy.stats import t as student  # takes longer to import than most commands need

    middle = mean(differences)
    error = sample_deviation(differences) * math.sqrt(1 / count + overlap)
    half = float(student.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    if not error:
        return Estimate(middle, half, 0.0 if middle else 1.0)
    return Estimate(middle, half, float(2 * student.sf(abs(middle) / error, count - 1)))


def over_sets(sets: Sequence[Sequence[float]]) -> Estimate | None:
    """The mean over data sets of the mean difference on each; None for fewer than three sets.

    A claim about data sets in general has as many observations as there are sets, however many runs each has.
    """
    return estimate([mean(differences) for differences in sets])


def holm(probabilities: Sequence[float]) -> list[float]:
    """The p of each comparison of a table, adjusted so that all below a level hold together at that level.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    adjusted, highest = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        highest = max(highest, min(1.0, (len(probabilities) - rank) * probabilities[place]))
        adjusted[place] = highest
    return adjusted
