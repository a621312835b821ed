"""An experiment: what is asked for of a recipe, and the rows that this comes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sparsernn.experiments import results
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.overrides import override
from sparsernn.experiments.recipe import Recipe, Size, read_recipe, select, size_of


@dataclass(frozen=True)
class Request:
    """What to run of a recipe, and where.

    Arguments:
        recipe: name of a file in `recipes/`.
        size: "full", "cpu" or "quick"; None takes the recipe's default.
        rows: names of rows; those they need are run too. None runs all.
        seeds: every row is run once for each.
        assignments: `path=value` changes, as `--set` gives them.
        out: folder of the run folders; None finds a free one under `runs/`.
        data: folder of the data files.
        results: a second folder for the result files, beside `out/results`.
        resume: go on with what `out` holds.
        progress: show each row's training.
    """

    recipe: str
    size: str | None = None
    rows: Sequence[str] | None = None
    seeds: Sequence[int] = (0,)
    assignments: Sequence[str] = ()
    out: Path | None = None
    data: Path | None = None
    results: Path | None = None
    resume: bool = False
    progress: bool = True


@dataclass(frozen=True)
class Experiment:
    """A request with all that it leaves open.

    Arguments:
        request: what was asked for.
        name, size, title, source: of the recipe.
        rows: in an order in which each comes after what it needs.
        shown: the same in the order of the recipe.
        out: folder of the run folders.
        command: what to write down as the command that makes the figures, where it is not `sparsernn run`.
    """

    request: Request
    name: str
    size: Size
    title: str
    source: str
    rows: Sequence[AnyRow]
    shown: Sequence[AnyRow]
    out: Path
    command: str | None = None

    @classmethod
    def of(cls, request: Request, recipe: Recipe | None = None, command: str | None = None) -> Self:
        """The experiment that a request comes to.

        Arguments:
            recipe: one that is no file of the folder; its name is the request's.
        Raises: UserError for anything in the request that does not exist or does not fit.
        """
        name = request.recipe
        if recipe is None:
            recipe = read_recipe(request.recipe)
            name = name.strip().lower().replace("-", "_")
        size = recipe.default_size if request.size is None else size_of(request.size)
        rows = override(recipe.at(size), request.assignments)
        ordered = select(rows, request.rows)
        names = {row.name for row in ordered}
        shown = [row for row in rows if row.name in names]
        out = results.output_folder(request.out, name, request.resume)
        return cls(request, name, size, recipe.title, recipe.source, ordered, shown, out, command)

    @property
    def passes(self) -> list[tuple[int, list[AnyRow]]]:
        """Seeds and the rows trained with them: those with a seed of their own first."""
        single = sorted({row.seeds.only for row in self.rows if row.seeds.only is not None})
        others = [row for row in self.rows if row.seeds.only is None]
        return [
            *((seed, [row for row in self.rows if row.seeds.only == seed]) for seed in single),
            *((seed, others) for seed in self.request.seeds if others),
        ]

    def about(self, row: str, seed: int) -> dict[str, str | int]:
        """What names a result: {"recipe", "row", "size", "seed"}."""
        return {"recipe": self.name, "row": row, "size": self.size, "seed": seed}

    def command_of(self, row: str, seed: int) -> str:
        """The command that makes a row's figures again."""
        return self.command or results.command(self.name, self.size, row, seed, self.request.assignments)
