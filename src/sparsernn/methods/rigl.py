"""RigL: dynamic sparse training by gradient."""

from dataclasses import dataclass
from typing import ClassVar

from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.methods.parts.drops import Rounding
from sparsernn.methods.parts.growth import BY_GRADIENT, Growth


@dataclass(frozen=True)
class RigL(Rewiring):
    """Rewire by gradient: drop the weakest weights, grow where the loss would fall fastest.

    Every `every` steps a cosine-decaying fraction of each tensor's weights, rounded down as in the authors' code, is
    dropped by magnitude and as many are grown where |gradient| is largest among all others, those just dropped
    included. Grown weights start at 0 with empty optimizer memory; the event replaces that step's update. There is
    none where the rate has come to 0.

    Arguments:
        sparsity: fraction of zeros over all selected tensors, in [0, 1).
        every: steps between rewirings (int), or a fraction of training (float).
        eps: instead of `sparsity`: an Erdős–Rényi network in which a matrix keeps eps (n_in + n_out) weights, rounded.
        granularity: "weight" or a block such as "16x1".
        distribution: "uniform" (every tensor alike), "erdos_renyi" or "erdos_renyi_kernel" (small tensors are denser).
        power: exponent of the Erdős–Rényi rule: 0 is uniform, 1 the papers' rule.
        per: whether a "tensor" or each "gate" of it is a matrix of its own.
        counts: "exact", or "bernoulli": every weight exists with its matrix's density, by itself.
        rescale: what happens to the first weights that are left: see `RandomPruning`.
        rate: fraction of a tensor's weights that is dropped at the first event.
        decay: how the rate falls to `floor`: "cosine", "linear" or "constant" (floor is not used).
        floor: fraction that is dropped at the end.
        stop: fraction of training after which the mask stays.
        drop: "magnitude" (the smallest) or "sign" (the same fraction of either sign, and every zero).
        regrow_dropped: whether what was just dropped may grow again.
        birth: "keep" (a weight dropped and grown at once keeps its value, others start at 0), "zero" or "initial" (a
            random one of the values that its tensor began with).
        redistribution: how births are shared out: "none" (a tensor grows what it dropped), "momentum" (in proportion to
            the mean |averaged gradient| of its weights) or "survivors" (to the number of weights it has left).
        momentum: of the averaged gradient, which is kept only where it is needed.
    Shapes: any weight; acts on each tensor (or gate) by itself, unless redistribution says otherwise.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Evci et al. 2020, Algorithm 1.
    Deviations: the gradient is that of the step's own batch or accumulated batches; ties are broken by position; an
        event that would move nothing costs no update, where the authors' code leaves out the update all the same.
    """

    every: int | float = 100
    granularities: ClassVar[tuple[str, ...]] = ("weight", "16x1")
    replaces_update: ClassVar[bool] = True
    rounded: ClassVar[Rounding] = int

    @property
    def growth(self) -> Growth:
        return BY_GRADIENT
