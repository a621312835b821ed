"""Engine: prune by score. What is gone never grows back."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.methods.parts.rescaling import Rescaling, check_rescaling
from sparsernn.methods.parts.schedules import RAMPS, check_fires, choose, steps_between
from sparsernn.methods.parts.scores import best
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.budget import check_fraction, check_sparsity, settle
from sparsernn.structure.choice import top
from sparsernn.structure.groups import Groups

SCOPES = ("uniform", "global")


def prune_to(run: Sparsifier, groups: Groups, scores: Tensor, sparsity: float, scope: str) -> None:
    """Keep the best-scored groups so that exactly `sparsity` of them are absent; absent ones stay absent.

    Arguments:
        scores: larger is better. [groups.count]
        scope: "uniform" gives every family (tensor, gate or layer) the same sparsity, "global" ranks them together.
    """
    kept = groups.kept(run.masks)
    scores = torch.where(kept, groups.in_line(scores), torch.full_like(scores, -torch.inf))
    sizes = [family.size for family in groups.families]
    total = round((1 - sparsity) * groups.count)
    if scope == "global":
        chosen = best(groups, scores, total)
    else:
        counts = settle([(1 - sparsity) * size for size in sizes], sizes, max(total, 1))
        parts = [
            top(scores[family.start : family.stop], max(count, 1))
            for family, count in zip(groups.families, counts, strict=True)
        ]
        chosen = torch.cat(parts)
    chosen &= kept
    run.changed("prune", died=run.remove(groups, chosen))


@dataclass(frozen=True)
class Pruning(Method):
    """Shared by methods that remove the lowest-scored groups, once or along a ramp. See its subclasses."""

    sparsity: float
    granularity: str = "weight"
    scope: str = "uniform"
    per: str = "tensor"

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        if self.scope not in SCOPES:
            raise UserError(f'scope is "{self.scope}"', '"uniform" or "global"', "choose how the budget is shared")

    @property
    def target(self) -> float:
        return self.sparsity

    @abc.abstractmethod
    def score(self, run: Sparsifier, groups: Groups) -> Tensor:
        """What each group is worth, larger is better. [groups.count]"""

    def prune(self, run: Sparsifier, sparsity: float) -> None:
        groups = run.groups(self.granularity, self.per)
        prune_to(run, groups, self.score(run, groups), sparsity, self.scope)


@dataclass(frozen=True)
class OneShotPruning(Pruning):
    """Before the first step; the weights that are left may be scaled to make up for those that are gone."""

    rescale: str = "none"
    reads_dense_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rescaling(self.rescale)

    def prepare(self, run: Sparsifier) -> None:
        rescaling = Rescaling(run, self.rescale)
        self.remove(run)
        rescaling.apply_()

    def remove(self, run: Sparsifier) -> None:
        """Make the masks."""
        self.prune(run, self.sparsity)


@dataclass(frozen=True)
class ScheduledPruning(Pruning):
    """Along a ramp between two fractions of training, then fine-tuning to the end."""

    start: float = 0.0
    stop: float = 0.5
    every: int | float = 0.02
    schedule: str = "cubic"
    starts_trained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.start, "start")
        check_fraction(self.stop, "stop")
        choose(RAMPS, self.schedule, "schedule")
        steps_between(self.every, 100)
        if self.start > self.stop:
            raise UserError(f"start {self.start} comes after stop {self.stop}", "start <= stop", "swap them")

    def prepare(self, run: Sparsifier) -> None:
        groups = run.groups(self.granularity, self.per)
        if run.steps == 0:
            prune_to(run, groups, self.score(run, groups), self.sparsity, self.scope)
            run.memory["last"] = 0
            return
        every, first, last = self._times(run)
        check_fires(first, last, run.steps, "pruning")
        if self.schedule != "one_shot" and every > max(last - first, 1):
            raise UserError(
                f"pruning every {every} steps can never fire between steps {first} and {last}",
                f"an interval of at most {max(last - first, 1)} steps",
                "make every= smaller, or train longer",
            )

    def after_step(self, run: Sparsifier) -> None:
        every, first, last = self._times(run)
        now = run.step_count
        at_last = now == last or (self.schedule == "one_shot" and now == first)
        if not first <= now <= last or "last" in run.memory or not (at_last or (now - first) % every == 0):
            return
        progress = (now - first) / max(last - first, 1)
        ramp = 1.0 if at_last else RAMPS[self.schedule](progress)
        self.prune(run, self.sparsity * ramp)
        if at_last:
            run.memory["last"] = now
            self.done(run)

    def done(self, run: Sparsifier) -> None:
        """The last event has happened."""
        return None

    def finalize(self, run: Sparsifier) -> None:
        if "last" not in run.memory:
            kept = run.groups(self.granularity, self.per).kept(run.masks)
            run.warn(
                f"the target sparsity {self.sparsity:.2f} was not reached: {1 - kept.float().mean():.2f} after "
                f"{run.step_count} of {run.steps} steps, pruning would have ended at step {self._times(run)[2]}"
            )

    def settled(self, run: Sparsifier) -> bool:
        return "last" in run.memory

    def _times(self, run: Sparsifier) -> tuple[int, int, int]:
        first = max(1, round(self.start * run.steps))
        return steps_between(self.every, run.steps), first, max(first, round(self.stop * run.steps))
