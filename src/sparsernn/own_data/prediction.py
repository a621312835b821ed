"""A training's network applied to another file: the file's own labels, with probabilities, in the order of its rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sparsernn.data.preparation import Encoded
from sparsernn.data.table_file import encode_file, encode_texts
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.errors import UserError
from sparsernn.own_data import answers
from sparsernn.own_data.answers import Predicted, Prediction, write_csv
from sparsernn.own_data.predictor import Predictor
from sparsernn.own_data.runs import NETWORK, find_run
from sparsernn.reading import readable

BATCH = 256

__all__ = ["Prediction", "predict", "write_csv"]


def predict(folder: Path, file: Path | None, progress: Progress = no_progress, texts: Sequence[str] = ()) -> Predicted:
    """Predictions for every row (or series, or window) of a file, or for some texts.

    Arguments:
        folder: what `sparsernn train` printed, one run in it, or a file of such a run that `sparsernn pack` wrote.
        file: like the file trained on; its label column may be absent. None where texts are given.
    Returns: {"predictions": [...]}: for labels {"label", "probability", "probabilities"}; for a regression {"value"};
        for a forecast {"forecast": [...], "times": [...]} in the file's own unit and spelling; all with "id" where rows
        or series have one; for a language model its perplexity. A row that cannot be read has None in each. Where the
        file has labels that are known, "scores" says how well they fit; "remarks" is what is to be said of the file.
    Raises: UserError for a folder or file that does not fit.
    """
    predictor = read(folder)
    preparation = predictor.preparation
    if (file is None) == (not texts):
        what = "Both a file and texts were given" if texts else "Nothing to predict was given"
        raise UserError(what, "a file, or --text", "give one of them")
    encoded = encode_texts(preparation, texts) if file is None else encode_file(preparation, file, progress)
    with readable(folder, expected="a network that fits its preparation", do="use another copy"):
        if preparation.kind == "language_model":
            loss = predictor.loss(encoded)
            return {"predictions": [{"perplexity": float(np.exp(loss)), "loss": loss}]}
        made = answers.predictions(preparation, encoded, list(outputs(predictor, encoded)))
    scores = answers.scores(preparation, encoded, made)
    told = answers.remarks(encoded, scores)
    predicted: Predicted = {"predictions": made}
    if scores:
        predicted["scores"] = scores
    if told:
        predicted["remarks"] = told
    return predicted


def read(folder: Path) -> Predictor:
    """The network that a training left as one file, or in one of its runs.

    Raises: UserError for a folder or file that is none.
    """
    if folder.is_dir() and (folder / NETWORK).is_file():
        folder = folder / NETWORK
    if folder.is_dir():
        from sparsernn.own_data.trained_run import TrainedRun  # brings torch

        return TrainedRun(find_run(folder))
    if not folder.exists():
        raise UserError(
            f"There is no {folder}",
            "the folder that `sparsernn train` printed, or a file that `sparsernn pack` wrote",
            "check the path",
        )
    from sparsernn.own_data.packed_network import PackedNetwork  # brings the engine

    return PackedNetwork(folder)


def outputs(predictor: Predictor, encoded: Encoded) -> Iterator[np.ndarray]:
    """What the network gives for each example: [classes], [steps classes] or [horizon]."""
    counts = iter((encoded.ends - encoded.starts).tolist())
    for inputs, lengths in encoded.batches(BATCH):
        rows = predictor.run(inputs, lengths)
        steps = rows.reshape(len(rows), -1, rows.shape[-1]) if rows.ndim > 2 else rows
        yield from (row[:count] if rows.ndim > 2 else row for row, count in zip(steps, counts, strict=False))
