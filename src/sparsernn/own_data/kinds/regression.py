"""Texts and series with a number each."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import torch

from sparsernn.experiments.simple_features import features
from sparsernn.own_data.kinds import series, text
from sparsernn.own_data.kinds.kind import File, Kind, targets_of
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.own_data.text_targets import Learned, Numbers
from sparsernn.own_data.verdict import Answers
from sparsernn.training.settings import Settings

STRENGTHS = (0.1, 1.0, 10.0, 100.0)


class Regression(Kind):
    """Ridge regression, and a network with one output."""

    def baselines(self, file: File) -> list[Scored]:
        train, test = (file.preparation.unscaled(targets_of(split)) for split in (file.loaded.train, file.loaded.test))
        return [Scored("majority", "the mean", np.full(len(test), train.mean())), ridge(file, self.about)]

    def answers(self, file: File) -> Answers:
        return Answers("rmse", file.preparation.unscaled(targets_of(file.loaded.test)))

    def outputs(self, file: File, batches: list[torch.Tensor]) -> np.ndarray:
        return file.preparation.unscaled(torch.cat(batches).squeeze(-1).double().numpy())


class OfSeries(Regression):
    """Ridge regression on simple features, and the network that suits labelled series."""

    about, choice = "ridge regression on simple features", series.KIND.choice

    def settings(self, file: File, epochs: int) -> Settings:
        return series.lasting(file, self.choice.steps, epochs, keep="best")


class OfTexts(Regression, text.Text):
    """Ridge regression on TF-IDF, and what suits labelled texts: a linear part and a network of few words."""

    about = "TF-IDF and ridge regression"
    linear = "a pruned linear regression on n-grams"

    def learned(self, file: File) -> Learned:
        return Numbers()

    def learned_targets(self, file: File, targets: Sequence[float]) -> np.ndarray:
        mean, deviation = file.preparation.label_scale
        return (np.array(targets, np.float64) - mean) / deviation

    def of_scores(self, file: File, scores: np.ndarray) -> np.ndarray:
        return file.preparation.unscaled(scores[:, 0].astype(np.float64))


def ridge(file: File, about: str) -> Scored:
    """Ridge regression (scikit-learn) on TF-IDF of words and word pairs or on features of a series; its strength is
    chosen on the validation rows."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if file.loaded.tokens:
        names = ("train", "valid", "test")
        train, valid, test = text.texts_of(file, [file.parts[name] for name in names])
        first = text.vectorizer(train[0])
    else:
        pieces = (file.loaded.train, file.loaded.valid, file.loaded.test)
        train, valid, test = ((rows, file.preparation.unscaled(targets)) for rows, targets in map(features, pieces))
        first = StandardScaler()
    matrix = first.fit_transform(train[0])
    read = first.transform(valid[0])
    fitted = [Ridge(strength).fit(matrix, train[1]) for strength in STRENGTHS]
    errors = [float(np.square(one.predict(read) - valid[1]).mean()) for one in fitted]
    best = make_pipeline(first, fitted[int(np.argmin(errors))])
    outputs = best.predict(test[0])
    us = microseconds(lambda: best.predict(test[0][:1]))
    return Scored("baseline", about, outputs, len(pickle.dumps(best)), us, float(np.sqrt(min(errors))))


TEXTS, SERIES = OfTexts(), OfSeries()
