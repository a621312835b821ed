"""A fixed sparse network."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, cast

from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.methods.parts.rescaling import RESCALINGS, Rescaling
from sparsernn.methods.parts.topology import RandomTopology
from sparsernn.methods.run import Run
from sparsernn.structure.masks import Masks, fitting


@dataclass(frozen=True)
class Static(Method[None]):
    """A mask that never changes: random, or given, for example a connectome.

    Arguments:
        sparsity: fraction of zeros of a random mask, in [0, 1); or eps=.
        masks: instead of both: `Masks`, or name -> bool tensor, True = the weight exists; tensors not named stay dense.
        granularity: "weight" or a block such as "16x1".
        per: whether a "tensor" or each "gate" of it is a matrix of its own.
        rescale: what happens to the first weights that are left: see `RandomPruning`.
    Shapes: any weight; a given mask has its weight's shape.
    Raises: UserError for a mask whose name or shape does not fit the model.
    Source: Mocanu et al. 2018 (fixed Erdős–Rényi topology); the static baseline of Liu et al. 2021.
    Deviations: uniform masks have exact counts unless counts="bernoulli".
    """

    sparsity: float | None = None
    masks: Masks | Mapping[str, object] | None = None
    _: KW_ONLY
    eps: float | None = None
    granularity: str = "weight"
    distribution: str = "uniform"
    power: float = 1.0
    per: str = "tensor"
    counts: str = "exact"
    rescale: str = "none"
    granularities = ("weight", "16x1")
    explained_by = (RandomTopology,)
    choices = {"rescale": RESCALINGS}
    reads_dense_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masks is None:
            _ = self.topology  # made once, so that its options are checked
        elif self.sparsity is not None or self.eps is not None:
            raise UserError(
                "masks are given, and a sparsity or eps", "one of the three", "leave sparsity and eps out: masks say it"
            )

    @property
    def topology(self) -> RandomTopology:
        """The random masks."""
        return RandomTopology(self.sparsity, self.eps, self.distribution, self.power, self.counts)

    @property
    def target(self) -> float | None:
        return self.topology.target if self.masks is None else None

    def initial_state(self) -> None:
        return None

    def prepare(self, run: Run[None]) -> None:
        if self.masks is not None:
            self._apply(run, self.masks)
            return
        groups, rescaling = run.groups(self.granularity, self.per), Rescaling(run, self.rescale)
        self.topology.scatter(run, groups)
        rescaling.apply_()

    def _apply(self, run: Run[None], masks: Masks | Mapping[str, object]) -> None:
        """Take masks that are given."""
        fitted = fitting(cast(Masks | Mapping[str, Tensor], masks), run.weights)  # other arrays are taken too
        run.masks.kept.update(fitted)
        run.masks.selected = set(masks.selected if isinstance(masks, Masks) else fitted)
        run.changed("start")
