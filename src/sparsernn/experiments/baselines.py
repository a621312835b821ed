"""What a network has to beat: well-known methods without a network, on the same splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sparsernn.data.splits import WindowSplit
from sparsernn.data.table_file import TableFile
from sparsernn.data.table_rows import read_rows
from sparsernn.data.task import IGNORED, Loaded, Split
from sparsernn.recipes import bag_of_words

MOST_TEXTS = 100_000
MOST_STEPS = 200_000
STRENGTHS = (1.0, 4.0, 16.0)
BASELINES = {
    "text": "TF-IDF and logistic regression",
    "series": "logistic regression on simple features",
    "wide": "logistic regression on simple features",
    "forecast": "the last value, or the values a period ago",
    "language_model": "frequencies of words",
}
PERIODS = (1, 7, 12, 24, 48, 96, 168)


def baseline(task: TableFile, loaded: Loaded, parts: dict[str, np.ndarray]) -> tuple[str, dict[str, float]]:
    """The baseline that belongs to the kind of file: its name and its figures on the test split.

    Arguments:
        parts: row numbers of "train" and "test" in the file, for texts.
    """
    if task.kind == "text":
        return "tfidf_logistic_regression", tfidf(task, parts)
    if task.kind == "forecast":
        return seasonal_naive(loaded)
    if task.kind == "language_model":
        return "unigram", unigram(loaded)
    return "features_logistic_regression", features(loaded)


def tfidf(task: TableFile, parts: dict[str, np.ndarray]) -> dict[str, float]:
    """TF-IDF of words and word pairs with logistic regression (scikit-learn) on whole texts, tuned on validation."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    counts = HashingVectorizer(ngram_range=(1, 2), n_features=2**20, alternate_sign=False, norm=None)
    weigh = TfidfTransformer(sublinear_tf=True)
    chosen = {name: parts[name][:: -(-len(parts[name]) // MOST_TEXTS)] for name in ("train", "valid")}
    (train, labels), (valid, held), (test, scored) = _texts_of(task, [*chosen.values(), parts["test"]])
    seen = weigh.fit_transform(counts.transform(train))
    met = np.unique(seen.indices)  # a column that no training text has would keep the weight 0
    models = [LogisticRegression(C=strength, max_iter=300).fit(seen[:, met], labels) for strength in STRENGTHS]

    def accuracy(model: LogisticRegression, texts: list[str], known: list[str]) -> float:
        return float(model.score(weigh.transform(counts.transform(texts))[:, met], known))

    best = max(models, key=lambda model: accuracy(model, valid, held))
    return {"accuracy": accuracy(best, test, scored)}


def _texts_of(task: TableFile, parts: list[np.ndarray]) -> list[tuple[list[str], list[str]]]:
    """Texts and labels of each part, in one pass over the file."""
    part_of_row = np.full(1 + max(int(rows.max()) for rows in parts), -1, np.int8)
    for number, rows in enumerate(parts):
        part_of_row[rows] = number
    found: list[tuple[list[str], list[str]]] = [([], []) for _ in parts]
    for number, (text, label) in zip(part_of_row, _pairs(task), strict=False):
        if number >= 0:
            found[number][0].append(text)
            found[number][1].append(label)
    return found


def _pairs(task: TableFile) -> Iterator[tuple[str, str]]:
    for rows in read_rows(task.path, [task.text, task.label]):
        yield from zip(rows.texts(task.text), rows.labels(task.label), strict=True)


def seasonal_naive(loaded: Loaded) -> tuple[str, dict[str, float]]:
    """Repeat the last value, or the values of one period ago: the period that is best on the validation split."""
    assert_window(loaded.valid)
    periods = [period for period in PERIODS if period <= loaded.valid.window]
    best = min(periods, key=lambda period: _naive(loaded.valid, period)["mse"])
    return ("last_value" if best == 1 else f"seasonal_naive_{best}"), _naive(loaded.test, best)


def assert_window(split: Split) -> None:
    if not isinstance(split, WindowSplit):
        raise TypeError(f"{type(split).__name__} is no split of windows")


def _naive(split: Any, period: int) -> dict[str, float]:
    squared = absolute = count = 0.0
    for batch in split.batches(1024):
        past = batch.inputs[:, -period:, split.target]
        steps = np.arange(batch.targets.shape[1]) % period
        difference = past[:, steps] - batch.targets
        squared += float(difference.square().sum())
        absolute += float(difference.abs().sum())
        count += difference.numel()
    return {"mse": squared / count, "mae": absolute / count}


def unigram(loaded: Loaded) -> dict[str, float]:
    """Every token by its frequency in the training text, add-one smoothed."""
    counts = np.ones(loaded.outputs)
    for batch in loaded.train.batches(20):
        counts += np.bincount(batch.targets.flatten().numpy(), minlength=loaded.outputs)
    surprise = -np.log(counts / counts.sum())
    tokens = np.concatenate([batch.targets.flatten().numpy() for batch in loaded.test.batches(1)])
    loss = float(surprise[tokens].mean())
    return {"loss": loss, "perplexity": float(np.exp(loss)), "bits_per_character": loss / float(np.log(2))}


def features(loaded: Loaded) -> dict[str, float]:
    """Logistic regression: on each step's own values, or on mean, deviation, least, most and last of a series."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = (_features(split) for split in (loaded.train, loaded.test))
    keep = slice(None, None, -(-len(train[1]) // MOST_STEPS))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(train[0][keep], train[1][keep])
    return {"accuracy": float(model.score(*test))}


def _features(split: Split) -> tuple[np.ndarray, np.ndarray]:
    rows, targets = [], []
    for batch in split.batches(256):
        lengths = [batch.inputs.shape[1]] * len(batch.inputs) if batch.lengths is None else batch.lengths.tolist()
        for series, target, length in zip(batch.inputs.numpy(), batch.targets.numpy(), lengths, strict=True):
            own = series[:length]
            if np.ndim(target):
                scored = target[:length] != IGNORED
                rows.append(own[scored])
                targets.append(target[:length][scored])
            else:
                summary = [own.mean(0), own.std(0), own.min(0), own.max(0), own[-1]]
                rows.append(np.concatenate(summary)[None])
                targets.append(np.array([target]))
    return np.concatenate(rows), np.concatenate(targets)


KNOWN: dict[str, Callable[[Loaded], dict[str, float]]] = {
    "bag_of_words": bag_of_words.bag_of_words,
    "tfidf": bag_of_words.tfidf,
    "features": features,
    "seasonal_naive": lambda loaded: seasonal_naive(loaded)[1],
    "unigram": unigram,
}
"""Baselines that a row of a recipe can name: from the data to figures on the test split."""
