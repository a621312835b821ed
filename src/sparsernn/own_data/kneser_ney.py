"""The n-gram model that a language model has to beat: interpolated, modified Kneser-Ney smoothing, in numpy alone."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from sparsernn import durable
from sparsernn.errors import UserError
from sparsernn.reading import MOST_UNPACKED, Damaged, arrays, readable

LONGEST = 12
"""The longest n-grams that are tried."""
FALLBACK = (0.0, 0.5, 1.0, 1.5)
"""Discounts of what was counted so often, the last of all larger counts, where a text does not tell them."""
SMALLEST = 0.1
"""Discount, so that tokens which the text lacks keep a probability."""
WORTH = 1e-3
"""By how much, in nats a token, longer n-grams must make the other text more likely."""
PATIENCE = 2
"""Lengths in a row that may fail to do so."""


WHOLE = ("|u1", "<u2", "<u4", "<u8", "<i8")
"""What numpy calls the types of the arrays in a file."""


class Grams(NamedTuple):
    """The n-grams of one length, ordered by their contexts and then their last tokens.

    Arguments:
        keys: the number of the context, among the n-grams that are a token shorter, times the size of the vocabulary,
            plus the last token. [gram]
        counts: how often each occurs. [gram]
        suffixes: the number of what is left without the first token. [gram]
    """

    keys: np.ndarray
    counts: np.ndarray
    suffixes: np.ndarray


def grams_of(tokens: np.ndarray, vocabulary: int) -> Iterator[Grams]:
    """The n-grams of a text: of one token, two, and so on, up to `LONGEST`. Shapes: [token]"""
    tokens = np.asarray(tokens, np.int64)
    numbers = np.zeros(len(tokens) + 1, np.int64)  # of the n-gram before each token, at first of none
    for length in range(min(LONGEST, len(tokens))):
        keys, places, counts = np.unique(
            numbers[:-1] * vocabulary + tokens[length:], return_inverse=True, return_counts=True
        )
        suffixes = np.empty(len(keys), np.int64)
        suffixes[places] = numbers[1:]
        yield Grams(keys, counts, suffixes)
        numbers = places


class Level:
    """What the n-grams of one length say of the next token.

    Arguments:
        keys: as in `Grams`. [gram]
        counts: occurrences at the greatest length, below it how many different tokens come before. [gram]
        contexts: how many n-grams there are that are a token shorter.
    Attributes:
        shares: the discounted count of each, divided by the count of its context. [gram]
        left: the share of each context that its shorter one distributes. [context]
    """

    def __init__(self, keys: np.ndarray, counts: np.ndarray, contexts: int, vocabulary: int):
        self.keys, self.counts = keys, counts
        discounts, owners = discounts_of(counts)[np.minimum(counts, len(FALLBACK) - 1)], keys // vocabulary
        totals = np.bincount(owners, counts, contexts)
        divisors = np.maximum(totals, 1)
        self.shares = (counts - discounts) / divisors[owners]
        self.left = np.where(totals > 0, np.bincount(owners, discounts, contexts) / divisors, 1.0)


class KneserNey:
    """Probabilities of the next token from the few before it: interpolated, modified Kneser-Ney smoothing.

    p(w | h) = (c(h w) - D) / c(h) + left(h) p(w | h without its first token): at the greatest length c counts
    occurrences, below it how many different tokens come before; each length has one D for counts of 1, one for 2 and
    one for more. What a single token leaves is divided among the vocabulary.

    Arguments:
        vocabulary: number of tokens; levels: of n-grams of 1, 2, ... tokens.
    Source: Kneser & Ney 1995; Chen & Goodman 1999, section 3.
    Deviations: the text is one sequence, so that n-grams reach over the ends of sentences; where a text is too short or
        too regular to tell a discount, it is 0.5 for each count up to 3.
    """

    def __init__(self, vocabulary: int, levels: Sequence[Level]):
        self.vocabulary, self.levels = vocabulary, levels

    @property
    def order(self) -> int:
        """Tokens of the longest n-grams."""
        return len(self.levels)

    @classmethod
    def learn(cls, train: np.ndarray, valid: np.ndarray, vocabulary: int) -> Self:
        """The model of a text, with n-grams as long as makes another text more likely.

        Shapes: train, valid [token], numbers below `vocabulary`.
        Raises: UserError for texts without two tokens.
        """
        if min(len(train), len(valid)) < 2:
            raise UserError(f"the texts have {len(train)} and {len(valid)} tokens", "two at least", "give longer ones")
        grams: list[Grams] = []
        best, least, failed = cls(vocabulary, ()), math.log(vocabulary), 0
        for longer in grams_of(train, vocabulary):
            grams.append(longer)
            model = cls.of_grams(grams, vocabulary)
            loss = -float(model.log_probabilities(valid).mean())
            if loss < least - WORTH:
                best, least, failed = model, loss, 0
            else:
                failed += 1
            if failed == PATIENCE:
                break
        return best

    @classmethod
    def of_grams(cls, grams: Sequence[Grams], vocabulary: int) -> Self:
        """The model of n-grams of 1, 2, ... tokens."""
        below = [np.bincount(longer.suffixes, minlength=len(one.keys)) for one, longer in pairwise(grams)]
        return cls._of_counts([one.keys for one in grams], [*below, grams[-1].counts], vocabulary)

    @classmethod
    def _of_counts(cls, keys: Sequence[np.ndarray], counts: Sequence[np.ndarray], vocabulary: int) -> Self:
        contexts = (1, *map(len, keys))
        return cls(vocabulary, [Level(*one, vocabulary) for one in zip(keys, counts, contexts, strict=False)])

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Natural logarithms for each token but the first. Shapes: [token] -> [token - 1]"""
        tokens = np.asarray(tokens, np.int64)
        probabilities = np.full(len(tokens), 1 / self.vocabulary)
        contexts = np.zeros(len(tokens), np.int64)
        for level in self.levels:
            keys = contexts * self.vocabulary + tokens
            places = np.searchsorted(level.keys, keys)
            met = (contexts >= 0) & (level.keys[np.minimum(places, len(level.keys) - 1)] == keys)
            shares = np.where(met, level.shares[np.where(met, places, 0)], 0.0)
            probabilities = np.where(contexts >= 0, shares + level.left[contexts] * probabilities, probabilities)
            contexts = np.concatenate([[-1], np.where(met, places, -1)[:-1]])
        return np.log(probabilities[1:])

    def save(self, path: Path | str) -> None:
        """Write the model as one file."""
        durable.replace(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """The content of its file: the counts, from which all else follows."""
        arrays = {"vocabulary": np.array(self.vocabulary), "order": np.array(self.order)}
        contexts = 1
        for number, level in enumerate(self.levels):
            owners, tokens = np.divmod(level.keys, self.vocabulary)
            arrays[f"tokens{number}"] = _narrow(tokens)
            arrays[f"children{number}"] = _narrow(np.bincount(owners, minlength=contexts))
            arrays[f"counts{number}"] = _narrow(level.counts)
            contexts = len(tokens)
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
        return file.getvalue()

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The model that `save` wrote. Raises: UserError for another file."""
        with readable(path, expected="an n-gram model", do="train again"):
            stored = arrays(path, WHOLE, unpacked=MOST_UNPACKED)
            vocabulary, contexts, keys, counts = int(stored["vocabulary"]), 1, [], []
            for number in range(int(stored["order"])):
                tokens, children, counted = (stored[f"{name}{number}"] for name in ("tokens", "children", "counts"))
                fits = len(children) == contexts and children.sum() == len(tokens) == len(counted)
                if not fits or not tokens.max(initial=0) < vocabulary:
                    raise Damaged("its n-grams are not those of their contexts")
                contexts = len(tokens)
                keys.append(np.repeat(np.arange(len(children)), children) * vocabulary + tokens.astype(np.int64))
                counts.append(counted.astype(np.int64))
            return cls._of_counts(keys, counts, vocabulary)


def discounts_of(counts: np.ndarray) -> np.ndarray:
    """What is taken from counts of 0, 1, 2 and more (Chen & Goodman 1999, equation 26). Shapes: [gram] -> [4]"""
    largest = len(FALLBACK) - 1
    so_often = np.bincount(np.minimum(counts, largest + 2), minlength=largest + 3).astype(float)
    discounts = np.array(FALLBACK)
    once, twice = so_often[1:3]
    for count in range(1, largest + 1):
        if once and so_often[count]:
            told = count - (count + 1) * once / (once + 2 * twice) * so_often[count + 1] / so_often[count]
            discounts[count] = min(max(told, SMALLEST), count)
    return discounts


def _narrow(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers in the narrowest type that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
