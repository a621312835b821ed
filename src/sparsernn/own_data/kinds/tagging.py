"""Series with a label for every step."""

from __future__ import annotations

import numpy as np
import torch

from sparsernn.own_data.kinds.kind import BATCH, Choice, File, targets_of
from sparsernn.own_data.kinds.series import Series
from sparsernn.own_data.verdict import Answers
from sparsernn.training.objectives import IGNORED


class Tagging(Series):
    """Logistic regression on a step's values, and a network that reads both ways; the steps of a piece go together."""

    about = "logistic regression on the values of a step"
    choice = Choice("tagger", 64, 16, 800, {"bidirectional": True, "dropout": 0.2})

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
    return (targets != IGNORED).sum(1)


KIND = Tagging()
