"""Simple features of series, and logistic regression on them."""

import pickle

import numpy as np

from sparsernn.data.task import IGNORED, Loaded, Split
from sparsernn.own_data.scored import Scored, microseconds

MOST_STEPS = 200_000


def logistic_regression(loaded: Loaded, about: str) -> Scored:
    """On each step's own values, or on mean, deviation, least, most and last of a series (scikit-learn)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (rows, targets), (valid, right), (test, _) = map(features, (loaded.train, loaded.valid, loaded.test))
    keep = slice(None, None, -(-len(targets) // MOST_STEPS))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(rows[keep], targets[keep])
    outputs = np.zeros((len(test), loaded.outputs))
    outputs[:, model.classes_] = model.predict_proba(test)
    size, us = len(pickle.dumps(model)), microseconds(lambda: model.predict_proba(test[:1]))
    return Scored("baseline", about, outputs, size, us, float(model.score(valid, right)))


def features(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of a split: a row a series, or a step where each has a target."""
    rows, targets = [], []
    for batch in split.batches(256):
        lengths = [batch.inputs.shape[1]] * len(batch.inputs) if batch.lengths is None else batch.lengths.tolist()
        for series, target, length in zip(batch.inputs.numpy(), batch.targets.numpy(), lengths, strict=True):
            steps = series[:length]
            if np.ndim(target):
                scored = target[:length] != IGNORED
                rows.append(steps[scored])
                targets.append(target[:length][scored])
            else:
                summary = [steps.mean(0), steps.std(0), steps.min(0), steps.max(0), steps[-1]]
                rows.append(np.concatenate(summary)[None])
                targets.append(np.array([target]))
    return np.concatenate(rows), np.concatenate(targets)
