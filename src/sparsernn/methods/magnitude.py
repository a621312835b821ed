"""Magnitude pruning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.pruning import Pruning, PruningState
from sparsernn.methods.parts.occasions import Ramp
from sparsernn.methods.parts.scores import magnitude
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction
from sparsernn.structure.groups import Groups


@dataclass
class MagnitudeState(PruningState):
    """What is remembered: the `ticket`, parameters by name to which training will be rewound."""

    ticket: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Magnitude(Pruning):
    """Remove the smallest weights, blocks, gates or neurons, gradually while training or at once.

    Sparsity follows s_t = s (1 - (1 - p)^3) between `start` and `stop`; a group's score is the root mean
    square of its weights. On a trained model without an optimizer it prunes at once.

    Arguments:
        gates: the sparsity of some gates by their names, where `per` is "gate"; the others have `sparsity`. All come to
            theirs in the same events.
        rewind: lottery-ticket rewinding: after the last event surviving weights return to their values at this
            fraction of training (0.0: their initial values), and the optimizer's memory is emptied.
    Shapes: any weight.
    Raises: UserError for a value out of range, or if no event falls within training.
    Source: Zhu & Gupta 2018, equation 1; Han et al. 2015; rewinding: Frankle & Carbin 2019, Frankle et al. 2020.
    Deviations: one ramp instead of the lottery-ticket papers' repeated trainings.
    """

    gates: Mapping[str, float] = field(default_factory=dict)
    start: float = 0.0
    stop: float = 0.5
    every: int | float = 0.02
    schedule: str = "cubic"
    rewind: float | None = None
    explained_by = (Ramp,)
    reads_dense_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for gate, sparsity in self.gates.items():
            if not 0 <= sparsity < 1:
                raise UserError(f"the sparsity of {gate} is {sparsity}", "a number in [0, 1)", "pass another")
        if self.gates and (self.per != "gate" or self.scope != "uniform" or self.sparsity == 0):
            raise UserError(
                f'sparsities of gates with per="{self.per}", scope="{self.scope}" and sparsity {self.sparsity}',
                'per="gate", scope="uniform" and a sparsity above 0 for all other gates',
                "pass these, or leave gates out",
            )
        if self.rewind is not None:
            check_fraction(self.rewind, "rewind")
            if self.rewind > self.stop:
                raise UserError(
                    f"rewind {self.rewind} comes after stop {self.stop}", "rewind <= stop", "rewind to an earlier time"
                )

    @property
    def when(self) -> Ramp:
        return Ramp(self.start, self.stop, self.every, self.schedule)

    def shares(self, groups: Groups, sparsity: float) -> float | Sequence[float]:
        if not self.gates:
            return sparsity
        names = [family.label.rpartition("[")[2].rstrip("]") for family in groups.families]
        if missing := sorted(set(self.gates) - set(names)):
            raise UserError(f"there is no gate {missing[0]}", f"some of {', '.join(sorted(set(names)))}", "name those")
        return [sparsity / self.sparsity * self.gates.get(name, self.sparsity) for name in names]

    def initial_state(self) -> MagnitudeState:
        return MagnitudeState()

    def score(self, run: Run, groups: Groups) -> Tensor:
        return magnitude(run, groups)

    def prepare(self, run: Run[MagnitudeState]) -> None:
        if self.rewind is not None and run.steps == 0:
            raise UserError(
                "rewinding a model that is not trained on",
                "an optimizer and steps, so that there is an earlier time",
                "leave rewind= out, or pass optimizer= and steps=",
            )
        super().prepare(run)
        self._remember(run)

    def after_step(self, run: Run[MagnitudeState]) -> None:
        self._remember(run)
        super().after_step(run)

    def _remember(self, run: Run[MagnitudeState]) -> None:
        if self.rewind is not None and run.step_count == round(self.rewind * run.steps):
            for name, parameter in run.model.named_parameters():
                run.state.ticket[name] = parameter.detach().clone()

    @torch.no_grad()
    def then(self, run: Run[MagnitudeState]) -> None:
        if self.rewind is None:
            return
        for name, parameter in run.model.named_parameters():
            parameter.copy_(run.state.ticket.pop(name))
        run.forget_all()
