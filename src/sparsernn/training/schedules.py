"""Learning-rate schedules: pure functions of what has happened so far, so there is no state to save."""

import math
from collections.abc import Sequence

from sparsernn.training.settings import Settings


def rate_factor(settings: Settings, epoch: int, done: float, losses: Sequence[float]) -> float:
    """What the learning rate is multiplied by in a step: by the schedule, and less while warming up.

    Arguments:
        epoch: number of the epoch, from 1.
        done: fraction of all steps already done.
        losses: validation losses (training losses where nothing is validated) of the epochs before.
    """
    risen = min(1.0, done / settings.warm_up) if settings.warm_up else 1.0
    return risen * _scheduled(settings, epoch, done, losses)


def _scheduled(settings: Settings, epoch: int, done: float, losses: Sequence[float]) -> float:
    if settings.schedule == "step":
        return settings.decay ** math.ceil(max(0, epoch - settings.decay_after) / settings.decay_every)
    if settings.schedule == "plateau":
        return settings.decay ** epochs_without_improvement(losses)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    return 1.0


def epochs_without_improvement(losses: Sequence[float]) -> int:
    """How many of the losses, in order, were no lower than the lowest before them."""
    failed, lowest = 0, math.inf
    for loss in losses:
        failed += not loss < lowest
        lowest = min(lowest, loss)
    return failed
