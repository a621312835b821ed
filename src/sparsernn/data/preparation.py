"""What training learned of a data file, and what predicting needs to read another one in the same way."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypedDict

import numpy as np

from sparsernn import typed
from sparsernn.data.patches import Frames, Patches
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_rows import Rows
from sparsernn.data.task import PARTS, Split
from sparsernn.errors import UserError
from sparsernn.reading import Damaged, readable

WHOLE_NUMBER = re.compile("-?[0-9]{1,18}")
LARGEST = 1 << 31
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
        patch: steps of a labelled series that the network reads at once; 0: one step, as it is.
        windows: of the running means and deviations beside the steps that have a label each.
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
    patch: int = 0
    windows: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Read what `to_json` gave; anything else is a UserError."""
        names = {field.name for field in dataclasses.fields(cls)}
        expected, do = "the file that training wrote", "train again, or use the folder of another run"
        with readable("The saved preparation of the data", expected=expected, do=do):
            if not isinstance(values, dict) or set(values) != names:
                raise Damaged("other fields are in it")
            preparation = typed.construct(cls, values, "preparation")
            fault = preparation.fault()
            if fault:
                raise Damaged(fault)
        return preparation

    def fault(self) -> str:
        """What does not fit in it; empty if all does."""
        if self.kind not in KINDS:
            return f"its kind is {self.kind[:40]!r}"
        if len(self.means) != len(self.deviations) or not all(deviation > 0 for deviation in self.deviations):
            return "its deviations are not those of its means"
        if self.kind == "wide" and len(self.means) != 1 or self.kind in ("series", "forecast") and (
            len(self.means) != len(self.columns.get("series", ()))
        ):  # fmt: skip
            return "its means are not those of its columns"
        if len(set(self.labels)) != len(self.labels) or (self.kind in ("text", "series", "wide")) > len(self.labels):
            return "its labels are not different ones"
        if not all(0 <= size <= LARGEST for size in (self.length, self.window, self.horizon, self.patch, *self.windows)):
            return "its lengths are no lengths"
        if self.kind == "forecast" and min(self.window, self.horizon) < 1:
            return "its windows are empty"
        return ""

    @property
    def patches(self) -> Patches | Frames | None:
        """What the network reads of a labelled series; None: its steps."""
        if not self.patch:
            return None
        return Frames(self.patch, len(self.means)) if self.per_step else Patches(self.patch)

    @property
    def inputs(self) -> int:
        """Features of what the network reads of series at a time."""
        features = len(self.means) * (1 + 4 * len(self.windows))
        return features if self.patches is None else self.patches.width(features)

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
    whole = all(WHOLE_NUMBER.fullmatch(name) for name in seen)
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
