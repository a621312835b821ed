"""Kinds of files: what each has to beat, the networks that suit it, and how the best is kept.

A kind of file is a file in this folder with an object `KIND`.
"""

from sparsernn.data.table_file import TableFile
from sparsernn.data.task import Loaded
from sparsernn.own_data.kinds import forecast, language_model, regression, series, tagging, text
from sparsernn.own_data.kinds.kind import Kind


def kind_of(task: TableFile, loaded: Loaded) -> Kind:
    """The kind of a file that was read."""
    if loaded.objective == "tagging":
        return tagging.KIND
    if loaded.objective == "regression":
        return regression.TEXTS if loaded.tokens else regression.SERIES
    kinds: dict[str, Kind] = {
        "text": text.KIND,
        "series": series.KIND,
        "wide": series.KIND,
        "forecast": forecast.KIND,
        "language_model": language_model.KIND,
    }
    return kinds[task.kind]
