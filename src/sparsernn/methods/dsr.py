"""DSR: dynamic sparse reparameterization."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from torch import Tensor

from sparsernn.methods.engines.rewiring import Rewiring, RewiringState
from sparsernn.methods.parts.drops import plain_weights
from sparsernn.methods.parts.growth import AT_RANDOM, Growth
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_positive
from sparsernn.structure.choice import count
from sparsernn.structure.groups import Family, Groups


@dataclass
class DSRState(RewiringState):
    """What is remembered: the `threshold` H, and how many weights were `below` it in this event."""

    threshold: float = 0.0
    below: int = 0


@dataclass(frozen=True)
class DSR(Rewiring):
    """Rewire by one threshold for all tensors: drop what is below it, grow at random where much has survived.

    Every `every` steps weights with |w| <= H are dropped, H being the same for all tensors. As many are grown, shared
    out in proportion to the number of weights that each tensor has left, at random among places that were free before
    the event; they start at 0. Then, with a goal of p times the number of weights: if more than 1 + `tolerance` of it
    were below the threshold H is halved, if less than 1 - `tolerance` it is doubled. No tensor loses its last weight.

    Arguments:
        rate: the goal of an event as a fraction p of all weights.
        decay: whether p stays ("constant") or falls to `floor` ("cosine", "linear").
        floor: p at the end.
        drop: not used: the threshold decides.
        threshold: H at the first event.
        tolerance: relative distance from the goal within which H stays.
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
    known_as = ("dynamic_sparse_reparameterization",)
    growth: ClassVar[Growth] = AT_RANDOM

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.threshold, "threshold")
        check_positive(self.tolerance, "tolerance")

    def initial_state(self) -> DSRState:
        return DSRState(threshold=self.threshold)

    def stay(self, run: Run[DSRState], groups: Groups, family: Family, present: Tensor, rate: float) -> Tensor:
        above = groups.family_norms(plain_weights(run, groups), family) > run.state.threshold
        run.state.below += count(present & ~above)
        return above

    def rewire(self, run: Run[DSRState], step: int) -> int:
        run.state.below = 0
        dropped = super().rewire(run, step)
        goal = self.rate_at(run, step - 1) * count(run.groups(self.granularity, self.per).kept(run.masks))
        if run.state.below > (1 + self.tolerance) * goal:
            run.state.threshold /= 2
        elif run.state.below < (1 - self.tolerance) * goal:
            run.state.threshold *= 2
        return dropped
