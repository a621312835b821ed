"""Linear models on features of series that nobody trained: simple figures, or random kernels."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparsernn.data.task import Loaded
from sparsernn.experiments.simple_features import features, steps_of, summary
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.runtime.random_kernels import RandomKernels

MOST_STEPS, MOST_SERIES = 50_000, 10_000
KERNEL_FEATURES = 2_016
STRENGTHS = (0.01, 0.1, 1.0)
LEAST_VALIDATED = 100
FOLDS = 5

Array = np.ndarray


def simple(loaded: Loaded) -> Scored:
    """Logistic regression on mean, deviation, least, most and last of a series, or on a step's own values."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models = [make_pipeline(StandardScaler(), LogisticRegression(C=one, max_iter=300)) for one in STRENGTHS]
    step = loaded.objective == "tagging"
    about = "running means and deviations" if step else "simple features"
    parts = [features(split) for split in (loaded.train, loaded.valid, loaded.test)]
    example = parts[2][0][:1] if step else None
    first = steps_of(loaded.test)[0][:1]
    fitted = best(models, parts[:2], MOST_STEPS)
    read: Callable[[], Array] = lambda: example if example is not None else np.stack([summary(one) for one in first])  # noqa: E731
    return scored(f"logistic regression on {about}", fitted, parts[2][0], loaded.outputs, read, fitted.model)


def kernels(loaded: Loaded) -> Scored:
    """A ridge classifier on random-kernel features, its strength by leave-one-out."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (train, labels), (valid, right), (test, _) = map(steps_of, (loaded.train, loaded.valid, loaded.test))
    keep = slice(None, None, -(-len(train) // MOST_SERIES))
    drawn = RandomKernels.drawn(train[keep], KERNEL_FEATURES)
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 4, 10)))
    parts = [(drawn.features(train[keep]), labels[keep]), (drawn.features(valid), right)]
    fitted = best([model], parts, MOST_SERIES)
    about = "a ridge classifier on random-kernel features"
    read: Callable[[], Array] = lambda: drawn.features(test[:1])  # noqa: E731
    return scored(about, fitted, drawn.features(test), loaded.outputs, read, (drawn, fitted.model))


@dataclass(frozen=True)
class Chosen:
    """A model of scikit-learn, fitted, and its accuracy on rows that it was not fitted on."""

    model: Any
    accuracy: float


def best(models: list[Any], parts: list[tuple[Array, Array]], most: int) -> Chosen:
    """The best of some models on the validation rows, or where these are few, by folds of all rows but the test's.

    Arguments:
        parts: features and labels of the training and the validation rows. most: rows that are fitted on.
    """
    from sklearn.model_selection import cross_val_score

    (rows, labels), (valid, right) = parts
    keep = slice(None, None, -(-len(rows) // most))
    accuracies = [0.0] * len(models)
    if len(right) >= LEAST_VALIDATED:
        accuracies = [float(model.fit(rows[keep], labels[keep]).score(valid, right)) for model in models]
    elif min(np.bincount(labels, minlength=2)[np.unique(labels)]) >= 2:
        both, all_labels = np.concatenate([rows, valid]), np.concatenate([labels, right])
        folds = max(2, min(FOLDS, int(np.bincount(all_labels)[np.unique(all_labels)].min())))
        accuracies = [float(cross_val_score(model, both, all_labels, cv=folds).mean()) for model in models]
    place = int(np.argmax(accuracies))
    return Chosen(models[place].fit(rows[keep], labels[keep]), accuracies[place])


def scored(about: str, fitted: Chosen, test: Array, classes: int, read: Callable[[], Array], kept: object) -> Scored:
    """How a model answers for the test rows.

    Arguments:
        read: gives the features of one example alone, for its time. kept: what its file holds.
    """
    model, outputs = fitted.model, np.zeros((len(test), classes))
    outputs[:, model[-1].classes_] = shares(model, test)
    us = microseconds(lambda: shares(model, read()))
    return Scored("baseline", about, outputs, len(pickle.dumps(kept)), us, fitted.accuracy)


def shares(model: Any, rows: Array) -> Array:
    """Probabilities, or what a model without them gives for it: its scores made to add up to one."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(rows)
    scores = model.decision_function(rows)
    scores = np.stack([-scores, scores], 1) if scores.ndim == 1 else scores
    return shares_of(scores)


def shares_of(scores: Array) -> Array:
    """The softmax of scores. Shapes: [row class] -> the same."""
    powers = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
