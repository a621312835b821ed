"""SET: sparse evolutionary training."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from sparsernn.methods.engines.rewiring import Rewiring, RewiringState
from sparsernn.methods.parts.growth import AT_RANDOM, Growth
from sparsernn.methods.run import Run


@dataclass(frozen=True)
class SparseEvolutionaryTraining(Rewiring):
    """Rewire at random by sign: drop the weakest weights of either sign, grow as many anywhere.

    Every `every` steps (the paper: once an epoch) the fraction `rate` of the positive weights closest to zero and the
    same fraction of the negative ones closest to zero are dropped, with every weight that is exactly zero, and as many
    are grown at random, those just dropped included. All grown weights start at 0. The rate stays the same.

    Arguments:
        sparsity: fraction of zeros over all selected tensors, in [0, 1).
        every: steps between rewirings (int), or a fraction of training (float).
        eps: instead of `sparsity` (the paper: 20): a matrix keeps eps (n_in + n_out) weights, rounded.
        granularity: "weight" or a block such as "16x1".
        distribution: "uniform" (every tensor alike), "erdos_renyi" or "erdos_renyi_kernel" (small tensors are denser).
        power: exponent of the Erdős–Rényi rule: 0 is uniform, 1 the papers' rule.
        per: whether a "tensor" or each "gate" of it is a matrix of its own.
        counts: "exact", or "bernoulli": every weight exists with its matrix's density, by itself.
        rescale: what happens to the first weights that are left: see `RandomPruning`.
        rate: fraction of the weights of either sign dropped at every event.
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
        renew_optimizer: whether the optimizer forgets everything at every event, as in the original code.
    Shapes: any weight; acts on each tensor (or gate) by itself, unless redistribution says otherwise.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Mocanu et al. 2018, algorithm 1.
    Deviations: of n weights of a sign exactly ceil(rate n) are dropped; the optimizer is not renewed by default.
    """

    _: KW_ONLY
    distribution: str = "erdos_renyi"
    rate: float = 0.3
    decay: str = "constant"
    stop: float = 1.0
    drop: str = "sign"
    birth: str = "zero"
    renew_optimizer: bool = False
    known_as: ClassVar[tuple[str, ...]] = ("set",)

    @property
    def growth(self) -> Growth:
        return AT_RANDOM

    def rewire(self, run: Run[RewiringState], step: int) -> int:
        dropped = super().rewire(run, step)
        if self.renew_optimizer:
            run.forget_all()
        return dropped
