"""Engine: a random sparse network from the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.methods.parts.rescaling import Rescaling, check_rescaling
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure import budget
from sparsernn.structure.choice import pick
from sparsernn.structure.groups import Family

DISTRIBUTIONS = ("uniform", "erdos_renyi", "erdos_renyi_kernel")
COUNTS = ("exact", "bernoulli")


def check_choice(value: str, known: Sequence[str], name: str) -> None:
    """Raises: UserError unless the value is one of those known."""
    if value not in known:
        raise UserError(f"{name} is {value!r}", f"one of {', '.join(known)}", f"pass {name}= one of these")


@dataclass(frozen=True)
class Sparse(Method):
    """Shared by methods that start with a random sparse network. See its subclasses.

    Arguments:
        sparsity: fraction of zeros over all selected tensors, in [0, 1).
        eps: instead of `sparsity`: an Erdős–Rényi network in which a matrix keeps eps (n_in + n_out) weights, rounded.
            A matrix that has no more than that is dense.
        granularity: "weight" or a block such as "16x1".
        distribution: "uniform" (every tensor alike), "erdos_renyi" or "erdos_renyi_kernel" (small tensors are denser).
        power: exponent of the Erdős–Rényi rule: 0 is uniform, 1 the papers' rule.
        per: whether a "tensor" or each "gate" of it is a matrix of its own.
        counts: "exact", or "bernoulli": every weight exists with its matrix's density, by itself.
        rescale: "none", or "variance": the first weights are scaled, gate by gate, to the sum of squares that they had
            before most of them went, so that signals keep their size; "dense" and "one": see `RandomPruning`.
    """

    sparsity: float | None = None
    _: KW_ONLY
    eps: float | None = None
    granularity: str = "weight"
    distribution: str = "uniform"
    power: float = 1.0
    per: str = "tensor"
    counts: str = "exact"
    rescale: str = "none"

    def __post_init__(self) -> None:
        if (self.sparsity is None) == (self.eps is None):
            raise UserError(
                f"sparsity is {self.sparsity!r} and eps is {self.eps!r}", "exactly one of the two", "pass sparsity=0.9"
            )
        if self.eps is None:
            budget.check_sparsity(self.sparsity)
        else:
            budget.check_positive(self.eps, "eps")
        check_choice(self.distribution, DISTRIBUTIONS, "distribution")
        check_choice(self.counts, COUNTS, "counts")
        check_rescaling(self.rescale)
        budget.check_fraction(self.power, "power")

    @property
    def target(self) -> float | None:
        return self.sparsity if self.counts == "exact" else None

    def scatter(self, run: Sparsifier) -> None:
        """Make the first masks: random ones."""
        groups, rescaling = run.groups(self.granularity, self.per), Rescaling(run, self.rescale)
        for family, count in zip(groups.families, self.counts_to_keep(groups.families), strict=True):
            if self.counts == "bernoulli":
                kept = torch.rand(family.size, generator=run.generator) < count / family.size
                kept[torch.randint(family.size, (1,), generator=run.generator)] |= not bool(kept.any())
            else:
                kept = pick(torch.ones(family.size, dtype=torch.bool), count, run.generator)
            groups.keep(run.masks, kept.to(run.device), family)
        run.changed("start")
        rescaling.apply_()

    def counts_to_keep(self, families: Sequence[Family]) -> list[int]:
        """How many groups every family keeps, at least one.

        Raises: UserError for an Erdős–Rényi budget of blocks, or an eps that empties a matrix or fills all.
        """
        sizes = [family.size for family in families]
        if self.eps is None and self.distribution == "uniform":
            return budget.uniform(sizes, self.sparsity)
        if any(family.fans[0] * family.fans[1] != family.size for family in families):
            raise UserError(
                "an Erdős–Rényi budget at a granularity other than single weights",
                'granularity="weight"',
                'use distribution="uniform" for blocks',
            )
        shapes = [family.shape if self.distribution == "erdos_renyi_kernel" else family.fans for family in families]
        if self.eps is None:
            return budget.erdos_renyi(shapes, self.sparsity, self.power)
        counts = budget.from_epsilon(shapes, self.eps, self.power)
        for family, count in zip(families, counts, strict=True):
            if not count:
                raise UserError(
                    f"eps {self.eps} leaves no weight in {family.label}, which is {' x '.join(map(str, family.shape))}",
                    "at least one weight in every matrix",
                    "pass a larger eps, or leave that tensor out with where=",
                )
        if counts == sizes:
            raise UserError(
                f"eps {self.eps} fills every selected matrix", "an eps that leaves zeros", "pass a smaller eps"
            )
        return counts
