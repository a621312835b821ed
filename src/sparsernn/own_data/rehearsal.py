"""A rehearsal: every network of a training is built and its method begun, so that what cannot be is refused at once."""

from __future__ import annotations

from collections.abc import Iterable

from sparsernn.errors import UserError
from sparsernn.experiments import network
from sparsernn.experiments.rows import Row
from sparsernn.own_data.kinds.kind import File
from sparsernn.training import loop

MOST_NUMBERS = 1 << 28
"""Of a network; with its gradients and an optimizer's memory they take 4 GB."""


def rehearse(rows: Iterable[Row], file: File, seed: int) -> None:
    """Begin the training of each row on the file, and let go of it; nothing is written, and nothing drawn.

    Raises: UserError for a network or a method that cannot be had.
    """
    data = network.describe(file.loaded)
    for row in rows:
        row = row.seeded(seed)
        with network.skeletons():
            numbers = sum(weight.numel() for weight in network.build(row, data).parameters())
        if numbers > MOST_NUMBERS:
            raise UserError(
                f"the {row.name.replace('_', ' ')} network would have {numbers:,} numbers",
                f"at most {MOST_NUMBERS:,}",
                "choose fewer --units",
            )
        model = network.build(row, data, seed)
        loop.rehearse(
            model, file.sampled.train, objective=file.loaded.objective, method=row.method, settings=row.settings
        )
