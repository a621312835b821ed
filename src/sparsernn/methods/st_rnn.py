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
        rate: p at the beginning.
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
    known_as = ("st-rnn", "strnn", "st")
    growth: ClassVar[Growth] = AT_RANDOM
