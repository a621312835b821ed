"""The Python door: scikit-learn's own checks, texts, series of different lengths, and what is saved."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

from sparsernn import Classifier
from sparsernn.own_data.classifier import load

QUICK = {"epochs": 2, "units": 4}
SLOW_TO_LEARN = "needs more than the one epoch that a test has time for"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_an_estimator():
    excused = {"check_classifiers_train": SLOW_TO_LEARN}
    outcomes = check_estimator(Classifier(epochs=1, units=2), expected_failed_checks=excused, on_fail=None)
    failed = {one["check_name"]: one["exception"] for one in outcomes if one["status"] == "failed"}
    assert failed == {} and sum(one["status"] == "passed" for one in outcomes) > 40


def test_texts_are_classified_and_the_file_does_the_same(tmp_path):
    texts = [f"a {word} film" for word in ("good", "bad", "fine", "dull") * 30]
    labels = ["pos", "neg"] * 60
    classifier = Classifier(epochs=20, units=8).fit(texts, labels)
    assert classifier.score(texts, labels) == 1.0 and list(classifier.classes_) == ["neg", "pos"]
    assert classifier.verdict_.test_rows == 12
    classifier.save(tmp_path / "network")
    again = load(tmp_path / "network")
    assert np.array_equal(again.predict_proba(texts[:4]), classifier.predict_proba(texts[:4]))
    assert list(again.predict(["a fine day", "a dull day"])) == list(classifier.predict(["a fine day", "a dull day"]))


@pytest.mark.parametrize("labels", [(0, 1), (2.0, 1.0), ("b", "a"), (True, False)], ids=str)
def test_series_of_different_lengths_keep_their_labels(labels):
    generator = np.random.default_rng(0)
    y = np.array(labels)[np.arange(80) % 2]
    series = [generator.normal(size=(length, 2)) for length in generator.integers(3, 9, 80)]
    classifier = Classifier(**QUICK).fit(series, y)
    assert set(classifier.predict(series)) <= set(labels) and classifier.predict_proba(series[:3]).shape == (3, 2)
    assert np.allclose(classifier.predict_proba(series).sum(1), 1)


def test_series_in_one_array_and_wrong_ones():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(60, 5, 2))
    assert Classifier(**QUICK).fit(X, np.arange(60) % 3).predict_proba(X[:2]).shape == (2, 3)
    with pytest.raises(ValueError, match="one class only"):
        Classifier(**QUICK).fit(X, np.zeros(60, int))
    with pytest.raises(ValueError, match="60 examples and y 59 labels"):
        Classifier(**QUICK).fit(X, np.arange(59) % 2)
