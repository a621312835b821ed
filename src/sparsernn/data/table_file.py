"""A user's own file: a table of texts, a table of series, or running text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from sparsernn.data import table_forecast, table_series, table_text, table_wide
from sparsernn.data.csv_file import existing
from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.files import cache_folder
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.data.store import Store, StoreWriter, build_from, build_once
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_rows import Progress, Table, no_progress
from sparsernn.data.table_steps import unusable
from sparsernn.data.task import Folder, Loaded
from sparsernn.data.text import encode
from sparsernn.errors import UserError


@dataclass(frozen=True)
class TableFile(TableOptions):
    """CSV, TSV, Parquet or JSON lines, plain, packed (gzip, bz2, xz) or a zip of one file; .txt for a language model.

    The file is read as a stream into memory-mapped arrays in the cache folder, which are used again while the file and
    the options stay the same. The options are those of `TableOptions`.

    Source: the user.
    """

    origin = "the user's own file"

    def load(self, folder: Folder = None) -> Loaded:
        """The splits; `folder` is where a relative path starts."""
        return self.prepare(folder=folder)[0]

    def other_files(self, folder: Folder) -> dict[str, Path]:
        """The user's file, by its name alone."""
        path = Path(self._placed(folder).path)
        return {path.name: path}

    def prepare(self, progress: Progress = no_progress, folder: Folder = None) -> tuple[Loaded, Preparation]:
        """The splits, and what a prediction needs; `progress(what, bytes done, bytes in all)` is called on the way."""
        kind = KINDS[self.kind]
        placed = self._placed(folder)
        options = {"table_file": {**asdict(self), "cache": "", "path": ""}, "version": 2}

        def build(writer: StoreWriter) -> dict[str, object]:
            return kind.build(placed, writer, progress).to_json()

        store = build_from(placed.path, options, cache_folder(self.cache or None), build)
        preparation = Preparation.from_json(store.values)
        return kind.load(placed, store, preparation), preparation

    def labelled_texts(self, preparation: Preparation) -> Iterator[tuple[str, float]]:
        """Text and target of every row: the number of its class, or the number that is learned."""
        table = Table(self.path, preparation.spelling)
        for rows in table.rows([self.text, self.label]):
            yield from zip(rows.texts(self.text), preparation.class_numbers(rows).tolist(), strict=True)

    def _placed(self, folder: Folder) -> Self:
        path = Path(self.path) if folder is None else Path(folder) / self.path
        return replace(self, path=str(existing(path)))


class Kind(NamedTuple):
    """How one kind of file is prepared, loaded, and read again for predictions.

    Attributes:
        values: the array of what a network reads.
    """

    build: Callable[[TableOptions, StoreWriter, Progress], Preparation]
    load: Callable[[TableOptions, Store, Preparation], Loaded]
    write_new: Callable[[Preparation, Table, StoreWriter], Encoded]
    values: str


KINDS = {
    "text": Kind(table_text.build_texts, table_text.load_texts, table_text.write_new_texts, "tokens"),
    "language_model": Kind(
        table_text.build_running_text, table_text.load_running_text, table_text.write_new_running_text, "tokens"
    ),
    "series": Kind(table_series.build_series, table_series.load_series, table_series.write_new_series, "values"),
    "wide": Kind(table_wide.build_wide, table_series.load_series, table_wide.write_new_wide, "values"),
    "forecast": Kind(
        table_forecast.build_forecast, table_forecast.load_forecast, table_forecast.write_new_forecast, "values"
    ),
}


def encode_file(preparation: Preparation, path: Path | str, progress: Progress = no_progress) -> Encoded:
    """A file as the trained network reads it, in its own order; the label column may be absent.

    A row that cannot be read is a fault of the answer, unless all of them are.
    """
    kind, path = KINDS[preparation.kind], existing(path)
    made: list[Encoded] = []

    def build(writer: StoreWriter) -> dict[str, object]:
        table = Table(path, preparation.spelling, progress, strict=False)
        made.append(kind.write_new(preparation, table, writer))
        return {}

    values = build_once(path, build)[kind.values]
    encoded = made[-1]
    examples = len(encoded) if encoded.rows is None else len(encoded.rows)
    if len(encoded.faults) >= examples > 0:
        raise unusable(path, encoded.faults)
    faults = dict(sorted(encoded.faults.items()))
    return replace(encoded, values=values, faults=faults, patches=preparation.patches)


def encode_texts(preparation: Preparation, texts: Sequence[str]) -> Encoded:
    """Some texts as the trained network reads them. Raises: UserError for a network that reads no texts."""
    if preparation.kind != "text":
        raise UserError("Texts were given to a network that reads none", "a network for texts", "give a file")
    encoder = encoder_from_json(preparation.tokenizer)
    ids = list(encode(encoder, texts, length=preparation.length))
    ends = np.cumsum([0, *map(len, ids)])
    return Encoded("text", np.concatenate(ids) if ids else np.zeros(0, np.int32), ends[:-1], ends[1:])
