"""A row of a recipe without a network: what networks have to beat."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from sparsernn import typed
from sparsernn.data.task import Task
from sparsernn.experiments import baselines
from sparsernn.experiments.parts import fields_to_json, part_to_json
from sparsernn.experiments.rows import Row, Runs, Source, check_threads
from sparsernn.experiments.seeds import Seeds
from sparsernn.training.run_folder import Json


@dataclass(frozen=True)
class BaselineRow:
    """One line of a recipe's table without a network: what a network has to beat, fitted to the same data.

    Arguments:
        name, task, seeds, threads, published: as a `Row` has them.
        baseline: name in `baselines.BASELINES` of what is fitted.
    Raises: UserError for fewer threads than one, an unknown baseline, or seeds that this row cannot have.
    """

    name: str
    task: Task
    baseline: str
    seeds: Seeds = Seeds()
    threads: int | None = None
    published: Mapping[str, object] = field(default_factory=dict)

    sources: ClassVar[tuple[Source, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    rests_on: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_threads(self.threads)
        self.seeds.check(self.name, self.task)
        typed.choose("baseline", self.baseline, baselines.BASELINES)

    def seeded(self, seed: int) -> Self:
        """The row as a seed runs it."""
        return replace(self, task=self.seeds.task_at(self.task, seed))

    def resolved(self, runs: Runs) -> Self:
        """The row itself: it has no sources."""
        return self

    def sized(self, data: Json, runs: Runs) -> Self:
        """The row itself: it has no network."""
        return self

    def describe(self) -> str:
        """The row in a line, for people."""
        return f"{self.baseline}, no network"

    def to_json(self) -> dict[str, object]:
        """The row as plain JSON values; the task by the name of its file."""
        return {**fields_to_json(self), "task": part_to_json(self.task)}


AnyRow = Row | BaselineRow
