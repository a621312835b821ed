"""What the networks for a user's file have to beat."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sparsernn.data.table_file import TableFile
from sparsernn.data.table_rows import read_rows
from sparsernn.data.task import Loaded
from sparsernn.experiments.baselines import features, seasonal_naive, unigram

MOST_TEXTS = 100_000
STRENGTHS = (1.0, 4.0, 16.0)
DESCRIPTIONS = {
    "text": "TF-IDF and logistic regression",
    "series": "logistic regression on simple features",
    "wide": "logistic regression on simple features",
    "forecast": "the last value, or the values a period ago",
    "language_model": "frequencies of words",
}


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
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    counts = HashingVectorizer(
        ngram_range=(1, 2),
        n_features=2**20,
        alternate_sign=False,
        norm=None,  # pyright: ignore[reportArgumentType]
    )
    weigh = TfidfTransformer(sublinear_tf=True)
    rows = [parts[name][:: -(-len(parts[name]) // MOST_TEXTS)] for name in ("train", "valid")]
    train, valid, test = _texts_of(task, [*rows, parts["test"]])
    matrix = weigh.fit_transform(counts.transform(train.texts))
    met = np.unique(matrix.indices)  # a column that no training text has would keep the weight 0
    models = [LogisticRegression(C=strength, max_iter=300).fit(matrix[:, met], train.labels) for strength in STRENGTHS]

    def accuracy(model: LogisticRegression, part: Part) -> float:
        columns = csr_matrix(weigh.transform(counts.transform(part.texts)))
        return float(model.score(columns[:, met], part.labels))

    best = max(models, key=lambda model: accuracy(model, valid))
    return {"accuracy": accuracy(best, test)}


class Part(NamedTuple):
    """The texts of a split, and their labels."""

    texts: list[str]
    labels: list[str]


def _texts_of(task: TableFile, parts: list[np.ndarray]) -> list[Part]:
    """Texts and labels of each part, in one pass over the file."""
    part_of_row = np.full(1 + max(int(rows.max()) for rows in parts), -1, np.int8)
    for number, rows in enumerate(parts):
        part_of_row[rows] = number
    read = [Part([], []) for _ in parts]
    for number, (text, label) in zip(part_of_row, _pairs(task), strict=False):
        if number >= 0:
            read[number].texts.append(text)
            read[number].labels.append(label)
    return read


def _pairs(task: TableFile) -> Iterator[tuple[str, str]]:
    for rows in read_rows(task.path, [task.text, task.label]):
        yield from zip(rows.texts(task.text), rows.labels(task.label), strict=True)
