"""What the page shows beside the verdict: how far probabilities can be trusted, each class, and forecasts drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sparsernn.own_data.scored import Scored
from sparsernn.own_data.verdict import Answers, recalls_of

BINS = 10
LEAST_IN_BIN = 5
MOST_COLUMNS = 4
SHOWN = (0.25, 0.5, 0.75)
"""Which windows are drawn: those at these quantiles of the saved network's error."""


def evidence(answers: Answers, scored: Sequence[Scored], saved: str) -> dict[str, object]:
    """Plain values for pictures, by what they show; what a kind of file does not have is left out."""
    by_name = {one.name: one for one in scored}
    if answers.metric == "accuracy":
        shown = [name for name in ("baseline", "dense", saved) if name in by_name]
        return {
            "recalls": {name: recalls_of(answers, by_name[name]) for name in dict.fromkeys(shown)},
            "reliability": {
                name: reliability(by_name[name].outputs, answers.losses(by_name[name].outputs))
                for name in dict.fromkeys(shown)
            },
        }
    if answers.metric == "rmse" and answers.targets.ndim == 2:
        if not answers.columns:
            return of_forecasts(answers, scored, saved)
        parts = {
            name: (
                replace(answers, targets=answers.targets[:, place], columns=()),
                [replace(one, outputs=one.outputs[:, place]) for one in scored],
            )
            for name, place in answers.by_column()[:MOST_COLUMNS]
        }
        return {"columns": {name: of_forecasts(*part, saved) for name, part in parts.items()}}
    return {}


def of_forecasts(answers: Answers, scored: Sequence[Scored], saved: str) -> dict[str, object]:
    """The errors by step and some forecasts of one column."""
    steps = {one.name: answers_by_step(answers, one) for one in scored} if answers.targets.shape[1] > 1 else {}
    return {"error_by_step": steps, "forecasts": forecasts(answers, {one.name: one for one in scored}, saved)}


def reliability(outputs: np.ndarray, right: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean probability of what was said, share that was right, rows) of bins of as many rows each.

    Source: Guo et al. 2017, On calibration of modern neural networks, "Reliability diagrams".
    """
    confidence = outputs.max(-1)
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, max(1, min(BINS, len(order) // LEAST_IN_BIN)))
    return [(float(confidence[rows].mean()), float(right[rows].mean()), len(rows)) for rows in bins if len(rows)]


def answers_by_step(answers: Answers, one: Scored) -> list[float]:
    """Root mean squared error of each step ahead."""
    return np.sqrt(np.square(one.outputs - answers.targets).mean(0)).tolist()


def forecasts(answers: Answers, by_name: dict[str, Scored], saved: str) -> list[dict[str, list[float]]]:
    """What came, what was forecast and what the baseline forecast, for some windows from good to bad."""
    order = np.argsort(answers.losses(by_name[saved].outputs), kind="stable")
    windows = [order[int(place * (len(order) - 1))] for place in SHOWN]
    names = [name for name in ("baseline", saved) if name in by_name]
    return [
        {"truth": answers.targets[one].tolist(), **{name: by_name[name].outputs[one].tolist() for name in names}}
        for one in dict.fromkeys(int(window) for window in windows)
    ]
