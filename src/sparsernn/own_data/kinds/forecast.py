"""Series whose next values are forecast."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsernn.experiments import ridge
from sparsernn.experiments.naive import error, naive, period_of
from sparsernn.experiments.ridge import Reading, of_column, windows_of
from sparsernn.experiments.rows import Row
from sparsernn.experiments.sources.ridge_skip import RidgeSkip
from sparsernn.models.forecaster import Forecaster
from sparsernn.own_data.kinds.kind import BATCH, KEPT, Choice, File, Kind, Try, Wishes, targets_of
from sparsernn.own_data.kinds.series import BATCH_SIZE, IN_BLOCKS, MANY, SPARSITY, lasting, packed_as
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.own_data.verdict import Answers
from sparsernn.training.settings import Settings

LEAST_UNIT = 24
MOST_VALUES = 2_000
SHARES = np.linspace(0, 1, 11)
SPARSE_WINDOW, NEAR = 0.25, 0.02  # of a window that is read; how much the mean square may rise for that
WINDOW_ALONE = 0.25  # the scale below which what the regression reads gets smaller as well


class Forecast(Kind):
    """The values a period ago or ridge regression on the last window, and a network that adds to that regression."""

    about = "the values a period ago, or ridge regression on the last window"
    choice = Choice("forecaster", 32, 16, 1000, {"dropout": 0.1, "residual": 0}, sparsity=SPARSITY, pruning=IN_BLOCKS)

    def baselines(self, file: File) -> list[Scored]:
        test, unscaled = windows_of(file.loaded.test), file.preparation.unscaled
        both = sorted([seasonal(file), regression(file)], key=lambda one: one.valid)
        return [
            Scored("majority", "the last value", unscaled(naive(test, 1))),
            both[0],
            replace(both[1], name="other_baseline"),
        ]

    def answers(self, file: File) -> Answers:
        right, several = file.preparation.unscaled(targets_of(file.loaded.test)), file.preparation.targets
        units = np.arange(len(right)) // max(file.preparation.horizon, LEAST_UNIT)
        columns = file.preparation.columns.get("series", [])[:several] if several > 1 else ()
        return Answers("rmse", right, units=units, columns=columns)

    def settings(self, file: File, epochs: int) -> Settings:
        size = BATCH_SIZE if len(file.loaded.train) < MANY else 2 * BATCH_SIZE
        return lasting(file, self.choice.steps, epochs, batch_size=size, learning_rate=1e-3)

    def rows(self, file: File, wishes: Wishes) -> list[Row]:
        rows = super().rows(file, wishes)
        share = min(1.0, SPARSE_WINDOW * (min(1.0, wishes.scale / WINDOW_ALONE) if wishes.scale < 1 else wishes.scale))
        near = 0.0 if file.most else NEAR
        skips = {"sparse": RidgeSkip(share, near), "small_dense": RidgeSkip(share, near)}
        options = {"window": file.preparation.window, "several": file.preparation.targets}
        return [
            replace(row, options={**row.options, **options}, sources=(skips.get(row.name, RidgeSkip()),))
            for row in rows
        ]

    def units_at(self, units: int, scale: float) -> int:
        """No more than are usual: above a scale of 1 the regression reads more."""
        return super().units_at(units, min(1.0, scale))

    def tries(self, file: File, wishes: Wishes) -> list[Try]:
        """With the denser ones the regression reads more of the window as well, at last all of it."""
        return [
            one._replace(wishes=replace(one.wishes, scale=max(1.0, 2 * part)))
            for one, part in zip(super().tries(file, wishes), KEPT, strict=True)
        ]

    def answered(self, file: File, name: str, folder: Path, out: Path, beside: Any) -> Scored:
        return packed_as(self, name, file, folder, out)

    def network(self, file: File, folder: Path) -> torch.nn.Module:
        """The trained network, its recurrent part weighed by what is best on validation: 0 leaves the regression."""
        network = super().network(file, folder)
        if isinstance(network, Forecaster) and network.window:
            weigh(network, file)
        return network

    def outputs(self, file: File, batches: list[torch.Tensor]) -> np.ndarray:
        return file.preparation.unscaled(torch.cat(batches).double().numpy())


@torch.inference_mode()
def weigh(network: Forecaster, file: File) -> None:
    """Multiply what the recurrent part adds, but not the bias, by the share that is best on validation, in place."""
    whole, right = outputs_of(network, file), torch.from_numpy(targets_of(file.loaded.valid))
    weight = network.head.weight.clone()
    network.head.weight.zero_()
    without = outputs_of(network, file)
    errors = [float((without + share * (whole - without) - right).square().mean()) for share in SHARES]
    network.head.weight.copy_(float(SHARES[int(np.argmin(errors))]) * weight)


def outputs_of(network: Forecaster, file: File) -> torch.Tensor:
    """Forecasts for the validation windows. [window horizon]"""
    return torch.cat([network(batch.inputs) for batch in file.loaded.valid.batches(BATCH)])


def seasonal(file: File) -> Scored:
    """The values a period ago, found on training windows, or the last value, whichever validation prefers."""
    train, valid, test = map(windows_of, (file.loaded.train, file.loaded.valid, file.loaded.test))
    period = min(1, period_of(train), key=lambda period: error(valid, period))
    about = "the last value" if period == 1 else f"the values {period} steps ago"
    return Scored("baseline", about, file.preparation.unscaled(naive(test, period)), valid=error(valid, period))


def regression(file: File) -> Scored:
    """Ridge regression on the last window, for each column in the form that validation prefers."""
    test = windows_of(file.loaded.test)
    several = 1 < test.series.shape[1] <= MOST_VALUES // test.window
    readings = [Reading(changes, every) for every in (False, True)[: 1 + several] for changes in (True, False)]
    columns = range(test.several)
    parts = [[of_column(split, number) for number in columns] for split in (file.loaded.train, file.loaded.valid, test)]
    fits = [ridge.best(train, valid, readings) for train, valid in zip(parts[0], parts[1], strict=True)]
    first = next(test.batches(1)).inputs.numpy()
    return Scored(
        "baseline",
        "ridge regression on the last window" + (" of all columns" if any(one.reading.every for one in fits) else ""),
        file.preparation.unscaled(
            np.concatenate([one.forecast(split) for one, split in zip(fits, parts[2], strict=True)], 1)
        ),
        len(pickle.dumps([(one.weights.astype(np.float32), one.bias.astype(np.float32)) for one in fits])),
        microseconds(lambda: [one.of(first, split.target) for one, split in zip(fits, parts[2], strict=True)]),
        float(np.mean([one.error for one in fits])),
    )


KIND = Forecast()
