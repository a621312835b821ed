"""A forecaster that begins as ridge regression on the last window."""

from dataclasses import dataclass

import torch

from sparsernn.errors import UserError
from sparsernn.experiments import ridge
from sparsernn.experiments.rows import Prepared, Runs, Source
from sparsernn.models.forecaster import Forecaster


@dataclass(frozen=True)
class RidgeSkip(Source):
    """Begin as ridge regression: its weights stay as they are, and the network learns what it leaves over.

    Arguments:
        share: of the steps of a window that the regression reads, at least.
        near: more of them are read as far as the error on validation would else be more than this above the smallest,
            as a part of it; 0 reads no more.
    """

    share: float = 1.0
    near: float = 0.0
    decides = "first weights"

    def describe(self) -> str:
        more = " or more" if self.near else ""
        return "beside ridge regression" + ("" if self.share == 1 else f" on {self.share:.0%}{more} of the window")

    @torch.no_grad()
    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        network, loaded = prepared.network, prepared.loaded
        if not isinstance(network, Forecaster) or not network.window:
            raise UserError(
                f"row {prepared.row.name!r} has no place for a regression",
                "a forecaster with a window",
                "set model.window to that of the task",
            )
        biases = []
        for number, weight in enumerate(network.skips.parameters()):
            train, valid = ridge.of_column(loaded.train, number), ridge.of_column(loaded.valid, number)
            fitted = ridge.thrifty(train, valid, ridge.Reading(), self.share, self.near)
            weight.copy_(torch.from_numpy(fitted.weights.T))
            weight.requires_grad_(False)
            biases.append(torch.from_numpy(fitted.bias))
        network.head.weight.zero_()
        network.head.bias.copy_(torch.cat(biases))
        return prepared
