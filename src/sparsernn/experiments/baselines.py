"""What a network has to beat: well-known methods without a network, on the same splits."""

from collections.abc import Callable
from functools import partial

import numpy as np

from sparsernn.data.splits import WindowSplit
from sparsernn.data.task import Loaded
from sparsernn.experiments import bag_of_words, simple_features
from sparsernn.experiments.naive import naive
from sparsernn.experiments.ridge import windows_of

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


BASELINES: dict[str, Callable[[Loaded], dict[str, float]]] = {
    "bag_of_words": bag_of_words.bag_of_words,
    "tfidf": bag_of_words.tfidf,
    **{f"tfidf_top_{top}": partial(bag_of_words.tfidf, top=top) for top in (100, 300, 1_000, 3_000)},
    "features": features,
    "seasonal_naive": lambda loaded: seasonal_naive(loaded)[1],
    "unigram": unigram,
}
"""Baselines that a row of a recipe can name: from the data to figures on the test split."""
