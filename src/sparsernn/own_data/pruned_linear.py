"""A linear classifier of texts by few of their n-grams: those that tell the classes apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sparsernn.runtime.grams import Grams
from sparsernn.runtime.hashing import BITS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_NUMBERS = 60_000_000  # of all training texts together; of more texts some are left out
MOST_CANDIDATES, MOST_WEIGHTS, LEAST_KEPT = 300_000, 400_000, 2_000
MOST_COUNTS = 50_000_000  # of places and classes
STRENGTHS = (4.0, 16.0, 64.0)
MIDDLE = 1
STEPS_OF_WEIGHTS = 31
"""Weights are whole multiples of the largest one's 31st part, so that they pack well."""
Array = np.ndarray


@dataclass(frozen=True)
class Texts:
    """Encoded texts and their class numbers. encoded: as `GramEncoder` has them."""

    encoded: Sequence[Array]
    targets: Array

    def thinned(self) -> Texts:
        """As many of them, evenly spread, as can be learned from at once."""
        share = -(-sum(map(len, self.encoded)) // MOST_NUMBERS)
        return Texts(self.encoded[::share], self.targets[::share])


def fit(train: Texts, valid: Texts, labels: Sequence[str], kept: int, words: Array) -> Grams:
    """A pruned linear classifier: logistic regression on the n-grams that weigh most in one on all n-grams.

    An n-gram counts by the root of its log count ratio between classes, whether it occurs once or often; a text's sum
    is divided by the root of its length. The strength of regularisation is chosen by the loss on validation.

    Arguments:
        kept: n-grams; fewer of many classes. words: places of words that are kept as well. [word]
    Source: Wang & Manning 2012, Baselines and Bigrams (log count ratios); ranking by weight and refitting: Guyon et al.
        2002, in one round.
    """
    train, classes = train.thinned(), len(labels)
    kept = min(kept, max(LEAST_KEPT, MOST_WEIGHTS // classes))
    scales = gram_scales(train, classes, words)
    if len(scales.places) > kept:
        room = max(kept, 4 * MOST_CANDIDATES // classes)
        scales = scales.of(np.argsort(-scales.ranks, kind="stable")[: min(MOST_CANDIDATES, room)], words)
        matrix = occurrences(train, scales)
        weights, _ = logistic_regression(matrix, train.targets, classes, STRENGTHS[MIDDLE], rough=True)
        weight = np.abs(weights).max(0) * scales.factors * np.sqrt(scales.counts)
        scales = scales.of(np.argsort(-weight, kind="stable")[:kept], words)
    matrix, read = (occurrences(texts, scales) for texts in (train, valid))
    models = [logistic_regression(matrix, train.targets, classes, strength) for strength in STRENGTHS]
    losses = [loss(scores_of(read @ weights.T + bias), valid.targets) for weights, bias in models]
    weights, bias = models[int(np.argmin(losses))]
    weights = rounded(weights * scales.factors, STEPS_OF_WEIGHTS)
    nothing = np.zeros(len(scales.places), bool), np.zeros((0, 0), np.float32)
    return Grams(scales.places, weights, bias.astype(np.float32), *nothing, 1, tuple(labels))


@dataclass(frozen=True)
class Scales:
    """Places, ascending; in how many texts each occurs, its column's factor, and how much it may tell. [place]"""

    places: Array
    counts: Array
    factors: Array
    ranks: Array

    def of(self, numbers: Array, words: Array) -> Scales:
        """Some of the places, by their numbers, and those of words."""
        numbers = np.union1d(numbers, np.flatnonzero(np.isin(self.places, words)))
        return Scales(self.places[numbers], self.counts[numbers], self.factors[numbers], self.ranks[numbers])


def gram_scales(texts: Texts, classes: int, words: Array) -> Scales:
    """Log count ratios of each class against the rest, the largest over classes, and what follows from them.

    Places that one text has are left out, but for those of words.
    """
    counts = np.zeros(1 << BITS, np.int32)
    for encoded in texts.encoded:
        counts[np.unique(encoded[1:])] += 1
    places = np.flatnonzero(counts > 1)
    most = max(1, MOST_COUNTS // classes)
    if len(places) > most:
        places = places[np.argsort(-counts[places], kind="stable")[:most]]
    places = np.union1d(places, words).astype(np.int64)
    column = columns_of(places)
    by_class = np.zeros((classes, len(places)), np.float32)
    for encoded, target in zip(texts.encoded, texts.targets, strict=True):
        met = np.unique(column[encoded[1:]])
        by_class[target, met[met >= 0]] += 1
    total = counts[places].astype(np.float32)
    ratios = np.zeros(len(places), np.float32)
    for inside in by_class:
        first, second = inside + 1, total - inside + 1
        np.maximum(ratios, np.abs(np.log(first / first.sum()) - np.log(second / second.sum())), out=ratios)
    factors = np.sqrt(ratios)
    factors /= max(1e-12, float(np.sqrt((ratios * total).sum() / max(1.0, float(total.sum())))))
    return Scales(places, total, factors, ratios * np.sqrt(total))


def columns_of(places: Array) -> Array:
    """The column of every place, -1 where it has none."""
    column = np.full(1 << BITS, -1, np.int32)
    column[places] = np.arange(len(places))
    return column


def occurrences(texts: Texts, scales: Scales) -> csr_matrix:
    """Which of the places occur in each text, by factor, divided by the root of the text's length. [text place]"""
    from scipy.sparse import csr_matrix

    column = columns_of(scales.places)
    columns, values, ends = [], [], [0]
    for encoded in texts.encoded:
        met = np.unique(column[encoded[1:]])
        met = met[met >= 0]
        columns.append(met)
        values.append(scales.factors[met] / np.float32(max(1, len(encoded) - 1) ** 0.5))
        ends.append(ends[-1] + len(met))
    content = (np.concatenate(values).astype(np.float64), np.concatenate(columns), np.array(ends))
    return csr_matrix(content, shape=(len(texts.encoded), len(scales.places)))


def logistic_regression(
    matrix: csr_matrix, targets: Array, classes: int, strength: float, rough: bool = False
) -> tuple[Array, Array]:
    """Weights and bias, one row for two classes. Classes without a text have very low scores.

    Arguments:
        rough: good enough to rank columns.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if classes == 2:
        model = LogisticRegression(C=strength, solver="liblinear", dual=True, tol=0.1 if rough else 0.01, max_iter=200)
    else:
        # The gradient that lbfgs looks at is a mean over texts, whose own numbers are small.
        model = LogisticRegression(C=strength, tol=1e-4 if rough else 1e-5, max_iter=50 if rough else 150)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # validation is asked how good it is
        model.fit(matrix, targets)
    if classes == 2 or len(model.classes_) == classes:
        return np.asarray(model.coef_), np.asarray(model.intercept_)
    weights, bias = np.zeros((classes, model.coef_.shape[1])), np.full(classes, -20.0)
    weights[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    return weights, bias


def scores_of(outputs: Array) -> Array:
    """Scores of all classes, where one output tells two apart. [text class]"""
    return np.concatenate([np.zeros_like(outputs), outputs], 1) if outputs.shape[1] == 1 else outputs


def loss(scores: Array, targets: Array) -> float:
    """The mean cross entropy."""
    return float(row_losses(scores, targets).mean())


def row_losses(scores: Array, targets: Array) -> Array:
    """The cross entropy of each row. [row]"""
    from scipy.special import logsumexp

    return logsumexp(scores.astype(np.float64), 1) - scores[np.arange(len(targets)), targets]


def rounded(values: Array, steps: int) -> Array:
    """Each row in whole multiples of its largest number divided by `steps`."""
    unit = np.abs(values).max(1, keepdims=True) / steps
    unit = np.where(unit > 0, unit, 1)
    return (np.rint(values / unit) * unit).astype(np.float32)


def scaled(grams: Grams, factor: float) -> Grams:
    """The same with all scores multiplied."""
    weights, bias = (np.asarray(one * factor, np.float32) for one in (grams.weights, grams.bias))
    return replace(grams, weights=weights, bias=bias)
