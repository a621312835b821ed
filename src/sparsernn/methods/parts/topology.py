"""A random sparse network: how many weights every matrix keeps, and which."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sparsernn.errors import UserError
from sparsernn.methods.run import Run
from sparsernn.structure import budget
from sparsernn.structure.choice import pick
from sparsernn.structure.groups import Family, Groups
from sparsernn.typed import choose

DISTRIBUTIONS = ("uniform", "erdos_renyi", "erdos_renyi_kernel")
COUNTS = ("exact", "bernoulli")


@dataclass(frozen=True)
class RandomTopology:
    """A budget, and masks drawn with it.

    Arguments:
        sparsity: fraction of zeros over all selected tensors, in [0, 1).
        eps: instead of `sparsity`: an Erdős–Rényi network in which a matrix keeps eps (n_in + n_out) weights, rounded.
            A matrix that has no more than that is dense.
        distribution: "uniform" (every tensor alike), "erdos_renyi" or "erdos_renyi_kernel" (small tensors are denser).
        power: exponent of the Erdős–Rényi rule: 0 is uniform, 1 the papers' rule.
        counts: "exact", or "bernoulli": every weight exists with its matrix's density, by itself.
    Raises: UserError for a value out of range.
    """

    sparsity: float | None
    eps: float | None
    distribution: str
    power: float
    counts: str

    def __post_init__(self) -> None:
        if (self.sparsity is None) == (self.eps is None):
            raise UserError(
                f"sparsity is {self.sparsity!r} and eps is {self.eps!r}", "exactly one of the two", "pass sparsity=0.9"
            )
        if self.sparsity is not None:
            budget.check_sparsity(self.sparsity)
        if self.eps is not None:
            budget.check_positive(self.eps, "eps")
        choose("distribution", self.distribution, DISTRIBUTIONS)
        choose("counts", self.counts, COUNTS)
        budget.check_fraction(self.power, "power")

    @property
    def target(self) -> float | None:
        """The sparsity, where it is met exactly."""
        return self.sparsity if self.counts == "exact" else None

    def scatter(self, run: Run, groups: Groups) -> None:
        """Make the first masks."""
        for family, count in zip(groups.families, self.counts_to_keep(groups.families), strict=True):
            if self.counts == "bernoulli":
                kept = torch.rand(family.size, generator=run.generator) < count / family.size
                kept[torch.randint(family.size, (1,), generator=run.generator)] |= not bool(kept.any())
            else:
                kept = pick(torch.ones(family.size, dtype=torch.bool), count, run.generator)
            groups.keep(run.masks, kept.to(run.device), family)
        run.changed("start")

    def counts_to_keep(self, families: Sequence[Family]) -> list[int]:
        """How many groups every family keeps, at least one.

        Raises: UserError for an Erdős–Rényi budget of blocks, or an eps that empties a matrix or fills all.
        """
        sizes = [family.size for family in families]
        if self.sparsity is not None and self.distribution == "uniform":
            return budget.uniform(sizes, self.sparsity)
        if any(family.fans[0] * family.fans[1] != family.size for family in families):
            raise UserError(
                "an Erdős–Rényi budget at a granularity other than single weights",
                'granularity="weight"',
                'use distribution="uniform" for blocks',
            )
        shapes = [family.shape if self.distribution == "erdos_renyi_kernel" else family.fans for family in families]
        if self.sparsity is not None:
            return budget.erdos_renyi(shapes, self.sparsity, self.power)
        counts = budget.from_epsilon(shapes, self.eps or 0.0, self.power)
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
