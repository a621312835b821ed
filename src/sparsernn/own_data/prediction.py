"""A trained run applied to another file: the file's own labels, with probabilities, in the order of its rows."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from sparsernn import durable, runtime
from sparsernn.data.grams import GramEncoder
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.data.table_file import encode_file
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.data.text import encoder_from_json
from sparsernn.errors import UserError
from sparsernn.experiments.compacted import arguments, read_final
from sparsernn.experiments.trained import described
from sparsernn.harmless import cell
from sparsernn.own_data.kinds.kind import NETWORK
from sparsernn.own_data.runs import find_run, read_preparation
from sparsernn.reading import parsed, readable
from sparsernn.runtime.grams import GramNetwork
from sparsernn.training import objectives

BATCH = 256
Prediction = dict[str, object]


def predict(folder: Path, file: Path, progress: Progress = no_progress) -> dict[str, list[Prediction]]:
    """Predictions for every row (or series, or window) of a file.

    Arguments:
        folder: what `sparsernn train` printed, one run in it, or a file of such a run that `sparsernn pack` wrote.
        file: like the file trained on; its label column may be absent.
    Returns: {"predictions": [...]}: for labels {"label", "probability", "probabilities"}; for a forecast
        {"forecast": [...]} in the file's own unit; both with "id" where series have one; for a language model its
        perplexity.
    Raises: UserError for a folder or file that does not fit.
    """
    preparation, network = _read(folder)
    encoded = encode_file(preparation, file, progress)
    with readable(folder, expected="a network that fits its preparation", do="use another copy"):
        return {"predictions": _predictions(preparation, network, encoded)}


def _predictions(preparation: Preparation, network: Callable[..., torch.Tensor], encoded: Encoded) -> list[Prediction]:
    if preparation.kind == "language_model" and isinstance(network, torch.nn.Module):
        figures = objectives.evaluate(network, encoded.split, "language_model", 1)
        return [{"perplexity": figures["perplexity"], "loss": figures["loss"]}]
    with torch.inference_mode():
        outputs = list(_outputs(network, encoded))
    if preparation.kind == "forecast":
        forecasts = [{"forecast": preparation.unscaled(output.numpy()).tolist()} for output in outputs]
        return _identified(encoded, forecasts)
    probabilities = [output.double().softmax(-1).numpy() for output in outputs]
    return _labels(preparation, encoded, probabilities)


def _read(folder: Path) -> tuple[Preparation, Callable[..., torch.Tensor]]:
    """How a file becomes input, and the network."""
    if folder.is_dir() and (folder / NETWORK).is_file() and isinstance(runtime.load(folder / NETWORK), GramNetwork):
        folder = folder / NETWORK
    if folder.is_dir():
        run = find_run(folder)
        preparation, (_, data) = read_preparation(run), described(run)
        _check_sizes(preparation, data["inputs"], data["outputs"], run)
        return preparation, read_final(run).eval()
    packed = runtime.load(folder)
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
    words, head = packed.spec.embedding if packed.spec.rows is None else packed.spec.rows, packed.spec.head
    inputs = packed.layers[0].inputs if words is None else len(words)
    outputs = packed.layers[-1].hidden if head is None else len(head) // packed.spec.at_once
    _check_sizes(preparation, inputs, outputs, folder)
    return preparation, network


def _check_sizes(preparation: Preparation, inputs: int, outputs: int, folder: Path) -> None:
    """Raises: UserError if a preparation is not that of a network with such inputs and outputs."""
    words = len(encoder_from_json(preparation.tokenizer).words) if preparation.tokenizer else 0
    sizes = words or preparation.inputs, len(preparation.labels) or preparation.horizon or words
    if sizes != (inputs, outputs):
        raise UserError(
            f"The preparation of {folder} is for {sizes[0]} inputs and {sizes[1]} outputs, its network for {inputs}"
            f" and {outputs}",
            "both as one training left them",
            "use another copy of the run",
        )


def _outputs(network: Callable[..., torch.Tensor], encoded: Encoded) -> Iterator[torch.Tensor]:
    """One tensor an example: [classes], [steps classes] or [horizon]."""
    for batch in encoded.split.batches(BATCH):
        outputs = network(*arguments(batch))
        if outputs.dim() == 2:
            yield from outputs
            continue
        scored = (batch.targets != objectives.IGNORED).flatten(1)
        yield from (row[inside] for row, inside in zip(outputs.flatten(1, -2), scored, strict=True))


def _labels(preparation: Preparation, encoded: Encoded, probabilities: list[np.ndarray]) -> list[Prediction]:
    if encoded.rows is None:
        return _identified(encoded, [_label(preparation, one) for one in probabilities])
    steps = np.concatenate(probabilities)
    ordered = np.empty_like(steps)
    ordered[encoded.rows] = steps
    return [_label(preparation, one) for one in ordered]


def _identified(encoded: Encoded, predictions: list[Prediction]) -> list[Prediction]:
    """With the ids of the series, where they have any."""
    if not any(encoded.names):
        return predictions
    return [{"id": name, **one} for name, one in zip(encoded.names, predictions, strict=True)]


def _label(preparation: Preparation, probabilities: np.ndarray) -> Prediction:
    best = int(probabilities.argmax())
    named = {label: float(value) for label, value in zip(preparation.labels, probabilities, strict=True)}
    return {"label": preparation.labels[best], "probability": named[preparation.labels[best]], "probabilities": named}


def write_csv(predictions: list[Prediction], path: Path) -> None:
    """One row a prediction: label and a column of probability per label, or the forecast values.

    A label that a spreadsheet would run as a formula begins with an apostrophe; control characters are spelled out.
    Raises: UserError if the file cannot be written; it is written whole or not at all.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    rows = [_flat(one) for one in predictions]
    writer.writerow(map(cell, rows[0] if rows else ["label"]))
    writer.writerows(map(cell, row.values()) for row in rows)
    durable.replace(path, text.getvalue())


def _flat(prediction: Prediction) -> Prediction:
    """Every value in a column of its own."""
    cells: Prediction = {}
    for key, value in prediction.items():
        if isinstance(value, dict):
            cells |= {f"p({label})": probability for label, probability in value.items()}
        elif isinstance(value, list):
            cells |= {f"t+{step}": forecast for step, forecast in enumerate(value, 1)}
        else:
            cells[key] = value
    return cells
