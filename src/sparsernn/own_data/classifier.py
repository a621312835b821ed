"""The Python door to what `sparsernn train` does with labelled texts and series, by scikit-learn's conventions."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from sparsernn import durable
from sparsernn.data.table_file import TableFile
from sparsernn.durable import scratch
from sparsernn.errors import UserError
from sparsernn.own_data import training
from sparsernn.own_data.prediction import predict
from sparsernn.own_data.runs import NETWORK

TEXT, LABEL, SERIES, STEP = "text", "label", "series", "step"


class Classifier(ClassifierMixin, BaseEstimator):
    """A small sparse network for labelled texts or series, trained beside a baseline and a dense network.

    A tenth of the rows is held back to choose, and another to say in `verdict_` whether the network was worth it.

    Arguments:
        sparsity: fraction of zeros, in [0, 1); None chooses by the data.
        cell, method: names from `sparsernn list cells` and `sparsernn list methods`; "" chooses.
        units, epochs: 0 chooses by the data.
        bytes: the largest size of what `save` writes, such as 20000 or "50kB"; what was not asked for gives way.
        quality: how many points of accuracy the network may be behind the dense one on the rows that choose; the
            smallest of a few that are tried stays.
        seed: of splits, weights and order.
    Attributes:
        classes_: labels in the order of the columns of `predict_proba`.
        verdict_: how the network compares with the baseline and the majority; see `Verdict`.
    Shapes:
        X: texts, as a list or array of strings; or series, as an array [examples steps], [examples steps features], or
            a list of arrays [steps features] of different lengths. y: a label each.
    Raises: UserError for data that no network can learn from; ValueError for what scikit-learn refuses.

    >>> from sparsernn import Classifier
    >>> Classifier(epochs=3)
    Classifier(epochs=3)
    """

    def __init__(
        self,
        *,
        sparsity: float | None = None,
        cell: str = "",
        method: str = "",
        units: int = 0,
        epochs: int = 0,
        bytes: int | str | None = None,
        quality: float | None = None,
        seed: int = 0,
    ):
        self.sparsity, self.cell, self.method = sparsity, cell, method
        self.units, self.epochs, self.seed = units, epochs, seed
        self.bytes, self.quality = bytes, quality

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples and their labels."""
        X, y = self._examples(X, first=True), column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        if len(X) != len(y):
            raise ValueError(f"X has {len(X)} examples and y {len(y)} labels; expected as many")
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only, {self.classes_[0]!r}; expected at least two")
        with scratch() as folder:
            task = self._written(folder, X, [str(label) for label in y])
            asked = training.Training(
                task, **self.get_params(), out=folder / "out", command="Classifier.fit", progress=False
            )
            finished = training.train(asked)
            self.verdict_ = finished.verdict
            if not (finished.out / NETWORK).is_file():
                happened = f"the cell {self.cell!r} runs with torch alone"
                raise UserError(happened, "one that needs none, such as gru", "choose another")
            self.network_ = (finished.out / NETWORK).read_bytes()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [examples classes], in the order of `classes_`."""
        check_is_fitted(self)
        X = self._examples(X, first=False)
        with scratch() as folder:
            network = folder / NETWORK
            network.write_bytes(self.network_)
            task = self._written(folder, X, None)
            made: Any = predict(network, Path(task.path))["predictions"]
        places = {name: place_of(name, self.classes_) for name in made[0]["probabilities"]} if made else {}
        probabilities = np.zeros((len(X), len(self.classes_)))
        for row, one in enumerate(made):
            for name, probability in one["probabilities"].items():
                probabilities[row, places[name]] = probability
        return probabilities

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each example."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def save(self, path: Path | str) -> None:
        """Write the network as the one file that `sparsernn predict` and `sparsernn.runtime.load` read too."""
        check_is_fitted(self)
        durable.replace(path, self.network_)

    def _examples(self, X: Any, first: bool) -> Any:
        """The examples, checked as scikit-learn does where they are one array of numbers."""
        if not hasattr(X, "__len__"):
            X = np.asarray(X)
        if is_texts(X):
            return list(X)
        if isinstance(X, list) and X and np.ndim(X[0]) == 2:
            return [check_array(series, dtype="float64") for series in X]
        if np.ndim(X) == 3:
            return list(check_array(X, dtype="float64", allow_nd=True))
        return validate_data(self, X, dtype="float64", reset=first)  # pyright: ignore[reportArgumentType]

    def _written(self, folder: Path, X: Any, labels: Sequence[str] | None) -> TableFile:
        """The examples as a table, and the task that reads it."""
        path, cache = folder / "examples.csv", str(folder / "cache")
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows_of(X, labels))
        if is_texts(X):
            return TableFile(path=str(path), text=TEXT, label=LABEL, cache=cache)
        if isinstance(X, list):
            names = tuple(column(number) for number in range(X[0].shape[1]))
            return TableFile(
                path=str(path), id=SERIES, time=STEP, series=names, label=LABEL, label_per="series", cache=cache
            )
        last = column(X.shape[1] - 1)
        return TableFile(path=str(path), series_columns=f"{column(0)}:{last}", label=LABEL, cache=cache)


def place_of(name: str, classes: np.ndarray) -> int:
    """The class that a file calls so: numbers may be spelt otherwise there."""
    spelt = [str(label) for label in classes]
    return spelt.index(name) if name in spelt else [float(label) for label in classes].index(float(name))


def is_texts(X: Any) -> bool:
    """Whether the examples are strings."""
    return getattr(X, "ndim", 1) == 1 and len(X) > 0 and all(isinstance(text, str) for text in X)


def column(number: int) -> str:
    """The name of a column of numbers."""
    return f"x{number}"


def rows_of(X: Any, labels: Sequence[str] | None) -> Iterator[list[Any]]:
    """The rows of a table of the examples, its header first; without labels that column is left out."""
    label = [] if labels is None else [LABEL]
    if is_texts(X):
        yield [TEXT, *label]
        for number, text in enumerate(X):
            yield [text, *([] if labels is None else [labels[number]])]
    elif isinstance(X, list):
        yield [SERIES, STEP, *(column(number) for number in range(X[0].shape[1])), *label]
        for number, series in enumerate(X):
            for step, values in enumerate(series.tolist()):
                yield [number, step, *values, *([] if labels is None else [labels[number]])]
    else:
        yield [*(column(number) for number in range(X.shape[1])), *label]
        for number, values in enumerate(X.tolist()):
            yield [*values, *([] if labels is None else [labels[number]])]


def load(path: Path | str) -> Classifier:
    """A classifier from what `save` or `sparsernn train` wrote: it predicts, its labels being strings.

    Raises: UserError for another file.
    """
    from sparsernn import runtime

    artifact = runtime.load_any(path)
    if len(artifact.labels) < 2:
        raise UserError(f"{path} has no labels", "a network with labels", "predict with `sparsernn predict`")
    classifier = Classifier()
    classifier.classes_ = np.array(artifact.labels)
    classifier.network_ = Path(path).read_bytes()
    return classifier
