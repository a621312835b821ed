"""The seeds with which a row is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparsernn.data.task import Task
from sparsernn.errors import UserError
from sparsernn.experiments.parts import with_field


@dataclass(frozen=True)
class Seeds:
    """With which seeds a row is trained, and what they draw beside weights and the order of examples.

    Arguments:
        only: train with this seed alone, whichever are asked for: a row that tries hyper-parameters for others.
        resplit: let the run's seed also draw the splits (the task's `seed`), where there is no official split; rows of
            the same seed then see the same examples.
    """

    only: int | None = None
    resplit: bool = False

    def check(self, row: str, task: Task) -> None:
        """Raises: UserError if the splits are to be drawn and the task has no seed."""
        if self.resplit and not hasattr(task, "seed"):
            raise UserError(
                f"row {row!r} draws its splits, but its task has no seed", "a task with a seed", "Set resplit to false"
            )

    def first(self, asked: Sequence[int]) -> int:
        """The first seed of the row where these are asked for."""
        return asked[0] if self.only is None else self.only

    def task_at(self, task: Task, seed: int) -> Task:
        """The task as a seed reads it."""
        return with_field(task, "seed", seed) if self.resplit else task
