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
        sparsity: fraction of zeros over all selected tensors, in [0, 1).
        every: steps between rewirings (int), or a fraction of training (float).
        eps: instead of `sparsity`: an Erdős–Rényi network in which a matrix keeps eps (n_in + n_out) weights, rounded.
        granularity: "weight" or a block such as "16x1".
        distribution: "uniform" (every tensor alike), "erdos_renyi" or "erdos_renyi_kernel" (small tensors are denser).
        power: exponent of the Erdős–Rényi rule: 0 is uniform, 1 the papers' rule.
        per: whether a "tensor" or each "gate" of it is a matrix of its own.
        counts: "exact", or "bernoulli": every weight exists with its matrix's density, by itself.
        rescale: what happens to the first weights that are left: see `RandomPruning`.
        rate: fraction of a tensor's weights that is dropped at the beginning.
        decay: how the rate falls to `floor`: "cosine", "linear" or "constant" (floor is not used).
        floor: fraction that is dropped at the end.
        stop: fraction of training after which the mask stays.
        drop: "magnitude" (the smallest) or "sign" (the same fraction of either sign, and every zero).
        regrow_dropped: whether what was just dropped may grow again.
        birth: "keep" (a weight dropped and grown at once keeps its value, others start at 0), "zero" or "initial" (a
            random one of the values that its tensor began with).
        redistribution: how births are shared out: "none" (a tensor grows what it dropped), "momentum" (in proportion to
            the mean |averaged gradient| of its weights) or "survivors" (to the number of weights it has left).
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
    known_as: ClassVar[tuple[str, ...]] = ("sparse_momentum", "sparse_networks_from_scratch")
    granularities: ClassVar[tuple[str, ...]] = ("weight", "16x1")

    @property
    def growth(self) -> Growth:
        return BY_AVERAGE
