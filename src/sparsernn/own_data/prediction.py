"""A training's network applied to another file: the file's own labels, with probabilities, in the order of its rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sparsernn import runtime
from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.grams import GramEncoder
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.data.table_file import encode_file, encode_texts
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.errors import UserError
from sparsernn.own_data import answers
from sparsernn.own_data.answers import Predicted, Prediction, write_csv
from sparsernn.own_data.predictor import Predictor, check_sizes
from sparsernn.own_data.runs import NETWORK, find_run
from sparsernn.reading import parsed, readable
from sparsernn.runtime.grams import VALUE, GramNetwork

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
        return Packed(folder / NETWORK)
    if folder.is_dir():
        from sparsernn.own_data.trained_run import TrainedRun  # brings torch

        return TrainedRun(find_run(folder))
    return Packed(folder)


class Packed:
    """A network in one file, without torch.

    Raises: UserError for another file, or one whose parts do not belong together.
    """

    def __init__(self, path: Path):
        self.artifact = runtime.load_any(path)
        if not self.artifact.preparation:
            raise UserError(
                f"{path} does not say how a file becomes its input",
                "a network that `sparsernn train` made",
                "pack a run that `sparsernn train` left, or give the run's folder",
            )
        with readable(path, expected="a network that `sparsernn train` made", do="pack the run again"):
            self.preparation = Preparation.from_json(parsed(self.artifact.preparation))
        if isinstance(self.artifact, GramNetwork):
            encoder = encoder_from_json(self.preparation.tokenizer)
            labels = self.preparation.labels or (VALUE,)
            if self.artifact.labels != labels or not isinstance(encoder, GramEncoder):
                raise UserError(
                    f"The preparation of {path} is not that of its network",
                    "both as one training left them",
                    "use another copy of the file",
                )
            return
        spec = self.artifact.spec
        words = spec.embedding if spec.rows is None else spec.rows
        inputs = self.artifact.inputs if words is None else len(words)
        check_sizes(self.preparation, inputs, self.artifact.outputs, path)

    def run(self, inputs: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        return self.artifact.run(inputs, lengths)

    def loss(self, encoded: Encoded) -> float:
        if isinstance(self.artifact, GramNetwork):
            raise TypeError("a network of n-grams predicts no running text")
        return -float(self.artifact.log_probabilities(encoded.values).mean())


def outputs(predictor: Predictor, encoded: Encoded) -> Iterator[np.ndarray]:
    """What the network gives for each example: [classes], [steps classes] or [horizon]."""
    counts = iter((encoded.ends - encoded.starts).tolist())
    for inputs, lengths in encoded.batches(BATCH):
        rows = predictor.run(inputs, lengths)
        steps = rows.reshape(len(rows), -1, rows.shape[-1]) if rows.ndim > 2 else rows
        yield from (row[:count] if rows.ndim > 2 else row for row, count in zip(steps, counts, strict=False))
