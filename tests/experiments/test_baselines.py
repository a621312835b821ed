"""Baselines against oracles of a few lines, and deaf to what they must not see."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sparsernn.data.splits import SequenceSplit, TensorSplit, TextSplit, WindowSplit
from sparsernn.data.table_file import TableFile
from sparsernn.data.task import Loaded
from sparsernn.experiments.baselines import STRENGTHS, bag_of_words, features, seasonal_naive, tfidf, unigram
from sparsernn.experiments.sources.latent_vectors import latent_vectors
from sparsernn.own_data.kinds.kind import File
from sparsernn.own_data.kinds.text import KIND, texts_of
from sparsernn.own_data.training import row_numbers

WORDS, LENGTH, PARTS = 30, 8, {"train": 60, "valid": 40, "test": 40}


def texts(seed=0, flipped=False, doubled=(), last=0):
    """Texts of two classes whose words tell them apart badly, so that every strength errs elsewhere.

    Arguments:
        flipped: the test texts have the labels of the other class.
        doubled: parts every text of which occurs twice.
        last: so many test texts of one word, often, are added at the end.
    """
    generator = np.random.default_rng(seed)
    count = sum(PARTS.values())
    labels = generator.integers(0, 2, count)
    odds = np.where(labels[:, None] == 0, 1.0, np.linspace(0.5, 1.6, WORDS - 2))
    tokens = np.stack([generator.choice(np.arange(2, WORDS), LENGTH, p=row / row.sum()) for row in odds])
    tokens = np.concatenate([tokens, np.full((last, LENGTH), 2)])
    labels = np.concatenate([labels, np.zeros(last, int)])
    parts = dict(zip(PARTS, np.split(np.arange(count), np.cumsum([*PARTS.values()])[:-1]), strict=True))
    parts["test"] = np.concatenate([parts["test"], np.arange(count, count + last)])
    if flipped:
        labels[parts["test"]] = 1 - labels[parts["test"]]
    offsets = LENGTH * np.arange(len(labels) + 1)
    splits = [
        SequenceSplit(tokens.ravel(), offsets, labels, rows=np.tile(rows, 2) if name in doubled else rows)
        for name, rows in parts.items()
    ]
    return Loaded.of_classes(splits, ("a", "b"), inputs=WORDS, vocabulary=[str(word) for word in range(WORDS)])


def matrix(split, weigh):
    counts = np.stack(
        [np.bincount(split.values[LENGTH * row : LENGTH * (row + 1)], minlength=WORDS) for row in split.rows]
    )
    return weigh(counts.astype(float))


def lengths_one(counts):
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def models(loaded):
    seen = matrix(loaded.train, lambda counts: counts).any(0)
    weighed = [matrix(split, lengths_one)[:, seen] for split in (loaded.train, loaded.valid, loaded.test)]
    labels = [split.targets[split.rows] for split in (loaded.train, loaded.valid, loaded.test)]
    fitted = [LogisticRegression(C=strength, max_iter=300).fit(weighed[0], labels[0]) for strength in STRENGTHS]
    return [(model.score(weighed[1], labels[1]), model.score(weighed[2], labels[2])) for model in fitted]


SEED = next(
    seed
    for seed in range(200)
    if len({valid for valid, _ in models(texts(seed))}) > 1
    and max(models(texts(seed)))[1] not in (max(both := [test for _, test in models(texts(seed))]), min(both))
)
"""The strength that is best on validation is neither the best nor the worst on the test."""


def test_counts_of_words_are_those_of_an_oracle_tuned_on_validation():
    valid, test = max(models(texts(SEED)), key=lambda pair: pair[0])
    figures = bag_of_words(texts(SEED))
    assert (figures["valid_accuracy"], figures["accuracy"]) == (valid, test)


@pytest.mark.parametrize("fitted", [bag_of_words, tfidf])
@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_chosen_by_test_labels(fitted, seed):
    right, wrong = fitted(texts(seed)), fitted(texts(seed, flipped=True))
    assert right["accuracy"] + wrong["accuracy"] == pytest.approx(1)
    assert right["valid_accuracy"] == wrong["valid_accuracy"] and right["weights_kept"] == wrong["weights_kept"]


@pytest.mark.parametrize("fitted", [bag_of_words, tfidf])
@pytest.mark.parametrize("seed", range(6))
def test_words_are_weighed_by_training_texts(fitted, seed):
    alone, more = fitted(texts(seed)), fitted(texts(seed, last=4000))
    assert alone["valid_accuracy"] == more["valid_accuracy"] and alone["weights_kept"] == more["weights_kept"]


@pytest.mark.parametrize("part", ["valid", "test"])
def test_texts_that_come_twice_change_no_accuracy(part):
    assert tfidf(texts(SEED)) == tfidf(texts(SEED, doubled=(part,)))


def test_word_vectors_are_of_training_texts():
    first, other = texts(0), texts(0, last=500)
    assert latent_vectors(first, 8).equal(latent_vectors(other, 8))
    values = first.valid.values.copy()
    for row in (*first.valid.rows, *first.test.rows):
        values[LENGTH * row : LENGTH * (row + 1)] = 3
    changed = dataclasses.replace(first, train=dataclasses.replace(first.train, values=values))
    assert latent_vectors(first, 8).equal(latent_vectors(changed, 8))


def series(valid_period, test_period, window=24, horizon=10):
    """Values that repeat after so many steps, and some noise."""
    generator = np.random.default_rng(0)
    steps = np.arange(200)
    valid = generator.normal(0, 3, valid_period)[steps % valid_period]
    test = generator.normal(0, 3, test_period)[steps % test_period]
    values = np.concatenate([valid, test]) + generator.normal(0, 0.1, 400)
    starts = {"valid": np.arange(0, 160), "test": np.arange(200, 360)}
    splits = {name: WindowSplit(values[:, None], rows, window, horizon, 0) for name, rows in starts.items()}
    return values, Loaded.of_forecasts(
        (splits["valid"], splits["valid"], splits["test"]), "x", inputs=1, horizon=horizon, note=""
    )


@pytest.mark.parametrize(("period", "test_period"), [(7, 12), (24, 7)])
def test_the_naive_forecast_repeats_the_period_that_is_best_on_validation(period, test_period):
    values, loaded = series(period, test_period)
    name, figures = seasonal_naive(loaded)
    errors = [
        values[start + 24 + step] - values[start + 24 + step % period - period]
        for start in loaded.test.starts
        for step in range(10)
    ]
    assert name == f"seasonal_naive_{period}"
    assert figures["mse"] == pytest.approx(np.mean(np.square(errors)), rel=1e-5)
    assert figures["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-5)


def test_a_word_has_its_frequency_in_the_training_text():
    train, test = np.array([0, 1, 1, 2, 1, 1, 0]), np.array([0, 2, 1, 3])
    splits = (TextSplit(np.tile(train, 20), 3), TextSplit(test), TextSplit(test))
    loaded = Loaded.of_text(splits, ["a", "b", "c", "d"], metric="perplexity", note="")
    counts = {word: 1 + 20 * int((train[1:] == word).sum()) for word in range(4)}  # the first word is not predicted
    total = sum(counts.values())
    loss = -sum(math.log(counts[word] / total) for word in test[1:].tolist()) / 3
    figures = unigram(loaded)
    assert figures == pytest.approx({"loss": loss, "perplexity": math.exp(loss), "bits_per_token": loss / math.log(2)})


def test_features_of_series_are_scaled_by_training_series():
    generator = np.random.default_rng(1)
    targets = torch.from_numpy(generator.integers(0, 2, 160))
    values = torch.from_numpy(generator.normal(0, 1, (160, 5, 1))).float() + 0.4 * targets[:, None, None]
    values[130:] += 100

    def hits(test):
        """How many series of a part are right; those from 130 on lie far from all others."""
        parts = [TensorSplit(values[rows], targets[rows]) for rows in (slice(0, 60), slice(60, 90), test)]
        return round(features(Loaded.of_classes(parts, ("a", "b"), inputs=1))["accuracy"] * len(parts[2]))

    series = values.squeeze(2).double().numpy()
    summary = [series.mean(1), series.std(1), series.min(1), series.max(1), series[:, -1]]
    columns = np.stack(summary, 1)
    scaled = (columns - columns[:60].mean(0)) / columns[:60].std(0)
    model = LogisticRegression(max_iter=300).fit(scaled[:60], targets[:60])
    assert hits(slice(90, 130)) == round(model.score(scaled[90:130], targets[90:130]) * 40)
    assert hits(slice(90, 160)) == hits(slice(90, 130)) + hits(slice(130, 160))


def own_file(folder, seed, flipped=frozenset(), flooded=frozenset()):
    """A user's file of texts whose words tell two classes apart badly; given rows have the other label, or one word."""
    generator = np.random.default_rng(seed)
    lines = ["text,label"]
    for row in range(200):
        label = row % 2
        odds = np.linspace(0.5, 1.6, 20) if label else np.ones(20)
        words = generator.choice(20, 8, p=odds / odds.sum())
        words = [0] * 400 if row in flooded else words
        lines.append(" ".join(f"w{word}" for word in words) + "," + "ab"[1 - label if row in flipped else label])
    path = folder / f"{seed}-{len(flipped)}-{len(flooded)}.csv"
    path.write_text("\n".join(lines) + "\n")
    return TableFile(path=str(path), text="text", label="label", valid=0.2, test=0.2, cache=str(folder / "cache"))


def accuracy_of(task, prepared, rows):
    """Of the baseline of a user's texts on the test rows, with the labels that the task's file has there."""
    loaded, preparation = prepared
    file = File(task, loaded, preparation, rows, loaded)
    _, right = texts_of(file, [rows["test"]])[0]
    return float((KIND.baselines(file)[1].outputs.argmax(1) == np.array(right)).mean())


def own_baseline(task):
    prepared = task.prepare()
    rows = row_numbers(prepared[0])
    return accuracy_of(task, prepared, rows), {int(row) for row in prepared[0].test.rows}


@pytest.mark.parametrize("seed", range(6))
def test_the_baseline_of_a_users_texts_is_not_chosen_by_test_labels(seed, tmp_path):
    task = own_file(tmp_path, seed)
    accuracy, test = own_baseline(task)
    prepared = task.prepare()
    rows = row_numbers(prepared[0])
    swapped = TableFile(**{**dataclasses.asdict(task), "path": own_file(tmp_path, seed, flipped=test).path})
    assert accuracy + accuracy_of(swapped, prepared, rows) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(6))
def test_the_baseline_of_a_users_texts_weighs_words_by_training_texts(seed, tmp_path):
    task = own_file(tmp_path, seed)
    prepared = task.prepare()
    rows = row_numbers(prepared[0])
    half, others = np.split(rows["test"], 2)
    flooded = own_file(tmp_path, seed, flooded=frozenset(map(int, others)))

    def hits(part):
        """How many texts of a part are right, the others being read too."""
        return accuracy_of(flooded, prepared, {**rows, "test": part}) * len(part)

    assert hits(rows["test"]) == pytest.approx(hits(half) + hits(others))
