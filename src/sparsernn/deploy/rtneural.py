"""Small recurrent networks as the JSON that RTNeural, a library for audio, reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from sparsernn import durable
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.deploy.parts import Layer, parts_of_network, reordered
from sparsernn.errors import UserError

ORDERS = {LSTM(): ("lstm", (0, 1, 2, 3)), GRU(): ("gru", (1, 0, 2))}
"""Cells that it has, their names there, and for each of its gates the number of the cell's."""


def export_rtneural(model_or_artifact: Any, path: Path | str, example: Any = None) -> dict[str, Any]:
    """Write an LSTM or GRU and its linear head in the layout of Keras, which RTNeural's `parseJson` reads.

    Arguments:
        model_or_artifact, example: see `c_source.export_c`.
    Returns: what was written.
    Raises: UserError for another cell, an embedding, or a forecast of a change.
    """
    parts = parts_of_network(model_or_artifact, example)
    if parts.embedding is not None or parts.residual is not None:
        raise UserError(
            "RTNeural reads no words and adds no input to the output", "an LSTM or GRU and a linear head",
            "export it by export_c",
        )  # fmt: skip
    layers = [_layer(layer) for layer in parts.layers]
    if parts.head is not None:
        bias = np.zeros(len(parts.head)) if parts.bias is None else parts.bias
        layers.append(_described("dense", "", len(parts.head), [parts.head.T, bias]))
    if parts.filled is not None:
        places = np.where(parts.filled < 0, 0, np.arange(parts.filled.max() + 1)[:, None] == parts.filled)
        layers.append(_described("dense", "", len(parts.filled), [places, np.zeros(len(parts.filled))]))
    content = {"in_shape": [None, None, parts.layers[0].sizes["input"]], "layers": layers}
    durable.replace(path, json.dumps(content))
    return content


def _layer(layer: Layer) -> dict[str, Any]:
    if layer.cell not in ORDERS:
        raise UserError(
            f"RTNeural has no {layer.cell!r}",
            "an LSTM, or a GRU that resets after the product",
            "export it by export_c",
        )
    name, order = ORDERS[layer.cell]
    weights = {local: reordered(weight, order) for local, weight in layer.weights.items()}
    height = len(weights["weight_ih"])
    biases = [weights.get(local, np.zeros(height)) for local in ("bias_ih", "bias_hh")]
    bias = np.stack(biases) if name == "gru" else biases[0] + biases[1]
    matrices = [weights["weight_ih"].T, weights["weight_hh"].T, bias]
    return _described(name, "tanh", layer.sizes["hidden"], matrices)


def _described(kind: str, activation: str, width: int, weights: list[np.ndarray]) -> dict[str, Any]:
    numbers = [array.astype(float).tolist() for array in weights]
    return {"type": kind, "activation": activation, "shape": [None, None, width], "weights": numbers}
