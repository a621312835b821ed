"""RigL: dynamic sparse training by gradient."""

from dataclasses import dataclass
from typing import ClassVar

from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.methods.parts.growth import BY_GRADIENT, Growth


@dataclass(frozen=True)
class RigL(Rewiring):
    """Rewire by gradient: drop the weakest weights, grow where the loss would fall fastest.

    Every `every` steps a cosine-decaying fraction of each tensor's weights, rounded down as in the authors' code, is
    dropped by magnitude and as many are grown where |gradient| is largest among all others, those just dropped
    included. Grown weights start at 0 with empty optimizer memory; the event replaces that step's update. There is
    none where the rate has come to 0.

    Arguments:
        rate: fraction of a tensor's weights that is dropped at the first event.
    Shapes: any weight; acts on each tensor (or gate) by itself, unless redistribution says otherwise.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Evci et al. 2020, Algorithm 1.
    Deviations: the gradient is that of the step's own batch or accumulated batches; ties are broken by position; an
        event that would move nothing costs no update, where the authors' code leaves out the update all the same.
    """

    every: int | float = 100
    replaces_update = True
    rounded = int
    growth: ClassVar[Growth] = BY_GRADIENT
