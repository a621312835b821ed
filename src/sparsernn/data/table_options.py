"""Options of a task that reads a user's own file."""

from dataclasses import dataclass, field
from pathlib import Path

from sparsernn.data.spelling import Spelling
from sparsernn.data.table_rows import Progress, Table, no_progress
from sparsernn.data.task import Task
from sparsernn.errors import UserError
from sparsernn.typed import IF_GIVEN

KINDS = {
    "text": "--text",
    "series": "--series",
    "wide": "--series-columns",
    "forecast": "--forecast",
    "language_model": "--language-model",
}
"""The option that says so, for each kind of file."""


@dataclass(frozen=True)
class TableOptions(Task):
    """What a user says of a file: its columns, what to learn from them, and how to read it.

    What the file is follows from the columns that are named: `text` and `label`; `series` and `label`, a row a step
    (`id` tells series apart, `time` orders the rows); `series_columns` and `label`, a row a series; `forecast`, with
    more inputs in `series`; or `language_model`.

    Arguments:
        path: the file.
        text, label, id: names of columns.
        time: column that orders the rows of a series, or two, "DATE,TIME".
        forecast: column to forecast, or several: "A,B".
        series: the columns that are read at every step, "A,B" or "A:Z"; those that hold words become a feature a word.
        foreseen: columns of a forecast whose coming values are known when it is made, such as holidays.
        label_per: "series", "step" or "auto": by step where the labels of a series differ.
        series_columns: columns that are the steps of a row's series: "A:Z" or "A,B,C".
        language_model: the file is running text.
        horizon: rows to forecast.
        window: rows read before a forecast; 0 chooses.
        vocabulary: ids in all.
        tokenizer: "words", "bpe", "blanks" or "characters".
        length: tokens kept of a text (0: 200, the last), tokens a language model reads at a time (0: 35), or steps of
            the pieces into which series with a label per step are cut (0: 250).
        valid, test: shares held back: of the rows of each class, of the series, or the last rows of every series.
        seed: of the split.
        cache: folder of the prepared arrays; "" is the user's cache folder.
        groups: column of what belongs together, such as persons or threads: all rows of one are in one part; "" is
            none.
        labels: "classes", "numbers" (a regression) or "auto", which asks where it could be either.
        missing: what is done where a number is missing: "error"; "interpolate", "forward" (the last one again) or
            "zero", which in a forecast fill times that are missing as well; or "drop", which leaves such rows out, and
            rows without a label.
        encoding, delimiter, quotes, header, decimal, date_format: how the file is written, as in `Spelling`.
        near_duplicates: "keep" them, or "drop" training and validation texts that are nearly the same as one of a
            later part.
    """

    choices = {
        "label_per": ("auto", "step", "series"),
        "tokenizer": ("words", "bpe", "blanks", "characters"),
        "near_duplicates": ("keep", "drop"),
        "labels": ("auto", "classes", "numbers"),
        "missing": ("error", "interpolate", "forward", "zero", "drop"),
        "quotes": ("", "doubled", "backslash", "single", "none"),
        "decimal": ("", ".", ","),
    }

    path: str = ""
    text: str = ""
    label: str = ""
    id: str = ""
    time: str = ""
    series: tuple[str, ...] = ()
    label_per: str = "auto"
    series_columns: str = ""
    forecast: str = ""
    horizon: int = 1
    window: int = 0
    language_model: bool = False
    vocabulary: int = 20_000
    tokenizer: str = "words"
    length: int = 0
    valid: float = 0.1
    test: float = 0.1
    seed: int = 0
    cache: str = ""
    groups: str = field(default="", metadata=IF_GIVEN)
    near_duplicates: str = field(default="keep", metadata=IF_GIVEN)
    foreseen: tuple[str, ...] = field(default=(), metadata=IF_GIVEN)
    labels: str = field(default="auto", metadata=IF_GIVEN)
    missing: str = field(default="error", metadata=IF_GIVEN)
    encoding: str = field(default="", metadata=IF_GIVEN)
    delimiter: str = field(default="", metadata=IF_GIVEN)
    quotes: str = field(default="", metadata=IF_GIVEN)
    header: bool = field(default=True, metadata=IF_GIVEN)
    decimal: str = field(default="", metadata=IF_GIVEN)
    date_format: str = field(default="", metadata=IF_GIVEN)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.valid <= 0 or self.test <= 0 or self.valid + self.test >= 1:
            raise UserError(
                f"valid is {self.valid} and test is {self.test}",
                "shares above 0 that leave rows to train",
                "give 0.1 for both",
            )
        if fault := self.spelling.fault():
            raise fault
        if self.horizon < 1 or self.window < 0 or self.length < 0:
            raise UserError(
                f"horizon is {self.horizon}, window {self.window}, length {self.length}",
                "a horizon of at least 1, the others not negative",
                "correct the option",
            )

    @property
    def spelling(self) -> Spelling:
        """How the file is written, as far as its user says."""
        return Spelling(self.encoding, self.delimiter, self.quotes, self.header, self.decimal, self.date_format)

    def table(self, progress: Progress = no_progress) -> Table:
        """The rows of the file."""
        return Table(self.path, self.spelling, progress)

    @property
    def kind(self) -> str:
        """What the file is, from the columns given; a UserError where they do not say it."""
        described = {
            "text": self.text,
            "wide": self.series_columns,
            "forecast": self.forecast,
            "language_model": self.language_model,
            "series": self.series and not self.forecast,
        }
        kinds = [name for name, value in described.items() if value]
        if len(kinds) != 1:
            raise UserError(
                f"{' and '.join(map(KINDS.__getitem__, kinds))} were given"
                if kinds
                else "No option says what to learn",
                f"one of {', '.join(KINDS.values())}",
                "give --text COLUMN --label COLUMN, for instance, with names of the file's columns",
            )
        if kinds[0] in ("text", "wide", "series") and not self.label:
            raise UserError("No label column was given", "the column of the classes", "give --label COLUMN")
        self._check_parts(kinds[0])
        return kinds[0]

    def _check_parts(self, kind: str) -> None:
        if self.foreseen and kind != "forecast":
            raise UserError(
                "Columns known ahead were given without a forecast", "--forecast COLUMN", "leave out --known"
            )
        if self.labels == "numbers" and kind in ("forecast", "language_model"):
            raise UserError("A regression was asked for without labels", "--label COLUMN", "leave out --regression")
        if self.groups and kind in ("forecast", "language_model"):
            raise UserError("Groups were given for a split by time", "labelled texts or series", "leave out --group")
        if self.near_duplicates == "drop" and kind != "text":
            raise UserError(
                "Near-duplicates were to be dropped of something else than texts",
                "a column of texts",
                "leave out --near-duplicates",
            )

    @property
    def shares(self) -> tuple[float, float, float]:
        """Parts of train, valid and test."""
        return 1 - self.valid - self.test, self.valid, self.test

    def note(self) -> str:
        """What a reader of a figure must know about the data."""
        manner = "by time" if self.kind in ("forecast", "language_model") else f"by seed {self.seed}"
        groups = f", whole groups of {self.groups}" if self.groups else ""
        dropped = ", near-duplicates dropped" if self.near_duplicates == "drop" else ""
        return f"{Path(self.path).name}: {self.valid:.0%} and {self.test:.0%} held back {manner}{groups}{dropped}"
