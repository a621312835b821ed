"""Texts with a label."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np

from sparsernn.data.table_file import TableFile
from sparsernn.data.table_rows import read_rows
from sparsernn.experiments.rows import Source
from sparsernn.experiments.sources.latent_vectors import LatentVectors
from sparsernn.own_data.kinds.kind import Choice, File, Kind, majority, targets_of
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.own_data.verdict import Answers

MOST_TEXTS = 100_000
STRENGTHS = (1.0, 4.0, 16.0)


class Text(Kind):
    """TF-IDF with logistic regression, and a network that reads both ways."""

    about = "TF-IDF and logistic regression"
    choice = Choice("classifier", 64, 8, 1800, {"inputs": 128, "bidirectional": True, "pool": "max", "dropout": 0.5})

    def sources(self, file: File) -> tuple[Source, ...]:
        return (LatentVectors(),)

    def baselines(self, file: File) -> list[Scored]:
        return [majority(file), tfidf(file, self.about)]

    def answers(self, file: File) -> Answers:
        return Answers("accuracy", targets_of(file.loaded.test), file.loaded.labels)


def tfidf(file: File, about: str) -> Scored:
    """TF-IDF of words and word pairs with logistic regression (scikit-learn) on whole texts, tuned on validation."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    parts = file.parts
    rows = [parts[name][:: -(-len(parts[name]) // MOST_TEXTS)] for name in ("train", "valid")]
    train, valid, test = texts_of(file.task, [*rows, parts["test"]])
    numbers = {label: number for number, label in enumerate(file.loaded.labels)}
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    matrix, read = vectors.fit_transform(train[0]), vectors.transform(valid[0])
    right = [numbers[label] for label in valid[1]]
    models = [
        LogisticRegression(C=strength, max_iter=300).fit(matrix, [numbers[label] for label in train[1]])
        for strength in STRENGTHS
    ]
    best = max(models, key=lambda model: model.score(read, right))
    model = make_pipeline(vectors, best)
    outputs = np.zeros((len(test[0]), file.loaded.outputs))
    outputs[:, best.classes_] = model.predict_proba(test[0])
    us = microseconds(lambda: model.predict_proba(test[0][:1]))
    return Scored("baseline", about, outputs, len(pickle.dumps(model)), us, float(best.score(read, right)))


def texts_of(task: TableFile, parts: list[np.ndarray]) -> list[tuple[list[str], list[str]]]:
    """Texts and labels of each part, in its order, in one pass over the file."""
    part_of_row = np.full(1 + max(int(rows.max()) for rows in parts), -1, np.int8)
    for number, rows in enumerate(parts):
        part_of_row[rows] = number
    read: list[tuple[list[str], list[str]]] = [([], []) for _ in parts]
    for number, (text, label) in zip(part_of_row, pairs(task), strict=False):
        if number >= 0:
            read[number][0].append(text)
            read[number][1].append(label)
    places = [np.argsort(np.argsort(rows)) for rows in parts]
    return [
        ([texts[place] for place in order], [labels[place] for place in order])
        for (texts, labels), order in zip(read, places, strict=True)
    ]


def pairs(task: TableFile) -> Iterator[tuple[str, str]]:
    """Text and label of every row."""
    for rows in read_rows(task.path, [task.text, task.label]):
        yield from zip(rows.texts(task.text), rows.labels(task.label), strict=True)


KIND = Text()
