"""Iterative pruning by magnitude along a ladder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.pruning import Pruning
from sparsernn.methods.parts.schedules import steps_between
from sparsernn.methods.parts.scores import magnitude
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.budget import check_sparsity
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class IterativeL2(Pruning):
    """Train dense, and every so many steps remove the smallest weights of a layer, one rung of a ladder at a time.

    After event k the layer has the sparsity of rung k. Rungs end with `sparsity`; those of the ladder above it are
    not used. A group's score is the root mean square of its weights.

    Arguments:
        sparsity: fraction of groups absent at the end, in [0, 1).
        granularity, scope, per: as `SNIP`.
        ladder: sparsities after the first event, the second and so on, rising.
        every: steps between events (int), or a fraction of training (float).
    Shapes: any weight.
    Raises: UserError for an option out of range, or if no event falls within training.
    Source: the L2 baseline of Zhang & Stadie 2020, section 5 (they prune every 10,000 steps).
    Deviations: none known. The authors' code starts at the second rung; pass a ladder without the first for that.
    """

    per: str = "kernel"
    ladder: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)
    every: int | float = 0.1
    known_as: ClassVar[tuple[str, ...]] = ("l2",)
    granularities: ClassVar[tuple[str, ...]] = ("weight", "gate", "neuron", "16x1")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ladder", tuple(self.ladder))
        for rung in self.ladder:
            check_sparsity(rung)
        if any(low >= high for low, high in pairwise(self.ladder)):
            raise UserError(f"the ladder is {self.ladder}", "rising sparsities", "sort them, each once")
        steps_between(self.every, 100)

    @property
    def rungs(self) -> list[float]:
        """Sparsity after each event."""
        return [rung for rung in self.ladder if rung < self.sparsity] + [self.sparsity]

    def score(self, run: Sparsifier, groups: Groups) -> Tensor:
        return magnitude(run, groups)

    def prepare(self, run: Sparsifier) -> None:
        if run.steps == 0:
            self.prune(run, self.sparsity)
        elif (every := steps_between(self.every, run.steps)) > run.steps:
            raise UserError(
                f"pruning every {every} steps can never fire in {run.steps} steps",
                f"an interval of at most {run.steps} steps",
                "make every= smaller, or train longer",
            )

    def after_step(self, run: Sparsifier) -> None:
        events, rest = divmod(run.step_count, steps_between(self.every, run.steps))
        if rest == 0 and events <= len(self.rungs):
            self.prune(run, self.rungs[events - 1])

    def finalize(self, run: Sparsifier) -> None:
        if not self.settled(run):
            run.warn(
                f"the target sparsity {self.sparsity:.2f} was not reached: {run.masks.sparsity():.2f} after "
                f"{run.step_count} of {run.steps} steps; {len(self.rungs)} events would have been needed"
            )

    def settled(self, run: Sparsifier) -> bool:
        return run.steps == 0 or run.step_count >= len(self.rungs) * steps_between(self.every, run.steps)
