"""What a linear part learns of texts: which of some classes each is of, or a number."""

from __future__ import annotations

import abc
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsernn.runtime.grams import VALUE

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MANY = 1.0  # texts by which a mean is drawn to 0
Array = np.ndarray


class Learned(abc.ABC):
    """What is learned of each text.

    Attributes:
        labels: names of the outputs, as `Grams` has them.
        strengths: that are tried, from strong to weak regularisation.
        count: of the groups of texts whose n-grams are counted apart.
    """

    labels: tuple[str, ...]
    strengths: tuple[float, ...]
    count: int

    @abc.abstractmethod
    def groups(self, targets: Array) -> Array:
        """How much of each text counts for each group. [text group]"""

    @abc.abstractmethod
    def ratios(self, sums: Array, totals: Array) -> Array:
        """How far each n-gram tells the targets apart, by sums over its texts and their count. [group gram], [gram]"""

    @abc.abstractmethod
    def fit(self, matrix: csr_matrix, targets: Array, strength: float, rough: bool = False) -> tuple[Array, Array]:
        """Weights and bias. rough: good enough to rank columns. -> [output gram], [output]"""

    @abc.abstractmethod
    def losses(self, scores: Array, targets: Array) -> Array:
        """The loss of each text. scores: of `GramNetwork`. [text]"""

    def right(self, scores: Array, targets: Array) -> float:
        """The share of the texts whose answer is right; 0 where none can be."""
        return 0.0


@dataclass(frozen=True)
class Classes(Learned):
    """One of some classes."""

    labels: tuple[str, ...]
    strengths = (4.0, 16.0, 64.0)

    @property
    def count(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.labels)

    def groups(self, targets: Array) -> Array:
        return np.asarray(targets[:, None] == np.arange(self.count), np.float32)

    def ratios(self, sums: Array, totals: Array) -> Array:
        """Log count ratios of each class against the rest, the largest over classes."""
        ratios = np.zeros(len(totals), np.float32)
        for inside in sums:
            first, second = inside + 1, totals - inside + 1
            np.maximum(ratios, np.abs(np.log(first / first.sum()) - np.log(second / second.sum())), out=ratios)
        return ratios

    def fit(self, matrix: csr_matrix, targets: Array, strength: float, rough: bool = False) -> tuple[Array, Array]:
        """Logistic regression, one row for two classes. Classes without a text have very low scores."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        if self.count == 2:
            options: dict[str, Any] = {"solver": "liblinear", "dual": True, "random_state": 0}
            model = LogisticRegression(C=strength, tol=0.1 if rough else 0.01, max_iter=200, **options)
        else:
            # The gradient that lbfgs looks at is a mean over texts, whose own numbers are small.
            model = LogisticRegression(C=strength, tol=1e-4 if rough else 1e-5, max_iter=50 if rough else 150)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # validation is asked how good it is
            model.fit(matrix, targets)
        if self.count == 2 or len(model.classes_) == self.count:
            return np.asarray(model.coef_), np.asarray(model.intercept_)
        weights, bias = np.zeros((self.count, model.coef_.shape[1])), np.full(self.count, -20.0)
        weights[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
        return weights, bias

    def losses(self, scores: Array, targets: Array) -> Array:
        """The cross entropy of each text."""
        from scipy.special import logsumexp

        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], 1)
        return logsumexp(scores.astype(np.float64), 1) - scores[np.arange(len(targets)), targets]

    def right(self, scores: Array, targets: Array) -> float:
        return float((scores.argmax(1) == targets).mean())


@dataclass(frozen=True)
class Numbers(Learned):
    """A number, standardised."""

    labels: tuple[str, ...] = (VALUE,)
    strengths = (0.1, 0.3, 1.0, 3.0, 10.0)
    count = 1

    def groups(self, targets: Array) -> Array:
        return np.asarray(targets[:, None], np.float32)

    def ratios(self, sums: Array, totals: Array) -> Array:
        """The mean number of the texts of each n-gram, drawn to 0 where these are few."""
        return np.abs(sums[0]) / (totals + MANY)

    def fit(self, matrix: csr_matrix, targets: Array, strength: float, rough: bool = False) -> tuple[Array, Array]:
        """Ridge regression."""
        from sklearn.linear_model import Ridge

        model = Ridge(1 / strength, solver="sparse_cg", tol=1e-2 if rough else 1e-4, max_iter=1000)
        model.fit(matrix, targets)
        return np.asarray(model.coef_)[None], np.atleast_1d(np.asarray(model.intercept_))

    def losses(self, scores: Array, targets: Array) -> Array:
        """The squared error of each text."""
        return np.square(scores[:, 0].astype(np.float64) - targets)
