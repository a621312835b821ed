"""What a network has to beat: well-known methods without a network, on the same splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sparsernn.data.splits import SequenceSplit, WindowSplit
from sparsernn.data.task import Loaded, Split
from sparsernn.errors import UserError
from sparsernn.experiments import simple_features
from sparsernn.experiments.naive import naive
from sparsernn.experiments.ridge import windows_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

STRENGTHS = (1.0, 4.0, 16.0)
HASH_BITS = 20
MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: neighbouring ids fall far apart
MOST_STEPS = 200_000
PERIODS = (1, 7, 12, 24, 48, 96, 168)


def seasonal_naive(loaded: Loaded) -> tuple[str, dict[str, float]]:
    """Repeat the last value, or the values of one period ago: the period that is best on the validation split."""
    valid, test = map(windows_of, (loaded.valid, loaded.test))
    periods = [period for period in PERIODS if period <= valid.window]
    best = min(periods, key=lambda period: _naive(valid, period)["mse"])
    return ("last_value" if best == 1 else f"seasonal_naive_{best}"), _naive(test, best)


def _naive(split: WindowSplit, period: int) -> dict[str, float]:
    difference = naive(split, period) - np.concatenate([batch.targets.numpy() for batch in split.batches(1024)])
    return {"mse": float(np.square(difference).mean()), "mae": float(np.abs(difference).mean())}


def unigram(loaded: Loaded) -> dict[str, float]:
    """Every token by its frequency in the training text, add-one smoothed."""
    counts = np.ones(loaded.outputs)
    for batch in loaded.train.batches(20):
        counts += np.bincount(batch.targets.flatten().numpy(), minlength=loaded.outputs)
    surprise = -np.log(counts / counts.sum())
    tokens = np.concatenate([batch.targets.flatten().numpy() for batch in loaded.test.batches(1)])
    loss = float(surprise[tokens].mean())
    bits = "bits_per_character" if loaded.metric == "bits_per_character" else "bits_per_token"
    return {"loss": loss, "perplexity": float(np.exp(loss)), bits: loss / float(np.log(2))}


def features(loaded: Loaded) -> dict[str, float]:
    """Logistic regression: on each step's own values, or on mean, deviation, least, most and last of a series."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = (simple_features.features(split) for split in (loaded.train, loaded.test))
    keep = slice(None, None, -(-len(train[1]) // MOST_STEPS))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(train[0][keep], train[1][keep])
    return {"accuracy": float(model.score(*test))}


def bag_of_words(loaded: Loaded) -> dict[str, float]:
    """Counts of the words that the network reads, scaled to length 1, and logistic regression, tuned on validation."""
    from sklearn.feature_extraction.text import TfidfTransformer

    return _scored(loaded, longest=1, weigh=TfidfTransformer(use_idf=False))


def tfidf(loaded: Loaded, top: int | None = None) -> dict[str, float]:
    """TF-IDF of the words and word pairs that the network reads, and logistic regression, tuned likewise.

    Arguments:
        top: so many inputs, those of the largest weights, are kept and fitted anew; None keeps all.
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    return _scored(loaded, longest=2, weigh=TfidfTransformer(sublinear_tf=True), top=top)


def _scored(loaded: Loaded, longest: int, weigh: TfidfTransformer, top: int | None = None) -> dict[str, float]:
    from scipy.sparse import csr_matrix

    splits = (loaded.train, loaded.valid, loaded.test)
    counted = [counts(split, longest, loaded.inputs) for split in splits]
    seen = np.unique(counted[0].indices)
    weigh.fit(counted[0][:, seen])
    counted = [csr_matrix(weigh.transform(matrix[:, seen])) for matrix in counted]
    texts = [_texts(split) for split in splits]
    labels = [split.targets if split.rows is None else split.targets[split.rows] for split in texts]
    best = _tuned(counted, labels)
    if top is not None:
        largest = np.argsort(-np.abs(best.coef_).max(0))[:top]
        counted = [csr_matrix(matrix[:, np.sort(largest)]) for matrix in counted]
        best = _tuned(counted, labels)
    return {
        "accuracy": float(best.score(counted[2], labels[2])),
        "valid_accuracy": float(best.score(counted[1], labels[1])),
        "weights_kept": int(np.count_nonzero(best.coef_) + np.size(best.intercept_)),
    }


def _tuned(counted: Sequence[csr_matrix], labels: Sequence[np.ndarray]) -> LogisticRegression:
    """The regression of the strength that is best on validation. Shapes: matrices and labels of train, valid, .."""
    from sklearn.linear_model import LogisticRegression

    models = [LogisticRegression(C=strength, max_iter=300).fit(counted[0], labels[0]) for strength in STRENGTHS]
    return max(models, key=lambda model: model.score(counted[1], labels[1]))


def counts(split: Split, longest: int, vocabulary: int) -> csr_matrix:
    """How often every run of 1 to `longest` words occurs in every text; runs of several words share hashed columns.

    Shapes: -> [texts vocabulary + 2^HASH_BITS], or [texts vocabulary] for single words.
    Raises: UserError if the examples are not texts of one label each.
    """
    from scipy.sparse import csr_matrix

    split = _texts(split)
    numbers = np.arange(len(split)) if split.rows is None else split.rows
    words = np.concatenate([split.values[split.offsets[row] : split.offsets[row + 1]] for row in numbers])
    texts = np.repeat(np.arange(len(split)), split.lengths)
    rows, columns, codes = [texts], [words.astype(np.int64)], words.astype(np.uint64)
    for length in range(2, longest + 1):
        with np.errstate(over="ignore"):
            codes = (codes[:-1] * np.uint64(MULTIPLIER)) ^ words[length - 1 :].astype(np.uint64)
            places = (codes * np.uint64(MULTIPLIER)) >> np.uint64(64 - HASH_BITS)
        inside = texts[: len(codes)] == texts[length - 1 :]
        rows.append(texts[: len(codes)][inside])
        columns.append(vocabulary + places[inside].astype(np.int64))
    shape = (len(split), vocabulary + ((1 << HASH_BITS) if longest > 1 else 0))
    place = (np.concatenate(rows), np.concatenate(columns))
    return csr_matrix((np.ones(len(place[0])), place), shape=shape)


def _texts(split: Split) -> SequenceSplit:
    if not isinstance(split, SequenceSplit) or split.per_step or split.values.ndim != 1:
        raise UserError("a bag of words of something else than labelled texts", "a task of texts", "Leave out this row")
    return split


BASELINES: dict[str, Callable[[Loaded], dict[str, float]]] = {
    "bag_of_words": bag_of_words,
    "tfidf": tfidf,
    **{f"tfidf_top_{top}": partial(tfidf, top=top) for top in (100, 300, 1_000, 3_000)},
    "features": features,
    "seasonal_naive": lambda loaded: seasonal_naive(loaded)[1],
    "unigram": unigram,
}
"""Baselines that a row of a recipe can name: from the data to figures on the test split."""
