"""ST-RNN: sparse training of recurrent networks with random regrowth."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from sparsernn.methods.engines.rewiring import Rewiring
from sparsernn.methods.parts.growth import AT_RANDOM, Growth


@dataclass(frozen=True)
class STRNN(Rewiring):
    """Rewire at random: drop the weakest weights, grow as many anywhere.

    Every `every` steps (the paper: once an epoch) the fraction p of each tensor's weights with the smallest
    magnitude is dropped and as many are grown at random, those just dropped included: such a one keeps its
    value, others start at 0. p falls along a cosine from `rate` to `floor` over the whole training.

    From SET it differs in three options: `STRNN(sparsity, rate=0.3, distribution="erdos_renyi", drop="sign",
    decay="constant", birth="zero")` is SET.

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
        momentum: of the averaged gradient, which is kept only where it is needed.
    Shapes: any weight; acts on each tensor (or gate) by itself, unless redistribution says otherwise.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Liu et al. 2021, equations 4 to 6.
    Deviations: exact counts where the released relatives draw Bernoulli; percentiles over present weights only; the
        event comes after the first step of the next epoch, not before it; the first `rate` is not given in the paper,
        nor is the `floor`, which is that of the authors' related code.
    """

    _: KW_ONLY
    rate: float = 0.5
    floor: float = 0.005
    stop: float = 1.0
    known_as: ClassVar[tuple[str, ...]] = ("st-rnn", "strnn", "st")
    granularities: ClassVar[tuple[str, ...]] = ("weight", "16x1")

    @property
    def growth(self) -> Growth:
        return AT_RANDOM
