"""What training learned of a data file, and what predicting needs to read another one in the same way."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypedDict

import numpy as np

from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_rows import Rows
from sparsernn.data.task import PARTS, Split
from sparsernn.errors import UserError

KINDS = ("text", "series", "wide", "forecast", "language_model")


class Columns(TypedDict, total=False):
    """Column names by what the columns hold; an empty name means that there is none."""

    text: str
    label: str
    id: str
    time: str
    series: list[str]


@dataclass(frozen=True)
class Preparation:
    """The fitted reading of a user's file; JSON keeps all of it.

    Arguments:
        kind: "text", "series" (a row a step), "wide" (a row a series), "forecast" or "language_model".
        columns: names of the columns that are read.
        labels: class names in the order of their numbers.
        means, deviations: of the training rows, one a feature.
        tokenizer: cleaning rule and vocabulary as JSON.
        length: tokens kept of a text, or steps of the pieces that a series is cut into; 0 keeps all.
        window, horizon: rows read and rows forecast.
        per_step: whether every step has a label of its own.
    """

    kind: str
    columns: Columns
    labels: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()
    tokenizer: str = ""
    length: int = 0
    window: int = 0
    horizon: int = 0
    per_step: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `to_json` gave; anything else is a UserError."""
        names = {field.name for field in dataclasses.fields(cls)}
        right = isinstance(values, dict) and set(values) == names and values["kind"] in KINDS
        if not right or not isinstance(values["columns"], dict) or len(values["means"]) != len(values["deviations"]):
            raise UserError(
                "The saved preparation of the data cannot be read",
                "the file that training wrote",
                "train again, or use the folder of another run",
            )
        listed = {name: tuple(values[name]) for name in ("labels", "means", "deviations")}
        return cls(**{**values, **listed})

    @property
    def names(self) -> list[str]:
        """The columns a file must have; the label is not among them."""
        singles = (self.columns.get("text"), self.columns.get("id"), self.columns.get("time"))
        return [*filter(None, singles), *self.columns.get("series", ())]

    def class_numbers(self, rows: Rows) -> np.ndarray:
        """The rows' labels as numbers; one that training did not see is a UserError."""
        numbers = {name: number for number, name in enumerate(self.labels)}
        names = rows.labels(self.columns.get("label", ""))
        try:
            return np.array([numbers[name] for name in names], np.int64)
        except KeyError:
            row = next(row for row, name in enumerate(names) if name not in numbers)
            raise UserError(
                f"The label {names[row][:40]!r} in {rows.where(row)} did not occur in training",
                f"one of {', '.join(self.labels[:20])}",
                "correct the label, or leave the label column out",
            ) from None

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Features standardised with the training rows."""
        return ((values - np.array(self.means)) / np.array(self.deviations)).astype(np.float32)

    def unscaled(self, forecast: np.ndarray) -> np.ndarray:
        """A forecast in the unit of the file."""
        return forecast * self.deviations[0] + self.means[0]


@dataclass(frozen=True)
class Encoded:
    """A file as a trained network reads it.

    Arguments:
        split: its examples, in the order of the file.
        labelled: whether the file has the label column, so that targets mean something.
        names: name of each example where the file names them: the ids of its series.
        rows: for a label per step: the file row (from 0) of every step, in the order of the split.
    """

    split: Split
    labelled: bool
    names: Sequence[str] = ()
    rows: np.ndarray | None = None


def class_names(seen: Sequence[str], column: str) -> list[str]:
    """Class names in a fixed order; one class, or as many as free text has, is a UserError."""
    if len(seen) < 2:
        raise UserError(
            f"Column {column!r} holds one class only, {seen[0][:40]!r}",
            "at least two different labels",
            "choose another label column or add rows of other classes",
        )
    if len(seen) > 1000:
        raise UserError(
            f"Column {column!r} holds {len(seen):,} different labels",
            "at most 1,000 classes",
            "check that it is the label column",
        )
    whole = all(name.lstrip("-").isdigit() for name in seen)
    return sorted(seen, key=int) if whole else sorted(seen)


def numbered(seen: dict[str, int], codes: np.ndarray, column: str) -> tuple[list[str], np.ndarray]:
    """Class names in their order, and the codes of first appearance turned into class numbers."""
    names = class_names(list(seen), column)
    place = np.empty(len(names), np.int64)
    place[[seen[name] for name in names]] = np.arange(len(names))
    return names, place[codes]


def targets_of(store: Store, count: int) -> tuple[bool, np.ndarray]:
    """Whether a file has labels, and its targets: zeros where it has none."""
    labelled = "targets" in store.names
    return labelled, store.array("targets") if labelled else np.zeros(count, np.int64)


def write_parts(writer: StoreWriter, parts: Sequence[np.ndarray]) -> None:
    """Store the rows of train, valid and test."""
    for name, part in zip(PARTS, parts, strict=True):
        writer.append(name, part)


def require_parts(parts: Sequence[np.ndarray], path: object, what: str) -> None:
    """A UserError where train, validation or test would be empty."""
    if min(map(len, parts)) == 0:
        raise UserError(
            f"{path} has too few {what} to hold some back: {', '.join(str(len(part)) for part in parts)}"
            " would train, validate and test",
            f"at least one of each and better hundreds of {what}",
            "give more data, or in Python other valid and test shares",
        )
