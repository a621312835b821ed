"""What training learned of a data file, and what predicting needs to read another one in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypedDict

import numpy as np

from sparsernn import typed
from sparsernn.data.numerals import class_key, numeral
from sparsernn.data.patches import Frames, Patches
from sparsernn.data.spelling import Spelling
from sparsernn.data.store import StoreWriter
from sparsernn.data.table_rows import Rows
from sparsernn.data.task import IGNORED, PARTS, are_known
from sparsernn.errors import UserError
from sparsernn.reading import Damaged, readable

if TYPE_CHECKING:
    from sparsernn.data.splits import SequenceSplit, TextSplit, WindowSplit

LARGEST = 1 << 31
MOST_REMARKS = 100
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
        columns: names of the columns that are read; in a forecast those that are forecast come first in the series, and
            those known ahead last.
        labels: class names in the order of their numbers.
        means, deviations: of the training rows, one a feature.
        label_scale: mean and deviation of the training labels of a regression, which has no classes.
        tokenizer: cleaning rule and vocabulary as JSON.
        length: tokens kept of a text, or steps of the pieces that a series is cut into; 0 keeps all.
        window, horizon: rows read and rows forecast.
        per_step: whether every step has a label of its own.
        targets, foreseen: how many columns are forecast, and how many are known ahead.
        levels: the words of each column that has no numbers; a word is a feature.
        missing: what is done where a number is missing, as in `TableOptions`.
        spelling: how the file is written.
        remarks: what is to be said of the file that was trained on.
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
    label_scale: tuple[float, ...] = ()
    targets: int = 1
    foreseen: int = 0
    levels: dict[str, list[str]] = field(default_factory=dict)
    missing: str = "error"
    spelling: Spelling = Spelling()
    remarks: tuple[str, ...] = ()
    patch: int = 0
    windows: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Read what `to_json` gave; anything else is a UserError."""
        names = {field.name for field in dataclasses.fields(cls)}
        later = {"label_scale", "targets", "foreseen", "levels", "missing", "spelling", "remarks", "patch", "windows"}
        expected, do = "the file that training wrote", "train again, or use the folder of another run"
        with readable("The saved preparation of the data", expected=expected, do=do):
            if not isinstance(values, dict) or set(values) - names or names - set(values) - later:
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
        if len(self.means) != {"wide": 1, "series": self.width, "forecast": self.width}.get(self.kind, 0):
            return "its means are not those of its columns"
        if self.label_scale and (len(self.label_scale) != 2 or not self.label_scale[1] > 0):
            return "the scale of its labels is none"
        labelled = self.kind in ("text", "series", "wide") and not self.label_scale
        if len(set(self.labels)) != len(self.labels) or labelled != bool(self.labels):
            return "its labels are not different ones"
        if self.spelling.fault() or len(self.remarks) > MOST_REMARKS:
            return "its spelling is none"
        sizes = (self.length, self.window, self.horizon, self.patch, *self.windows)
        if not all(0 <= size <= LARGEST for size in sizes):
            return "its lengths are no lengths"
        if self.kind == "forecast":
            if min(self.window, self.horizon) < 1:
                return "its windows are empty"
            if not 1 <= self.targets <= len(self.columns.get("series", ())) - self.foreseen or self.foreseen < 0:
                return "its forecast columns are not among its columns"
            if any(name in self.levels for name in self.columns.get("series", [])[: self.targets]):
                return "a column that is forecast holds words"
        return ""

    @property
    def width(self) -> int:
        """Features at each step."""
        return sum(self.widths)

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
    def widths(self) -> list[int]:
        """Features of each column of the series."""
        return [len(self.levels.get(name, ".")) for name in self.columns.get("series", ())]

    @property
    def outputs(self) -> int:
        """How many numbers its network gives for an example; 0 if that is for the tokenizer to say."""
        if self.kind == "forecast":
            return self.horizon * self.targets
        return len(self.labels) or int(bool(self.label_scale))

    @property
    def names(self) -> list[str]:
        """The columns a file must have; the label is not among them."""
        singles = (self.columns.get("text"), self.columns.get("id"), self.columns.get("time"))
        return [*filter(None, singles), *self.columns.get("series", ())]

    def class_numbers(self, rows: Rows) -> np.ndarray:
        """The rows' labels as class numbers, or as numbers for a regression; IGNORED or NaN for any other."""
        names = rows.labels(self.columns.get("label", ""), gaps=True)
        if self.label_scale:
            values = [numeral(name, self.spelling.decimal or ".") if name else None for name in names]
            return np.array([np.nan if value is None else value.value for value in values])
        numbers = {class_key(name): number for number, name in enumerate(self.labels)}
        return np.array([numbers.get(class_key(name), IGNORED) for name in names], np.int64)

    def features(self, rows: Rows) -> np.ndarray:
        """The columns of the series as numbers, NaN where one is missing: [rows features]; a word is a feature."""
        blocks = []
        for name in self.columns.get("series", ()):
            if name not in self.levels:
                blocks.append(rows.numbers(name, gaps=True)[:, None])
                continue
            words = [word.strip() for word in rows.texts(name)]
            blocks.append(np.array([[word == level for level in self.levels[name]] for word in words], np.float64))
        return np.concatenate(blocks, 1)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Features standardised with the training rows."""
        return ((values - np.array(self.means)) / np.array(self.deviations)).astype(np.float32)

    def unscaled(self, outputs: np.ndarray) -> np.ndarray:
        """Forecasts, [... targets * horizon], or the numbers of a regression, in the unit of the file."""
        if self.label_scale:
            return outputs * self.label_scale[1] + self.label_scale[0]
        deviations, means = (np.repeat(one[: self.targets], self.horizon) for one in (self.deviations, self.means))
        return outputs * deviations + means


class Arrays(NamedTuple):
    """A batch of examples as numpy arrays.

    Shapes: inputs [batch time features], or [batch time] for token ids; lengths [batch], or None where all are as long.
    """

    inputs: np.ndarray
    lengths: np.ndarray | None


@dataclass(frozen=True)
class Encoded:
    """A file as a trained network reads it.

    Arguments:
        kind: of the preparation.
        values: [steps] token ids or [steps features], all examples one after the other.
        starts, ends: [examples] where each begins and ends in `values`.
        targets: [examples], or [steps] where every step has a label: class numbers, IGNORED where one is missing or was
            not met in training; numbers for a regression, NaN where one is missing; None if the file has no labels.
        names: id of each example where the file has one, or of each row.
        rows: for a label per step: the file row (from 0) of every step, in the order of the values.
        times: of a forecast: for each example the times of its forecast, as the file writes them.
        faults: what is wrong with an example, or with a file row where every step has a label, by its number: it gets
            no prediction.
        window, horizon: of a forecast; steps: of running text.
        remarks: what is to be said of the file.
        patches: what the network reads instead of the steps.
    """

    kind: str
    values: np.ndarray = field(repr=False)
    starts: np.ndarray = field(repr=False)
    ends: np.ndarray = field(repr=False)
    targets: np.ndarray | None = field(default=None, repr=False)
    names: Sequence[str] = ()
    rows: np.ndarray | None = field(default=None, repr=False)
    times: Sequence[Sequence[str]] = ()
    faults: dict[int, str] = field(default_factory=dict)
    window: int = 0
    steps: int = 0
    remarks: tuple[str, ...] = ()
    patches: Patches | Frames | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def labelled(self) -> bool:
        """Whether some of its labels are known."""
        return self.targets is not None and bool(are_known(self.targets).any())

    def batches(self, size: int) -> Iterator[Arrays]:
        """All examples in their order, padded with zeros on the right."""
        kind = np.float32 if self.values.dtype.kind == "f" else np.int64
        for first in range(0, len(self), size):
            starts, ends = self.starts[first : first + size], self.ends[first : first + size]
            lengths = np.maximum(ends - starts, 1)
            inputs = np.zeros((len(starts), int(lengths.max()), *self.values.shape[1:]), kind)
            for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
                inputs[row, : end - start] = self.values[start:end]
            if self.patches is not None:
                inputs, lengths = self.patches(inputs, lengths)
            yield Arrays(inputs, None if self.kind == "forecast" else lengths)

    @property
    def split(self) -> SequenceSplit | WindowSplit | TextSplit:
        """The examples as training reads them, in tensors."""
        from sparsernn.data.splits import SequenceSplit, TextSplit, WindowSplit

        if self.kind == "language_model":
            return TextSplit(self.values, self.steps)
        if self.kind == "forecast":
            return WindowSplit(self.values, self.starts, self.window, 0, 0)
        targets = self.targets
        if targets is None:
            targets = np.zeros(len(self.values) if self.rows is not None else len(self), np.int64)
        offsets = np.append(self.starts, self.ends[-1:])
        per_step = self.rows is not None
        return SequenceSplit(self.values, offsets, targets, per_step=per_step, patches=self.patches)


def write_parts(writer: StoreWriter, parts: Sequence[np.ndarray]) -> None:
    """Store the rows of train, valid and test."""
    for name, part in zip(PARTS, parts, strict=True):
        writer.append(name, part)


def require_parts(parts: Sequence[np.ndarray], path: object, what: str, groups: str = "") -> None:
    """A UserError where train, validation or test would be empty. groups: the column of groups that stay together."""
    if min(map(len, parts)) == 0:
        raise UserError(
            f"{path} has too few {what} to hold some back: {', '.join(str(len(part)) for part in parts)}"
            " would train, validate and test",
            f"at least one of each and better hundreds of {what}",
            "give more data" + (f", or a column of more groups than {groups!r}" if groups else ""),
        )
