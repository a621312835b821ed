"""Group lasso on any level of structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.regularizing import Regularizing
from sparsernn.methods.parts.removal import RemovalState
from sparsernn.methods.parts.scores import best, magnitude
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction, check_sparsity
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class GroupLasso(Regularizing):
    """Penalise the norm of every group, so that whole neurons, gates or blocks shrink to nothing.

    The penalty is strength * sum_g ||w_g||_2 on top of a mean loss. At `stop` groups with a root mean square
    below `threshold` (or the smallest ones, where `sparsity` is given) are removed, with their biases; the rest is
    trained on without penalty.

    Arguments:
        strength: lambda, >= 0, for a loss that is a mean over the batch.
        granularity: "neuron", "gate", "weight", "16x1", another level of the cell, or a tuple of levels.
        threshold: root mean square of a group's weights below which it is removed; scale-free. By default that of Dodge
            et al., a norm of 0.1 of the 601 numbers of a state.
        sparsity: fraction of groups to remove instead of a threshold, in [0, 1), or None.
        stop: fraction of training at which groups are removed; None: when training has ended, from the weights that it
            keeps, which are those of the best epoch where the trainer keeps the best.
        proximal: shrink groups by a proximal step of size learning rate * strength after each update instead of
            adding a penalty; groups must not overlap.
        biases: whether biases count in a group's norm; None: as the cell has it, which for automata they do (Dodge et
            al. 2019), elsewhere not (Wen et al. 2018).
    Shapes: any weight.
    Raises: UserError for values out of range, or for a proximal step on overlapping groups.
    Source: Yuan & Lin 2006; Wen et al. 2018 (ISS: neurons of LSTMs); Dodge et al. 2019 (states of automata).
    Deviations: no double count of a unit's weight to itself; removal once, at `stop`, where Wen et al. write a zero
        over every weight below 1e-4 after each step.
    """

    threshold: float = 0.1 / 601**0.5
    sparsity: float | None = None
    proximal: bool = False
    biases: bool | None = None
    granularities: ClassVar[tuple[str, ...]] = ("weight", "gate", "neuron", "16x1")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.threshold, "threshold")
        if self.sparsity is not None:
            check_sparsity(self.sparsity)

    @property
    def target(self) -> float | None:
        return self.sparsity

    def prepare(self, run: Run[RemovalState]) -> None:
        super().prepare(run)
        overlapping = len(self.levels) > 1 or any(run.groups(level).overlapping for level in self.levels)
        if self.proximal and overlapping:
            raise UserError(
                "a proximal step on groups that overlap (a unit's row crosses another unit's column)",
                'disjoint groups, such as granularity="gate" or "16x1"',
                "use proximal=False",
            )
        if self.proximal and run.optimizer is None and run.steps:
            raise UserError(
                "a proximal step without an optimizer",
                "an optimizer, whose learning rate is the step",
                "pass optimizer=",
            )

    def penalty(self, run: Run[RemovalState]) -> Tensor | None:
        if self.has_ended(run) or self.proximal:
            return None
        total = torch.zeros((), device=next(iter(run.weights.values())).device)
        for level in self.levels:
            total = total + self._measured(run, level).norms(dict(run.weights)).sum()
        return self.strength * total

    def after_step(self, run: Run[RemovalState]) -> None:
        if self.proximal and not self.has_ended(run) and run.optimizer is not None:
            self._shrink(run, run.optimizer.param_groups[0]["lr"] * self.strength)
        super().after_step(run)

    @torch.no_grad()
    def _shrink(self, run: Run[RemovalState], amount: float) -> None:
        """The proximal map of amount * sum_g ||w_g||: w_g <- w_g max(0, 1 - amount / ||w_g||)."""
        for level in self.levels:
            groups = self._measured(run, level)
            weights: dict[str, Tensor] = dict(run.weights)
            norms = groups.norms(weights)
            groups.scale_(weights, (1 - amount / norms.clamp_min(1e-30)).clamp_min(0))

    def _measured(self, run: Run[RemovalState], level: str) -> Groups:
        return run.groups(level).measured(self.biases)

    def survivors(self, run: Run[RemovalState], groups: Groups) -> Tensor:
        scores = groups.in_line(magnitude(run, groups.measured(self.biases)))
        if self.sparsity is not None:
            return best(groups, scores, round((1 - self.sparsity) * groups.count))
        kept = scores > self.threshold
        for family in groups.families:
            if not bool(kept[family.start : family.stop].any()):
                kept[family.start + int(scores[family.start : family.stop].argmax())] = True
        return kept
