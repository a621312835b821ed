"""Near-duplicates: texts that are the same but for case, marks, addresses and a few words."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Self

import numpy as np

RUN = 3
"""Words in a shingle."""
ALIKE = 0.7
"""Shingles that two near-duplicates share, of all that either has (Jaccard)."""
TEXTS_AT_ONCE = 4096
_LEFT_OUT = re.compile(r"https?://\S+|www\.\S+|@\w+|\brt\b|<[^>]*>")
_WORDS = re.compile(r"[^\W_]+").findall
_FACTOR = 0x9E3779B97F4A7C15


def normalised(text: str) -> list[str]:
    """The words of a text in lower case, without marks, tags, addresses, names of users and the mark of a retweet."""
    return _WORDS(_LEFT_OUT.sub(" ", text.lower()))


@dataclass(frozen=True)
class Shingles:
    """Texts as sets of runs of three words; a shorter text is one run, and one without words is like no other.

    Arguments:
        ranks: [shingles] all sets one after the other, each ascending; a shingle of fewer texts has a lower rank.
        offsets: [texts + 1] where each set begins.
    """

    ranks: np.ndarray = field(repr=False)
    offsets: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """The sets of some texts, which are read once."""
        words, lengths = _numbered(texts)
        text, codes = _runs(words, lengths)
        order = np.argsort(codes, kind="stable")
        text, codes = text[order], codes[order]
        new = np.concatenate([[True], codes[1:] != codes[:-1]])[: len(codes)]
        once = new | np.concatenate([[True], text[1:] != text[:-1]])[: len(codes)]  # each shingle of a text once
        text, numbers = text[once], (np.cumsum(new) - 1)[once]
        frequencies = np.bincount(numbers)
        rank = np.empty(len(frequencies), np.int64)
        rank[np.argsort(frequencies, kind="stable")] = np.arange(len(frequencies))
        ranks = np.sort(text * len(frequencies) + rank[numbers]) % max(len(frequencies), 1)
        counts = np.bincount(text, minlength=len(lengths))
        return cls(ranks, np.concatenate([[0], np.cumsum(counts)]))

    def alike(self, rows: np.ndarray, others: np.ndarray, least: float = ALIKE) -> np.ndarray:
        """Which of the rows are near-duplicates of one of the others, [rows].

        Two sets that share so much share one of their rarest shingles, so only texts that do are compared; the answer
        is exact.

        Source: Chaudhuri, Ganti, Kaushik 2006, A Primitive Operator for Similarity Joins (the prefix filter).
        """
        places, keys = self._rarest(others, least)
        order = np.argsort(keys, kind="stable")
        places, keys = others[places[order]], keys[order]
        shingles = cache(lambda text: frozenset(self.ranks[self.offsets[text] : self.offsets[text + 1]].tolist()))
        answers = np.zeros(len(rows), bool)
        for start in range(0, len(rows), TEXTS_AT_ONCE):
            mine, rare = self._rarest(rows[start : start + TEXTS_AT_ONCE], least)
            for row, other in _pairs(start + mine, rare, places, keys):
                if not answers[row]:
                    one, two = shingles(int(rows[row])), shingles(int(other))
                    shared = len(one & two)
                    answers[row] = shared >= least * (len(one) + len(two) - shared)
        return answers

    def _rarest(self, texts: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
        """The rarest shingles of some texts: places in `texts`, and ranks."""
        sizes = self.offsets[texts + 1] - self.offsets[texts]
        counts = np.where(sizes, sizes - np.ceil(least * sizes).astype(int) + 1, 0)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.arange(len(texts)), counts), self.ranks[np.repeat(self.offsets[texts], counts) + within]


def _numbered(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all words one after the other, and how many each text has; short texts are filled up with 0."""
    numbers: dict[str, int] = {}
    words: list[np.ndarray] = []
    lengths: list[int] = []
    for text in texts:
        ids = [numbers.setdefault(word, len(numbers) + 1) for word in normalised(text)]
        ids += [0] * (RUN - len(ids)) if ids else []
        words.append(np.array(ids, np.int64))
        lengths.append(len(ids))
    return np.concatenate([np.zeros(0, np.int64), *words]), np.array(lengths, np.int64)


def _runs(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every run of words within a text: the text's number, and a code that equal runs share."""
    codes = words.astype(np.uint64)
    with np.errstate(over="ignore"):
        for ahead in range(1, RUN):
            codes *= np.uint64(_FACTOR)
            codes[:-ahead] += words[ahead:].astype(np.uint64) + np.uint64(1)
    whole = np.arange(len(words)) <= np.repeat(np.cumsum(lengths), lengths) - RUN
    return np.repeat(np.arange(len(lengths)), lengths)[whole], codes[whole]


def _pairs(rows: np.ndarray, ranks: np.ndarray, others: np.ndarray, keys: np.ndarray) -> Iterator[tuple[int, int]]:
    """Every row with every other text that has the same rank among its keys, which ascend; each pair once."""
    first, last = np.searchsorted(keys, ranks, "left"), np.searchsorted(keys, ranks, "right")
    counts = last - first
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    met = np.stack([np.repeat(rows, counts), others[np.repeat(first, counts) + within]], 1)
    yield from map(tuple, np.unique(met, axis=0).tolist())


def kept_apart(shingles: Shingles, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parts of a split without near-duplicates between them; the test rows stay, so that figures are comparable.

    Validation rows that are like a test row go, then training rows that are like one of either.
    """
    train, valid, test = parts["train"], parts["valid"], parts["test"]
    valid = valid[~shingles.alike(valid, test)]
    train = train[~shingles.alike(train, np.concatenate([valid, test]))]
    return {"train": train, "valid": valid, "test": test}
