"""A row whose strength is searched, so that its network has a wanted size."""

from dataclasses import dataclass, replace

from sparsernn.errors import UserError
from sparsernn.experiments import size_search
from sparsernn.experiments.parts import with_field
from sparsernn.experiments.rows import Row, Runs, Source
from sparsernn.experiments.size_search import TargetSearch
from sparsernn.training.run_folder import Json


@dataclass(frozen=True)
class Search(TargetSearch, Source):
    """The size at which the method's strength is to leave the network, and which seed looks for that strength.

    One seed searches; the row's other seeds are trained at the strength it found, so their sizes vary around the goal.

    Arguments: those of `TargetSearch`, and
        metric: a figure of the row's result: "transitions", "weights_kept", "bytes", "macs_per_token", ...
        seed: of the trainings of the search.
    Source: Dodge et al. 2019: a strength is found once, then the training is repeated at it.
    """

    decides = "strength"

    metric: str = "weights_kept"
    seed: int = 0

    def check(self, row: Row) -> None:
        if not hasattr(row.method, "strength"):
            raise UserError(
                f"row {row.name!r} searches for a strength, but its method has none",
                "a method that regularises, such as group lasso",
                "Leave out search",
            )

    def resolve(self, row: Row, runs: Runs) -> Row:
        """The row at the strength that is found; the accepted training is moved to the search's own seed."""
        place = runs.out / f"{row.name}-search"

        def train(number: int, strength: float) -> Json:
            return runs.run_in(place / f"trial-{number}", at(row, strength), self.seed)["metrics"]

        trials = size_search.find(self, self.metric, place, train, runs.say)
        accepted, folder = place / f"trial-{len(trials)}", runs.folder(row.name, self.seed)
        if accepted.exists() and not folder.exists():
            accepted.rename(folder)
        return at(row, trials[-1].strength)

    def figures(self, row: Row) -> dict[str, float]:
        return {"strength": vars(row.method)["strength"]}


def at(row: Row, strength: float) -> Row:
    """The row with its method at a strength."""
    return replace(row, method=with_field(row.method, "strength", strength))
