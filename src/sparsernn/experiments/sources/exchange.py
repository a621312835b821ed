"""A row two gates of which exchange their first weights and masks."""

from dataclasses import dataclass, replace

from sparsernn.errors import UserError
from sparsernn.experiments.gate_exchange import GateExchange
from sparsernn.experiments.rows import Prepared, Row, Runs, Source


@dataclass(frozen=True)
class Exchange(Source):
    """Exchange the weights and masks of two gates once the first masks are made.

    It is what a source computes that scores a cell in one place and trains it wired otherwise.

    Arguments:
        gates: the two gates.
    Raises: UserError for other than two.
    """

    decides = "first weights"

    gates: tuple[str, str]

    def __post_init__(self) -> None:
        if len(self.gates) != 2:
            raise UserError(f"the gates {self.gates} exchange", "two gates", "Name two gates of the cell")

    def check(self, row: Row) -> None:
        if row.method is None:
            raise UserError(
                f"row {row.name!r} exchanges the gates {' and '.join(self.gates)}, but has no method",
                "a method, whose first masks are exchanged",
                "Leave out the exchange",
            )

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        if prepared.method is None:
            return prepared
        return replace(prepared, method=GateExchange(prepared.method, self.gates))
