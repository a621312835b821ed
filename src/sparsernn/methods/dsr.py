"""DSR: dynamic sparse reparameterization."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from torch import Tensor

from sparsernn.methods.engines.rewiring import Rewiring, plain_weights
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.budget import check_positive
from sparsernn.structure.choice import count
from sparsernn.structure.groups import Family, Groups


@dataclass(frozen=True)
class DSR(Rewiring):
    """Rewire by one threshold for all tensors: drop what is below it, grow at random where much has survived.

    Every `every` steps weights with |w| <= H are dropped, H being the same for all tensors. As many are grown, shared
    out in proportion to the number of weights that each tensor has left, at random among places that were free before
    the event; they start at 0. Then, with a goal of p times the number of weights: if more than 1 + `tolerance` of it
    were below the threshold H is halved, if less than 1 - `tolerance` it is doubled. No tensor loses its last weight.

    Arguments: those of `Rewiring`; here
        sparsity: fraction of zeros, in [0, 1); or eps=.
        every: steps between rewirings (int), or a fraction of training (float).
        threshold: H at the first event.
        rate: the goal of an event as a fraction p of all weights; decay: "constant", or as p falls to `floor`.
        tolerance: relative distance from the goal within which H stays.
        redistribution: "survivors", "momentum" or "none".
    Shapes: any weight; blocks are compared by their norm.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Mostafa & Wang 2019, algorithm 1.
    Deviations: the goal is a fraction of the weights where the released code counts them (600); a tensor never drops
        more than it has free places, for those alone may be grown.
    """

    _: KW_ONLY
    threshold: float = 1e-3
    rate: float = 0.1
    tolerance: float = 0.1
    decay: str = "constant"
    stop: float = 1.0
    regrow_dropped: bool = False
    redistribution: str = "survivors"
    grows_at_random: ClassVar[bool] = True
    known_as: ClassVar[tuple[str, ...]] = ("dynamic_sparse_reparameterization",)
    granularities: ClassVar[tuple[str, ...]] = ("weight", "16x1")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.threshold, "threshold")
        check_positive(self.tolerance, "tolerance")

    def grow_score(self, run: Sparsifier, groups: Groups, family: Family) -> None:
        return None

    def stay(self, run: Sparsifier, groups: Groups, family: Family, kept: Tensor, rate: float) -> Tensor:
        above = groups.family_norms(plain_weights(run, groups), family) > run.memory.get("threshold", self.threshold)
        run.memory["below"] = run.memory.get("below", 0) + count(kept & ~above)
        return above

    def rewire(self, run: Sparsifier, step: int) -> None:
        super().rewire(run, step)
        below, threshold = run.memory.pop("below"), run.memory.get("threshold", self.threshold)
        goal = self.rate_at(run, step - 1) * count(run.groups(self.granularity, self.per).kept(run.masks))
        if below > (1 + self.tolerance) * goal:
            threshold /= 2
        elif below < (1 - self.tolerance) * goal:
            threshold *= 2
        run.memory["threshold"] = threshold
