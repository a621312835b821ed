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
        eps: instead of `sparsity` (the paper: 20): a matrix keeps eps (n_in + n_out) weights, rounded.
        rate: fraction of the weights of either sign dropped at every event.
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
    known_as = ("set",)
    granularities = ("weight",)
    growth: ClassVar[Growth] = AT_RANDOM

    def rewire(self, run: Run[RewiringState], step: int) -> int:
        dropped = super().rewire(run, step)
        if self.renew_optimizer:
            run.forget_all()
        return dropped
