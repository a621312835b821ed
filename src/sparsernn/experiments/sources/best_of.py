"""A row that is trained like the best of others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sparsernn.experiments.parts import with_field
from sparsernn.experiments.rows import Row, Runs, Source


@dataclass(frozen=True)
class BestOf(Source):
    """Take the options, method and settings of a row: that which goes with the best of some rows on validation.

    Arguments:
        rows: for each row that is compared the row whose hyper-parameters are taken if it is the best; of a row that
            searches its strength, the strength that it found.
    """

    decides = "strength"

    rows: Mapping[str, str]

    @property
    def needs(self) -> tuple[str, ...]:
        return (*self.rows, *self.rows.values())

    @property
    def rests_on(self) -> tuple[str, ...]:
        return ()

    def resolve(self, row: Row, runs: Runs) -> Row:
        """Raises: SearchGaveUp if every row that is compared was given up."""
        compared = [name for name in self.rows if name not in runs.given_up]
        if not compared:
            raise runs.given_up[next(iter(self.rows))]
        figures = {name: runs.figures(name) for name in compared}
        best = min(compared, key=lambda name: -figures[name].get("valid_accuracy", -figures[name]["valid_loss"]))
        model = runs.row(self.rows[best])
        method, strength = model.method, runs.figures(model.name).get("strength")
        if strength is not None:
            method = with_field(method, "strength", strength)
        runs.say(f"{row.name}: as {model.name}")
        without = row.without(BestOf)
        return replace(without, options=model.options, method=method, settings=model.settings)
