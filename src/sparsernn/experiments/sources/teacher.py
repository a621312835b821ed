"""A row that learns from another row's outputs."""

from dataclasses import dataclass, replace

from sparsernn.experiments.rows import Prepared, RowSource, Runs
from sparsernn.training import distillation
from sparsernn.training.distillation import Distillation


@dataclass(frozen=True)
class Teacher(RowSource):
    """Another row whose trained network teaches this one; see `training.distillation`.

    Arguments:
        row: its name.
        share: of the teacher in the loss, in [0, 1].
        temperature: at which both distributions are compared.
    Raises: UserError for a value out of range.
    """

    decides = "objective"

    share: float = 0.8
    temperature: float = 2.0

    def __post_init__(self) -> None:
        distillation.check(self.share, self.temperature)

    def describe(self) -> str:
        return f"taught by {self.row}"

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        network, _ = runs.network(self.row, prepared.row.settings.seed)
        objective = Distillation(prepared.objective, network, self.share, self.temperature)
        return replace(prepared, objective=objective)
