"""A row that takes only the zeros of another row."""

from dataclasses import dataclass, replace

from sparsernn.errors import UserError
from sparsernn.experiments import network
from sparsernn.experiments.rows import Prepared, Row, RowSource, Runs
from sparsernn.experiments.sources.start import begun

FRESH = 7919
"""Added to the seed for first weights that differ from those of the row with the zeros."""


@dataclass(frozen=True)
class Zeros(RowSource):
    """Keep the zeros of a trained row, with new first weights, other than those that it began with.

    Arguments:
        row: its name.
    """

    decides = "first weights"

    def check(self, row: Row) -> None:
        if row.method is not None:
            raise UserError(
                f"row {row.name!r} keeps the zeros of {self.row!r} and has a method",
                "no method of its own",
                "Leave out the method",
            )

    def describe(self) -> str:
        return f"from the zeros of {self.row}"

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        prepared, _ = begun(prepared, self.row, runs)
        row = prepared.row
        fresh = network.with_vectors(row, prepared.loaded, prepared.data, row.settings.seed + FRESH)
        return replace(prepared, network=fresh)
