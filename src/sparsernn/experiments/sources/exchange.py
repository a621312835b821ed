"""A row two gates of which exchange their first weights and masks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from sparsernn.errors import UserError
from sparsernn.experiments.rows import Prepared, Row, Runs, Source
from sparsernn.methods.draw import Draw
from sparsernn.methods.method import Method
from sparsernn.methods.run import Run
from sparsernn.structure.axes import Layout


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


@dataclass(frozen=True)
class GateExchange(Method):
    """A method after whose first masks two gates of every recurrent layer exchange their weights and masks.

    Arguments:
        method: what makes the masks.
        gates: the two gates.
    """

    method: Method
    gates: tuple[str, str]

    @property
    def target(self) -> float | None:
        return self.method.target

    def initial_state(self) -> object:
        return self.method.initial_state()

    def prepare(self, run: Run) -> None:
        self.method.prepare(run)
        exchanged = False
        for layer in run.wiring.layers:
            for local, name in layer.weights.items():
                layout = layer.layouts[local]
                if set(self.gates) <= set(layout.gates) and "gate" in layout.stored:
                    _exchange(layout, run.weights[name].data, self.gates)
                    exchanged = True
                    if name in run.masks.kept:
                        _exchange(layout, run.masks.kept[name], self.gates)
        if not exchanged:
            raise UserError(
                f"no layer has the gates {' and '.join(self.gates)}",
                "two gates of the cell, such as update and candidate",
                "change exchange.gates",
            )
        run.note("exchange")

    @property
    def needs_readers(self) -> bool:
        return self.method.needs_readers

    def before_forward(self, run: Run) -> Mapping[str, torch.Tensor] | Draw | None:
        return self.method.before_forward(run)

    def before_evaluation(self, run: Run) -> Mapping[str, torch.Tensor] | None:
        return self.method.before_evaluation(run)

    def penalty(self, run: Run) -> torch.Tensor | None:
        return self.method.penalty(run)

    def before_step(self, run: Run) -> bool:
        return self.method.before_step(run)

    def after_step(self, run: Run) -> None:
        self.method.after_step(run)

    def finalize(self, run: Run) -> None:
        self.method.finalize(run)

    def settled(self, run: Run) -> bool:
        return self.method.settled(run)


def _exchange(layout: Layout, tensor: torch.Tensor, gates: tuple[str, str]) -> None:
    """Exchange the rows of two gates, in place."""
    first, second = (layout.view(tensor)[layout.gates.index(gate)] for gate in gates)
    rows = first.clone()
    first.copy_(second)
    second.copy_(rows)
