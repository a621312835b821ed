"""Iterative pruning by magnitude along a ladder."""

from dataclasses import dataclass

from torch import Tensor

from sparsernn.methods.engines.pruning import Pruning
from sparsernn.methods.parts.occasions import Ladder
from sparsernn.methods.parts.scores import magnitude
from sparsernn.methods.run import Run
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class IterativeL2(Pruning):
    """Train dense, and every so many steps remove the smallest weights of a layer, one rung of a ladder at a time.

    After event k the layer has the sparsity of rung k. Rungs end with `sparsity`; those of the ladder above it are
    not used. A group's score is the root mean square of its weights.

    Arguments:
        scope: "uniform" (each layer, tensor or gate alike) or "global" (one ranking).
        per: at levels "weight" and blocks, what has a budget: a "kernel" (all matrices of a layer), "tensor" or "gate".
        ladder: sparsities after the first event, the second and so on, rising.
        every: steps between events (int), or a fraction of training (float).
    Shapes: any weight.
    Raises: UserError for an option out of range, or if no event falls within training.
    Source: the L2 baseline of Zhang & Stadie 2020, "Evaluation" (they prune every 10,000 steps).
    Deviations: none known. The authors' code starts at the second rung; pass a ladder without the first for that.
    """

    per: str = "kernel"
    ladder: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)
    every: int | float = 0.1
    known_as = ("l2",)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ladder", tuple(self.ladder))

    @property
    def when(self) -> Ladder:
        return Ladder(self.ladder, self.every)

    def score(self, run: Run, groups: Groups) -> Tensor:
        return magnitude(run, groups)
