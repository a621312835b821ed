"""A user's own file: a table of texts, a table of series, or running text."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from sparsernn.data import table_forecast, table_series, table_steps, table_text, table_wide
from sparsernn.data.csv_file import existing
from sparsernn.data.files import cache_folder
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.data.store import Store, StoreWriter, build_from, build_once
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.data.task import Folder, Loaded


@dataclass(frozen=True)
class TableFile(TableOptions):
    """CSV, TSV or Parquet, plain or gzipped, or a .txt file for a language model.

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
        options = {"table_file": {**asdict(self), "cache": "", "path": ""}}

        def build(writer: StoreWriter) -> dict[str, object]:
            return kind.build(placed, writer, progress).to_json()

        store = build_from(placed.path, options, cache_folder(self.cache or None), build)
        preparation = Preparation.from_json(store.values)
        return kind.load(placed, store, preparation), preparation

    def _placed(self, folder: Folder) -> Self:
        path = Path(self.path) if folder is None else Path(folder) / self.path
        return replace(self, path=str(existing(path)))


class Kind(NamedTuple):
    """How one kind of file is prepared, loaded, and read again for predictions."""

    build: Callable[[TableOptions, StoreWriter, Progress], Preparation]
    load: Callable[[TableOptions, Store, Preparation], Loaded]
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
        table_series.build_series, table_series.load_series, table_steps.write_new_series, table_series.new_series
    ),
    "wide": Kind(table_wide.build_wide, table_series.load_series, table_wide.write_new_wide, table_wide.new_wide),
    "forecast": Kind(
        table_forecast.build_forecast,
        table_forecast.load_forecast,
        table_steps.write_new_series,
        table_forecast.new_forecast,
    ),
}


def encode_file(preparation: Preparation, path: Path | str, progress: Progress = no_progress) -> Encoded:
    """A file as the trained network reads it, in its own order; the label column may be absent."""
    kind = KINDS[preparation.kind]
    path = existing(path)

    def build(writer: StoreWriter) -> dict[str, object]:
        kind.write_new(preparation, str(path), writer, progress)
        return {}

    return kind.new(preparation, build_once(path, build))
