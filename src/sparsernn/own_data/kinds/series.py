"""Series with a label each, a row a step or a row a series."""

from __future__ import annotations

import dataclasses
from typing import Any

from sparsernn.experiments.rows import Row
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.method import Method
from sparsernn.own_data.features import LEAST_VALIDATED, kernels, simple
from sparsernn.own_data.kinds.kind import BATCH, Choice, File, Kind, Wishes, majority, targets_of
from sparsernn.own_data.scored import Scored
from sparsernn.own_data.verdict import Answers
from sparsernn.training.settings import Settings

BATCH_SIZE = 32
MOST_UPDATES, MANY = 2_500, 5_000
LEAST_BATCHES = 50  # in an epoch
WARM_UP = 0.1


def lasting(file: File, updates: int, epochs: int, **options: Any) -> Settings:
    """Training for so many updates, or epochs where these are asked for, with an average of the weights.

    Arguments:
        options: of the settings.
    """
    size = options.get("batch_size", BATCH_SIZE)
    batches = max(1, file.sampled.train.number_of_batches(size))
    passes = 1 if epochs else -(-LEAST_BATCHES // batches)
    common: dict[str, Any] = {
        "optimizer": "averaged_adamw",
        "learning_rate": 3e-3,
        "weight_decay": 1e-3,
        "batch_size": size,
        "valid_batch_size": BATCH,
        "epochs": epochs or -(-updates // (batches * passes)),
        "passes": passes,
        "clip": 1.0,
        "schedule": "cosine",
        "warm_up": WARM_UP,
        "loggers": ("csv",),
    }
    return Settings(**{**common, **options})


class Series(Kind):
    """Simple features or random kernels with a linear model, and a small network that reads patches both ways."""

    about = "simple features, or random kernels, with a linear model"
    choice = Choice(
        "classifier", 32, 16, 1000, {"bidirectional": True, "pool": "mean_max_last", "dropout": 0.2, "noise": 0.1}
    )

    def baselines(self, file: File) -> list[Scored]:
        both = [simple(file.loaded), kernels(file.loaded)]
        first, second = sorted(both, key=lambda one: -one.valid)
        return [majority(file), first, dataclasses.replace(second, name="other_baseline")]

    def answers(self, file: File) -> Answers:
        return Answers("accuracy", targets_of(file.loaded.test), file.loaded.labels)

    def settings(self, file: File, epochs: int) -> Settings:
        updates = self.choice.steps if len(file.loaded.train) < MANY else MOST_UPDATES
        keep = "lowest_loss" if len(file.loaded.valid) >= LEAST_VALIDATED else "last"
        return lasting(file, updates, epochs, keep=keep)

    def rows(self, file: File, wishes: Wishes) -> list[Row]:
        return super().rows(file, dataclasses.replace(wishes, method=in_blocks(wishes.method)))


def in_blocks(method: Method) -> Method:
    """Magnitude pruning of a small network: fewer weights in blocks, and late enough for them to be told apart."""
    if method != Magnitude(0.9):
        return method
    return Magnitude(0.75, granularity="16x4", start=0.2, stop=0.7)


KIND = Series()
