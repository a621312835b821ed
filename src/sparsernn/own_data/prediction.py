"""A trained run applied to another file: the file's own labels, with probabilities, in the order of its rows."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from sparsernn import runtime
from sparsernn.data.grams import GramEncoder
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.data.table_file import encode_file, encode_texts
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.data.text import encoder_from_json
from sparsernn.errors import UserError
from sparsernn.experiments.compacted import read_final
from sparsernn.experiments.trained import described
from sparsernn.own_data import answers
from sparsernn.own_data.answers import Predicted, Prediction, write_csv
from sparsernn.own_data.kinds.kind import NETWORK
from sparsernn.own_data.runs import find_run, read_preparation
from sparsernn.reading import parsed, readable
from sparsernn.runtime.grams import GramNetwork
from sparsernn.training import objectives

BATCH = 256
Network = Callable[..., torch.Tensor]

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
    preparation, network = _read(folder)
    if (file is None) == (not texts):
        raise UserError("Both a file and texts were given" if texts else "Nothing to predict was given",
                        "a file, or --text", "give one of them")  # fmt: skip
    encoded = encode_texts(preparation, texts) if file is None else encode_file(preparation, file, progress)
    with readable(folder, expected="a network that fits its preparation", do="use another copy"):
        if preparation.kind == "language_model" and isinstance(network, torch.nn.Module):
            figures = objectives.evaluate(network, encoded.split, "language_model", 1)
            return {"predictions": [{"perplexity": figures["perplexity"], "loss": figures["loss"]}]}
        with torch.inference_mode():
            outputs = list(_outputs(network, encoded))
        made = answers.predictions(preparation, encoded, outputs)
    scores = answers.scores(preparation, encoded, made)
    told = answers.remarks(encoded, scores)
    predicted: Predicted = {"predictions": made}
    if scores:
        predicted["scores"] = scores
    if told:
        predicted["remarks"] = told
    return predicted


def _read(folder: Path) -> tuple[Preparation, Network]:
    """How a file becomes input, and the network."""
    if folder.is_dir() and (folder / NETWORK).is_file() and isinstance(runtime.load_any(folder / NETWORK), GramNetwork):
        folder = folder / NETWORK
    if folder.is_dir():
        run = find_run(folder)
        preparation, (_, data) = read_preparation(run), described(run)
        _check_sizes(preparation, data["inputs"], data["outputs"], run)
        return preparation, read_final(run).eval()
    packed = runtime.load_any(folder)
    if not packed.preparation or packed.kind == "language_model":
        raise UserError(
            f"{folder} does not say how a file becomes its input",
            "a network with labels or forecasts that `sparsernn train` made",
            "pack a run that `sparsernn train` left, or give the run's folder",
        )

    def network(inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return torch.from_numpy(packed.run(inputs.numpy(), None if lengths is None else lengths.numpy()))

    with readable(folder, expected="a network that `sparsernn train` made", do="pack the run again"):
        preparation = Preparation.from_json(parsed(packed.preparation))
    if isinstance(packed, GramNetwork):
        if packed.labels != preparation.labels or not isinstance(encoder_from_json(preparation.tokenizer), GramEncoder):
            raise UserError(
                f"The preparation of {folder} is not that of its network",
                "both as one training left them",
                "use another copy of the file",
            )
        return preparation, network
    words = packed.spec.embedding if packed.spec.rows is None else packed.spec.rows
    _check_sizes(preparation, packed.inputs if words is None else len(words), packed.outputs, folder)
    return preparation, network


def _check_sizes(preparation: Preparation, inputs: int, outputs: int, folder: Path) -> None:
    """Raises: UserError if a preparation is not that of a network with such inputs and outputs."""
    words = len(encoder_from_json(preparation.tokenizer).words) if preparation.tokenizer else 0
    sizes = words or preparation.inputs, preparation.outputs or words
    if sizes != (inputs, outputs):
        raise UserError(
            f"The preparation of {folder} is for {sizes[0]} inputs and {sizes[1]} outputs, its network for {inputs}"
            f" and {outputs}",
            "both as one training left them",
            "use another copy of the run",
        )


def _outputs(network: Network, encoded: Encoded) -> Iterator[np.ndarray]:
    """What the network gives for each example: [classes], [steps classes] or [horizon]."""
    counts = iter((encoded.ends - encoded.starts).tolist())
    for inputs, lengths in encoded.batches(BATCH):
        arguments = [torch.from_numpy(one) for one in (inputs, lengths) if one is not None]
        outputs = network(*arguments).numpy()
        steps = outputs.reshape(len(outputs), -1, outputs.shape[-1]) if outputs.ndim > 2 else outputs
        yield from (row[:count] if outputs.ndim > 2 else row for row, count in zip(steps, counts, strict=False))
