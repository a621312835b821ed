"""Pruning by a threshold that rises while a network is trained."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.methods.parts.removal import keep_best_
from sparsernn.methods.parts.schedules import check_fires, steps_between
from sparsernn.methods.parts.scores import magnitude
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction, check_positive


@dataclass
class ThresholdState:
    """What is remembered: the `last` threshold's step, None before; and each family's `scale`, once it is known."""

    last: int | None = None
    scale: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class GradualThresholds(Method[ThresholdState]):
    """Remove every weight, block, gate or neuron below a threshold that rises slowly, then faster, then stands still.

    Every `every` steps f the threshold of a tensor or layer is theta (t - s + 1) / f until `ramp` r, then
    (theta (r - s + 1) + phi (t - r + 1)) / f until `stop` e, with phi = `steeper` theta and
    theta = 2 q f / (2 (r - s) + 3 (e - r)), q being the size that the threshold is to reach. What is gone never comes
    back, and how many weights stay follows from the weights.

    Arguments:
        quantile: q of a tensor or layer is this quantile of its sizes at `start`, in (0, 1); of a network that is
            trained already it is about the sparsity that comes out.
        size: q itself, the same for all, > 0; None takes the quantile.
        granularity: "weight", "gate", "neuron", a block such as "16x1", or another level; a group's size is the root
            mean square of its weights.
        start, ramp, stop: fractions of training; s, r and e.
        every: steps between events (int), or a fraction of training (float).
        steeper: phi / theta, > 0.
    Shapes: any weight.
    Raises: UserError for a value out of range, or if no event falls within training.
    Source: Narang et al. 2017, Exploring sparsity in recurrent neural networks, algorithm 1 and equation 1.
    Deviations: q is of the weights at `start`, where the authors take those of a trained dense network of the same
        kind; groups by the root mean square, where their later work on blocks takes the largest weight. Each tensor or
        layer keeps its largest group.
    """

    quantile: float = 0.9
    size: float | None = None
    granularity: str = "weight"
    start: float = 0.05
    ramp: float = 0.25
    stop: float = 0.5
    every: int | float = 0.01
    steeper: float = 1.5
    reads_dense_gradient: ClassVar[bool] = False
    granularities = ("weight", "gate", "neuron", "16x1")
    known_as = ("narang2017",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.quantile, "quantile")
        check_positive(self.steeper, "steeper")
        if self.size is not None:
            check_positive(self.size, "size")
        for name in ("start", "ramp", "stop"):
            check_fraction(getattr(self, name), name)
        if not self.start <= self.ramp <= self.stop or self.start == self.stop:
            raise UserError(
                f"start {self.start}, ramp {self.ramp} and stop {self.stop}",
                "start <= ramp <= stop, with some training between the first and the last",
                "put them in order",
            )
        steps_between(self.every, 100)

    def initial_state(self) -> ThresholdState:
        return ThresholdState()

    def prepare(self, run: Run[ThresholdState]) -> None:
        run.groups(self.granularity)
        if run.steps == 0:
            self._remove(run, 1.0)
            return
        first, _, last = self._bounds(run.steps)
        check_fires(first, last, run.steps, "pruning")

    def after_step(self, run: Run[ThresholdState]) -> None:
        first, ramp, last = self._bounds(run.steps)
        every = steps_between(self.every, run.steps)
        if not first <= run.step_count <= last or ((run.step_count - first) % every and run.step_count != last):
            return
        theta = 2 * every / (2 * (ramp - first) + 3 * (last - ramp))
        slow = min(run.step_count, ramp) - first + 1
        fast = run.step_count - ramp + 1 if run.step_count >= ramp else 0
        self._remove(run, (theta * slow + self.steeper * theta * fast) / every)

    @torch.no_grad()
    def _remove(self, run: Run[ThresholdState], share: float) -> None:
        """Remove what is below this share of each family's q."""
        groups = run.groups(self.granularity)
        sizes = magnitude(run, groups)
        kept = groups.kept(run.masks)
        for number, family in enumerate(groups.families):
            part = slice(family.start, family.stop)
            if len(run.state.scale) <= number:
                run.state.scale.append(self._size_of(sizes[part]))
            kept[part] &= sizes[part] >= share * run.state.scale[number]
        keep_best_(kept, sizes, groups.families)
        run.state.last = run.step_count
        run.changed("prune", died=run.remove(groups, kept))

    def _size_of(self, sizes: Tensor) -> float:
        """q of a family."""
        if self.size is not None:
            return self.size
        return float(sizes.kthvalue(max(1, round(self.quantile * len(sizes)))).values)

    def settled(self, run: Run[ThresholdState]) -> bool:
        return run.state.last is not None and run.step_count >= self._bounds(run.steps)[2]

    def _bounds(self, steps: int) -> tuple[int, int, int]:
        first, ramp, last = (max(1, round(share * steps)) for share in (self.start, self.ramp, self.stop))
        return first, ramp, max(last, first + 1)
