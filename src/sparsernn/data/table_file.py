"""A user's own file: a table of texts, a table of series, or running text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from sparsernn.data import table_series, table_text
from sparsernn.data.files import cache_folder
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.data.store import Store, StoreWriter, file_key, open_or_build
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.data.task import Loaded, Task, choose
from sparsernn.errors import UserError

TOKENIZERS = ("words", "bpe", "blanks", "characters")


@dataclass(frozen=True)
class TableFile(Task):
    """CSV, TSV or Parquet, plain or gzipped, or a .txt file for a language model.

    What the file is follows from the columns given: `text` and `label`; `series` and `label`, a row a step (`id` tells
    series apart, `time` orders the rows); `series_columns` and `label`, a row a series; `forecast`, with more inputs in
    `series`; or `language_model`. The file is read as a stream into memory-mapped arrays in the cache folder, which are
    used again while the file and the options stay the same.

    Arguments:
        path: the file.
        text, label, id, time, forecast: names of columns.
        series: names of the columns that are read at every step.
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
    Source: the user.
    """

    origin: ClassVar[str] = "the user's own file"

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

    def __post_init__(self) -> None:
        choose("label_per", self.label_per, ("auto", "step", "series"))
        choose("tokenizer", self.tokenizer, TOKENIZERS)
        if self.valid <= 0 or self.test <= 0 or self.valid + self.test >= 1:
            raise UserError(
                f"valid is {self.valid} and test is {self.test}",
                "shares above 0 that leave rows to train",
                "give 0.1 for both",
            )
        if self.horizon < 1 or self.window < 0 or self.length < 0:
            raise UserError(
                f"horizon is {self.horizon}, window {self.window}, length {self.length}",
                "a horizon of at least 1, the others not negative",
                "correct the option",
            )

    @property
    def kind(self) -> str:
        """What the file is, from the columns given; a UserError where they do not say it."""
        given = [
            name
            for name, value in (
                ("text", self.text),
                ("wide", self.series_columns),
                ("forecast", self.forecast),
                ("language_model", self.language_model),
                ("series", self.series and not self.forecast),
            )
            if value
        ]
        if len(given) != 1:
            said = " and ".join(given) or "nothing"
            raise UserError(
                f"The columns describe {said}",
                "one of text, series, series-columns, forecast or a text file",
                "give --text COLUMN --label COLUMN, for instance",
            )
        if given[0] in ("text", "wide", "series") and not self.label:
            raise UserError("No label column was given", "the column of the classes", "give --label COLUMN")
        return given[0]

    @property
    def shares(self) -> tuple[float, float, float]:
        """Parts of train, valid and test."""
        return 1 - self.valid - self.test, self.valid, self.test

    def note(self) -> str:
        """What a reader of a figure must know about the data."""
        held = "by time" if self.kind in ("forecast", "language_model") else f"by seed {self.seed}"
        return f"{Path(self.path).name}: {self.valid:.0%} and {self.test:.0%} held back {held}"

    def load(self, folder: Path | str | None = None) -> Loaded:
        """The splits; `folder` is where a relative path starts."""
        return self.prepare(folder=folder)[0]

    def prepare(self, progress: Progress = no_progress, folder: Path | str | None = None) -> tuple[Loaded, Preparation]:
        """The splits, and what a prediction needs; `progress(what, bytes done, bytes in all)` is called on the way."""
        kind = KINDS[self.kind]
        placed = self._placed(folder)
        options = {**asdict(self), "cache": "", "path": ""}
        key = file_key(placed.path, {"table_file": options})
        store = open_or_build(
            cache_folder(self.cache or None), key, lambda writer: kind.build(placed, writer, progress).to_json()
        )
        preparation = Preparation.from_json(store.values)
        return kind.load(placed, store, preparation), preparation

    def _placed(self, folder: Path | str | None) -> TableFile:
        path = Path(self.path) if folder is None else Path(folder) / self.path
        if not path.is_file():
            raise UserError(f"The file {path} was not found", "a CSV, TSV, Parquet or text file", "check the path")
        return TableFile(**{**asdict(self), "path": str(path)})


class Kind(NamedTuple):
    """How one kind of file is prepared, loaded, and read again for predictions."""

    build: Callable[[TableFile, StoreWriter, Progress], Preparation]
    load: Callable[[TableFile, Store, Preparation], Loaded]
    write_new: Callable[[Preparation, str, StoreWriter, Progress], None]
    new: Callable[[Preparation, Store], Encoded]


KINDS = {
    "text": Kind(table_text.build_texts, table_text.load_texts, table_text.write_new_texts, table_text.new_texts),
    "language_model": Kind(
        table_text.build_running_text,
        table_text.load_running_text,
        table_text.write_new_running_text,
        table_text.new_running_text,
    ),
    "series": Kind(
        table_series.build_series, table_series.load_series, table_series.write_new_series, table_series.new_series
    ),
    "wide": Kind(table_series.build_wide, table_series.load_series, table_series.write_new_wide, table_series.new_wide),
    "forecast": Kind(
        table_series.build_forecast,
        table_series.load_forecast,
        table_series.write_new_series,
        table_series.new_forecast,
    ),
}


def encode_file(
    preparation: Preparation, path: Path | str, progress: Progress = no_progress, cache: Path | str | None = None
) -> Encoded:
    """A file as the trained network reads it, in its own order; the label column may be absent."""
    kind = KINDS[preparation.kind]
    if not Path(path).is_file():
        raise UserError(f"The file {path} was not found", "a file like the one trained on", "check the path")

    def build(writer: StoreWriter) -> dict[str, Any]:
        kind.write_new(preparation, str(path), writer, progress)
        return {}

    store = open_or_build(cache_folder(cache), file_key(path, {"encoded": preparation.to_json()}), build)
    return kind.new(preparation, store)
