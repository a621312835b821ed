"""Series with a label for every step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sparsernn.experiments.rows import Row
from sparsernn.own_data.features import simple
from sparsernn.own_data.kinds.kind import BATCH, Choice, File, Wishes, majority, targets_of
from sparsernn.own_data.kinds.series import IN_BLOCKS, SPARSITY, Labelled
from sparsernn.own_data.scored import Scored
from sparsernn.own_data.verdict import Answers
from sparsernn.training.objectives import IGNORED


class Tagging(Labelled):
    """Logistic regression on a step and its running figures, and a network that reads frames of them both ways."""

    about = "logistic regression on running means and deviations"
    choice = Choice(
        "tagger",
        32,
        16,
        1000,
        {"bidirectional": True, "dropout": 0.2, "noise": 0.1},
        sparsity=SPARSITY,
        pruning=IN_BLOCKS,
    )

    def baselines(self, file: File) -> list[Scored]:
        return [majority(file), simple(file.loaded)]

    def rows(self, file: File, wishes: Wishes) -> list[Row]:
        at_once = {"at_once": max(1, file.preparation.patch)}
        return [replace(row, options={**row.options, **at_once}) for row in super().rows(file, wishes)]

    def answers(self, file: File) -> Answers:
        lengths = [int(row) for batch in file.loaded.test.batches(BATCH) for row in scored_steps(batch.targets)]
        units = np.repeat(np.arange(len(lengths)), lengths)
        return Answers("accuracy", targets_of(file.loaded.test), file.loaded.labels, units)

    def outputs(self, file: File, batches: list[torch.Tensor]) -> np.ndarray:
        targets = [batch.targets for batch in file.loaded.test.batches(BATCH)]
        scored = [batch[right[:, : batch.shape[1]] != IGNORED] for batch, right in zip(batches, targets, strict=True)]
        return super().outputs(file, scored)


def scored_steps(targets: torch.Tensor) -> torch.Tensor:
    """How many steps of each series have a target."""
    return (targets != IGNORED).flatten(1).sum(1)


KIND = Tagging()
