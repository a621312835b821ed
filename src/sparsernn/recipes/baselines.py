"""What a network has to beat on a user's own data: well-known methods without a network, on the same splits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from typing import Any

import numpy as np

from sparsernn.data.splits import WindowSplit
from sparsernn.data.table_file import TableFile
from sparsernn.data.table_rows import read_rows
from sparsernn.data.task import IGNORED, Loaded, Split

MOST_TEXTS = 200_000
MOST_STEPS = 200_000
STRENGTHS = (1.0, 4.0, 16.0)
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
    texts, labels = _texts_of(task, parts["train"][:: -(-len(parts["train"]) // MOST_TEXTS)])
    seen = weigh.fit_transform(counts.transform(texts))
    held, scored = ((_texts_of(task, parts[name])) for name in ("valid", "test"))
    held_seen = weigh.transform(counts.transform(held[0]))
    models = [LogisticRegression(C=strength, max_iter=300).fit(seen, labels) for strength in STRENGTHS]
    best = max(models, key=lambda model: model.score(held_seen, held[1]))
    return {"accuracy": float(best.score(weigh.transform(counts.transform(scored[0])), scored[1]))}


def _texts_of(task: TableFile, rows: np.ndarray) -> tuple[list[str], list[str]]:
    wanted = np.zeros(int(rows.max()) + 1, bool)
    wanted[rows] = True
    pairs = list(compress(_pairs(task), wanted))
    return [text for text, _ in pairs], [label for _, label in pairs]


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
