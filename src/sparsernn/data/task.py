"""A task: options in, three splits of batches out."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from sparsernn.errors import UserError
from sparsernn.typed import check_choices

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
PARTS = ("train", "valid", "test")

Folder = Path | str | None  # of data files: None is SPARSERNN_DATA, or ./data


def are_known(targets: np.ndarray) -> np.ndarray:
    """Which targets there are: numbers that are not NaN, or classes other than `IGNORED`. Shapes: -> the same, bool."""
    return ~np.isnan(targets) if targets.dtype.kind == "f" else targets != IGNORED


class Batch(NamedTuple):
    """What one training step sees.

    Shapes: inputs [batch time features], or [batch time] for token ids; targets [batch], [batch time] or
    [batch horizon]; a language model's inputs and targets are [time batch]. `lengths` [batch] is given where
    sequences are padded on the right; per-step targets of the padding are `IGNORED`.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None


def checked_size(size: int) -> int:
    """A batch size, which is a UserError below 1."""
    if size < 1:
        raise UserError(f"The batch size is {size}", "a whole number of at least 1", "give a larger batch size")
    return size


class Split(abc.ABC):
    """Examples that are read in batches, in order or shuffled by a seed.

    `carries_state` says whether each batch continues the text of the one before it.
    """

    carries_state: ClassVar[bool] = False

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of examples; of predicted tokens for a language model."""

    def number_of_batches(self, size: int) -> int:
        """How many batches of at most `size` examples `batches` yields."""
        return -(-len(self) // checked_size(size))

    @abc.abstractmethod
    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        """Yield every example once; the same seed gives the same order, None the stored order."""

    def unordered(self, size: int) -> Iterator[Batch]:
        """Yield every example once in the order that costs least, for sums over all of them."""
        return self.batches(size)


@dataclass(frozen=True)
class Loaded:
    """A task that was read: what the trainer, the model and the report need to know of it.

    Arguments:
        train, valid, test: the splits.
        objective: "classification", "regression", "tagging", "forecasting" or "language_model".
        inputs: features at each step, or the vocabulary's size where `tokens` is true.
        tokens: whether the inputs are token ids.
        outputs: classes, horizon or vocabulary size: the width of the model's output; 1 for a regression. Where several
            columns are forecast, the horizon of one follows that of the one before.
        metric: "accuracy", "perplexity", "bits_per_character", "mse" or "rmse".
        labels: names of the classes in the order of their numbers; of the columns that are forecast; of the column of
            numbers that is learned.
        vocabulary: names of the token ids.
        vectors: a vector for each token id, with which an embedding begins; None where there is none. [words width]
        note: what a reader of a figure must know about the data.
        unit: of a regression: what one means in targets and outputs, which are standardised, in the unit of the labels.
        scored: which rows the split `test` holds: "test", or "valid" or "train" where there are no others.
    """

    train: Split
    valid: Split
    test: Split
    objective: str
    inputs: int
    tokens: bool
    outputs: int
    metric: str
    labels: Sequence[str] = ()
    vocabulary: Sequence[str] = field(default=(), repr=False)
    vectors: Tensor | None = field(default=None, repr=False)
    note: str = ""
    scored: str = "test"
    unit: float = 1.0

    @classmethod
    def of_classes(
        cls,
        splits: Iterable[Split],
        labels: Sequence[str],
        *,
        inputs: int,
        per_step: bool = False,
        vocabulary: Sequence[str] = (),
        vectors: Tensor | None = None,
        note: str = "",
    ) -> Loaded:
        """Sequences, or with `per_step` their steps, with a class each; with a vocabulary the inputs are token ids."""
        train, valid, test = splits
        objective, tokens, outputs = "tagging" if per_step else "classification", bool(vocabulary), len(labels)
        described = (objective, inputs, tokens, outputs, "accuracy", labels, vocabulary)
        return cls(train, valid, test, *described, vectors=vectors, note=note)

    @classmethod
    def of_numbers(
        cls,
        splits: Iterable[Split],
        label: str,
        *,
        unit: float,
        inputs: int,
        vocabulary: Sequence[str] = (),
        note: str = "",
    ) -> Loaded:
        """Sequences with a number each, standardised; with a vocabulary the inputs are token ids."""
        train, valid, test = splits
        described = ("regression", inputs, bool(vocabulary), 1, "rmse", (label,), vocabulary)
        return cls(train, valid, test, *described, note=note, unit=unit)

    @classmethod
    def of_forecasts(
        cls, splits: Iterable[Split], targets: str | Sequence[str], *, inputs: int, horizon: int, note: str
    ) -> Loaded:
        """Windows of series, each followed by the values of the features `targets`."""
        train, valid, test = splits
        names = (targets,) if isinstance(targets, str) else tuple(targets)
        outputs = horizon * len(names)
        return cls(train, valid, test, "forecasting", inputs, False, outputs, "mse", names, note=note)

    @classmethod
    def of_text(cls, splits: Iterable[Split], vocabulary: Sequence[str], *, metric: str, note: str) -> Loaded:
        """Running text whose next token is predicted."""
        train, valid, test = splits
        words = len(vocabulary)
        return cls(train, valid, test, "language_model", words, True, words, metric, vocabulary=vocabulary, note=note)


@dataclass(frozen=True)
class Task(abc.ABC):
    """A data set with its splits and preparation; the fields are its options.

    `files` maps a path under the data folder to the SHA-256 of its uncompressed content, so that a plain and a
    gzipped copy are both accepted; an empty sum is not checked. Nothing is ever downloaded. `choices` maps an option to
    the values that it may have.

    Arguments:
        verify: compare the files with their known sums.
    """

    origin: ClassVar[str]
    files: ClassVar[dict[str, str]] = {}
    choices: ClassVar[Mapping[str, Sequence[object]]] = {}

    verify: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        check_choices(self)

    def other_files(self, folder: Folder) -> dict[str, Path]:
        """Files that are read beside `files`, by the names under which a result states their sums."""
        return {}

    @abc.abstractmethod
    def load(self, folder: Folder = None) -> Loaded:
        """Read the files under `folder` (default: the SPARSERNN_DATA variable) into splits."""
