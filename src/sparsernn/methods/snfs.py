"""SNFS: sparse networks from scratch, by sparse momentum."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.methods.parts.growth import BY_AVERAGE, Growth


@dataclass(frozen=True)
class SNFS(Rewiring):
    """Rewire by momentum: drop the weakest weights, grow where averaged gradients are large.

    Every `every` steps (the paper: once an epoch) the fraction p of each tensor's weights with the smallest magnitude
    is dropped. The births of all tensors together are shared out in proportion to the mean |averaged gradient| of each
    tensor's weights, at most 99 % of its free places, the rest evenly over the others; within a tensor they go where
    |averaged gradient| is largest. p falls along a cosine from `rate` to `floor`.

    The average is the method's own, of all gradients, those of absent weights included, before anything is masked.
    So it does not depend on the optimizer, and works with one that has no momentum. It takes 4 bytes a weight.

    Arguments:
        momentum: of the averaged gradient.
    Shapes: any weight.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Dettmers & Zettlemoyer 2019, algorithm 1.
    Deviations: the average of plain gradients with any optimizer, where the released code reads the optimizer's
        momentum (with Adam divided by the root of the second moment); where gradients are clipped their norm is that
        of weights that exist; counts are exact, so no correction of their drift is needed; no lower rate for tensors
        that are less than 20 % sparse.
    """

    _: KW_ONLY
    rate: float = 0.5
    floor: float = 0.005
    stop: float = 1.0
    redistribution: str = "momentum"
    known_as = ("sparse_momentum", "sparse_networks_from_scratch")
    growth: ClassVar[Growth] = BY_AVERAGE
