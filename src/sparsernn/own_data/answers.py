"""What a network says of another file, in the words and units of the file: predictions, scores and a table of them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from sparsernn import durable
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.data.table_rows import rows_of
from sparsernn.data.task import are_known
from sparsernn.errors import UserError
from sparsernn.harmless import cell

Prediction = dict[str, object]


class Predicted(TypedDict):
    """Predictions, how well they fit the labels of the file, where it has any, and what is to be said of it."""

    predictions: list[Prediction]
    scores: NotRequired[dict[str, float]]
    remarks: NotRequired[list[str]]


def predictions(preparation: Preparation, encoded: Encoded, outputs: Sequence[np.ndarray]) -> list[Prediction]:
    """One for every example, or for every file row where each step has a label, in the order of the file.

    One that could not be read has the same entries, all None.

    Arguments:
        outputs: what the network gave for each example: [classes] or [steps classes] before the softmax, [1] for a
            number, [targets * horizon] for a forecast.
    """
    if preparation.kind == "forecast":
        made = [_forecast(preparation, encoded, place, output) for place, output in enumerate(outputs)]
    elif preparation.label_scale:
        made = [{"value": value} for value in map(float, preparation.unscaled(np.concatenate(outputs)))]
    else:
        made = _labels(preparation, _scores_of_rows(encoded, outputs))
    made: list[Prediction] = [_emptied(one) if place in encoded.faults else one for place, one in enumerate(made)]
    if not any(encoded.names):
        return made
    return [{"id": name, **one} for name, one in zip(encoded.names, made, strict=True)]


def _scores_of_rows(encoded: Encoded, outputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The scores of every example, or of every file row where each step has a label."""
    if encoded.rows is None:
        return outputs
    steps = np.concatenate(outputs)
    ordered = np.zeros((int(encoded.rows.max()) + 1, steps.shape[1]))
    ordered[encoded.rows] = steps
    return list(ordered)


def _labels(preparation: Preparation, scores: Sequence[np.ndarray]) -> list[Prediction]:
    labels, table = preparation.labels, np.asarray(scores, np.float64)
    if not len(table):
        return []
    shares = np.exp(table - table.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return [
        {"label": labels[best], "probability": row[best], "probabilities": dict(zip(labels, row, strict=True))}
        for best, row in zip(shares.argmax(-1).tolist(), shares.tolist(), strict=True)
    ]


def _forecast(preparation: Preparation, encoded: Encoded, place: int, output: np.ndarray) -> Prediction:
    values = preparation.unscaled(output.astype(np.float64)).reshape(preparation.targets, -1).tolist()
    names = preparation.columns.get("series", [])[: preparation.targets]
    forecast = values[0] if preparation.targets == 1 else dict(zip(names, values, strict=True))
    return {"forecast": forecast, **({"times": list(encoded.times[place])} if encoded.times else {})}


def _emptied(prediction: object) -> Prediction:
    """The same entries without values."""
    if not isinstance(prediction, dict):
        raise TypeError(prediction)
    return {name: _nothing(value) for name, value in prediction.items()}


def _nothing(value: object) -> object:
    if isinstance(value, dict):
        return _emptied(value)
    return [None] * len(value) if isinstance(value, list) else None


def scores(preparation: Preparation, encoded: Encoded, made: Sequence[Prediction]) -> dict[str, float]:
    """How well predictions fit the labels of the file, over the rows that have a known one; nothing without any."""
    if encoded.targets is None or not encoded.labelled:
        return {}
    targets = np.asarray(encoded.targets)
    if encoded.rows is not None:
        targets = np.empty_like(targets)
        targets[encoded.rows] = encoded.targets
    usable = are_known(targets)
    usable[list(encoded.faults)] = False
    rows = np.flatnonzero(usable).tolist()
    if not rows:
        return {}
    if preparation.label_scale:
        errors = np.array([made[row]["value"] for row in rows], np.float64) - targets[rows]
        rmse, mae = float(np.sqrt(np.square(errors).mean())), float(np.abs(errors).mean())
        return {"rows": len(rows), "rmse": rmse, "mae": mae}
    right = [made[row]["label"] == preparation.labels[targets[row]] for row in rows]
    return {"rows": len(rows), "accuracy": float(np.mean(right))}


def remarks(encoded: Encoded, figures: dict[str, float]) -> list[str]:
    """What is to be said beside predictions: of the file, of rows without one, and how well the others fit."""
    told = list(encoded.remarks)
    if encoded.faults:
        first = next(iter(encoded.faults.values()))
        count = f"{len(encoded.faults):,} series" if encoded.kind == "forecast" else rows_of(len(encoded.faults))
        told.append(f"{count} without a prediction: {first}{', ...' * (len(encoded.faults) > 1)}")
    scored = rows_of(int(figures.get("rows", 0)))
    if "accuracy" in figures:
        told.append(f"{100 * figures['accuracy']:.1f} % of {scored} with a known label are right")
    elif figures:
        told.append(f"root mean squared error {figures['rmse']:.4g} over {scored} with a number")
    return told


def check_apart(out: Path, *inputs: Path | None) -> None:
    """Raises: UserError if predictions would be written over a file that is read, through links as well."""
    for path in filter(None, inputs):
        same = out.resolve() == path.resolve() or out.exists() and path.exists() and os.path.samefile(out, path)
        within = path.is_dir() and out.exists() and path.resolve() in out.resolve().parents and out.suffix != ".csv"
        if same or within:
            raise UserError(f"--out {out} is a file that is read", "another file for the predictions", "rename it")


def write_csv(made: Sequence[Prediction], path: Path) -> None:
    """One row a prediction: label and a column of probability per label, a value, or the forecast values.

    A label that a spreadsheet would run as a formula begins with an apostrophe; control characters are spelled out.
    Raises: UserError if the file cannot be written; it is written whole or not at all.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    rows = [_flat(one) for one in made]
    writer.writerow(map(cell, rows[0] if rows else ["label"]))
    writer.writerows(["" if value is None else cell(value) for value in row.values()] for row in rows)
    durable.replace(path, text.getvalue())


def _flat(prediction: Prediction) -> dict[str, object]:
    """Every value in a column of its own."""
    cells: dict[str, object] = {}
    for key, value in prediction.items():
        if key == "forecast" and isinstance(value, dict):
            cells |= {f"{name} t+{step}": one for name, values in value.items() for step, one in enumerate(values, 1)}
        elif key == "times" and isinstance(value, list):
            cells |= {f"time t+{step}": time for step, time in enumerate(value, 1)}
        elif isinstance(value, dict):
            cells |= {f"p({label})": probability for label, probability in value.items()}
        elif isinstance(value, list):
            cells |= {f"t+{step}": forecast for step, forecast in enumerate(value, 1)}
        else:
            cells[key] = value
    return cells
