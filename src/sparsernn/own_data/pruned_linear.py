"""A linear model of texts by few of their n-grams: those that tell the classes apart, or the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from sparsernn.own_data.text_targets import Learned
from sparsernn.runtime.grams import Grams
from sparsernn.runtime.hashing import BITS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_NUMBERS = 60_000_000  # of all training texts together; of more texts some are left out
MOST_CANDIDATES, MOST_WEIGHTS, LEAST_KEPT = 300_000, 400_000, 2_000
MOST_COUNTS = 50_000_000  # of places and classes
STEPS_OF_WEIGHTS = 31
"""Weights are whole multiples of the largest one's 31st part, so that they pack well."""
Array = np.ndarray


@dataclass(frozen=True)
class Texts:
    """Encoded texts and their class numbers, or numbers. encoded: as `GramEncoder` has them."""

    encoded: Sequence[Array]
    targets: Array

    def thinned(self) -> Texts:
        """As many of them, evenly spread, as can be learned from at once."""
        share = -(-sum(map(len, self.encoded)) // MOST_NUMBERS)
        return Texts(self.encoded[::share], self.targets[::share])


class Parts(NamedTuple):
    """Texts of a file that train and validate, and what is learned of them."""

    train: Texts
    valid: Texts
    learned: Learned


@dataclass(frozen=True)
class Ranked:
    """N-grams by how much they weigh in a linear model of all of them, from which models of few are fitted.

    An n-gram counts by the root of how far it tells the targets apart, whether it occurs once or often; a text's sum is
    divided by the root of its length.

    Arguments:
        order: of the places, the most important first, unless there were too few to need one. [place]
        words: places of words that are kept as well. [word]
    Source: Wang & Manning 2012, Baselines and Bigrams (log count ratios); ranking by weight and refitting: Guyon et al.
        2002, in one round.
    """

    parts: Parts
    scales: Scales
    order: Array
    words: Array

    @classmethod
    def of(cls, parts: Parts, kept: int, words: Array) -> Self:
        """The n-grams of training texts. kept: how many are too few to need an order."""
        train, learned = parts.train.thinned(), parts.learned
        groups = learned.count
        scales = gram_scales(train, learned, words)
        order = np.arange(len(scales.places))
        if len(scales.places) > kept_of(kept, groups):
            room = max(kept_of(kept, groups), 4 * MOST_CANDIDATES // groups)
            scales = scales.of(np.argsort(-scales.ranks, kind="stable")[: min(MOST_CANDIDATES, room)], words)
            matrix = occurrences(train, scales)
            middle = learned.strengths[len(learned.strengths) // 2]
            weights, _ = learned.fit(matrix, train.targets, middle, rough=True)
            weight = np.abs(weights).max(0) * scales.factors * np.sqrt(scales.counts)
            order = np.argsort(-weight, kind="stable")
        return cls(parts._replace(train=train), scales, order, words)

    def fit(self, kept: int) -> Grams:
        """A linear model of so many n-grams, fewer of many classes; the loss on validation chooses its strength."""
        train, valid, learned = self.parts
        kept, scales = kept_of(kept, learned.count), self.scales
        if len(scales.places) > kept:
            scales = scales.of(self.order[:kept], self.words)
        matrix, read = (occurrences(texts, scales) for texts in (train, valid))
        models = [learned.fit(matrix, train.targets, strength) for strength in learned.strengths]
        losses = [learned.losses(read @ weights.T + bias, valid.targets).mean() for weights, bias in models]
        weights, bias = models[int(np.argmin(losses))]
        weights = rounded(weights * scales.factors, STEPS_OF_WEIGHTS)
        nothing = np.zeros(len(scales.places), bool), np.zeros((0, 0), np.float32)
        return Grams(scales.places, weights, bias.astype(np.float32), *nothing, 1, learned.labels)


def kept_of(kept: int, groups: int) -> int:
    """How many n-grams are kept at most, of so many groups of texts."""
    return min(kept, max(LEAST_KEPT, MOST_WEIGHTS // groups))


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


def gram_scales(texts: Texts, learned: Learned, words: Array) -> Scales:
    """How far each place tells the targets apart, and what follows from it.

    Places that one text has are left out, but for those of words.
    """
    counts = np.zeros(1 << BITS, np.int32)
    for encoded in texts.encoded:
        counts[np.unique(encoded[1:])] += 1
    places = np.flatnonzero(counts > 1)
    most = max(1, MOST_COUNTS // learned.count)
    if len(places) > most:
        places = places[np.argsort(-counts[places], kind="stable")[:most]]
    places = np.union1d(places, words).astype(np.int64)
    column = columns_of(places)
    sums = np.zeros((learned.count, len(places)), np.float32)
    for encoded, shares in zip(texts.encoded, learned.groups(texts.targets), strict=True):
        met = np.unique(column[encoded[1:]])
        met = met[met >= 0]
        for group in np.flatnonzero(shares):
            sums[group, met] += shares[group]
    total = counts[places].astype(np.float32)
    ratios = learned.ratios(sums, total)
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


def rounded(values: Array, steps: int) -> Array:
    """Each row in whole multiples of its largest number divided by `steps`."""
    unit = np.abs(values).max(1, keepdims=True) / steps
    unit = np.where(unit > 0, unit, 1)
    return (np.rint(values / unit) * unit).astype(np.float32)


def scaled(grams: Grams, factor: float) -> Grams:
    """The same with all scores multiplied."""
    weights, bias = (np.asarray(one * factor, np.float32) for one in (grams.weights, grams.bias))
    return replace(grams, weights=weights, bias=bias)
