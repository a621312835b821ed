"""A row that learns from another row's outputs."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsernn.errors import UserError
from sparsernn.experiments.rows import Prepared, RowSource, Runs
from sparsernn.training.batches import Batch, Carry
from sparsernn.training.objectives import IGNORED, Network, Objective, Sums, detached


@dataclass(frozen=True)
class Teacher(RowSource):
    """Another row whose trained network teaches this one; see `Distillation`.

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
        check(self.share, self.temperature)

    def describe(self) -> str:
        return f"taught by {self.row}"

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        network, _ = runs.network(self.row, prepared.row.settings.seed)
        objective = Distillation(prepared.objective, network, self.share, self.temperature)
        return replace(prepared, objective=objective)


def check(share: float, temperature: float) -> None:
    """Raises: UserError for a share outside [0, 1] or a temperature that is not above 0."""
    if not 0 <= share <= 1:
        raise UserError(f"share is {share}", "a number from 0 to 1", "choose how much of the loss is the teacher's")
    if not temperature > 0:
        raise UserError(f"temperature is {temperature}", "a number above 0", "1 leaves distributions as they are")


class Distillation(Objective):
    """An objective whose loss in training is (1 - share) of its own and `share` of the difference from a teacher.

    For logits that difference is temperature² KL(teacher || student) of both distributions at `temperature`, for
    forecasts the mean squared one. Figures, and everything in evaluation, are the objective's own.

    Arguments:
        objective: what the task minimises.
        teacher: a trained network for the same inputs; a copy of it is kept, in evaluation mode.
        share: in [0, 1].
        temperature: of the softmax, above 0.
    Raises: UserError for a value out of range.
    Source: Hinton, Vinyals & Dean 2015, "Distillation".
    """

    def __init__(self, objective: Objective, teacher: nn.Module, share: float = 0.5, temperature: float = 2.0):
        check(share, temperature)
        self.objective, self.share, self.temperature = objective, share, temperature
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.metric, self.better, self.batch_axis = objective.metric, objective.better, objective.batch_axis

    def arguments(self, batch: Batch) -> tuple[Tensor, ...]:
        return self.objective.arguments(batch)

    def targets(self, batch: Batch) -> Tensor:
        return self.objective.targets(batch)

    def figures(self, sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        return self.objective.figures(sums)

    def loss(self, model: Network, batch: Batch, carry: Carry = None) -> tuple[Tensor, Sums, Carry]:
        if not torch.is_grad_enabled():
            return self.objective.loss(model, batch, carry)
        state, teachers = carry if isinstance(carry, tuple) else (None, None)
        student = _Heard(model)
        loss, sums, state = self.objective.loss(student, batch, state)
        self.teacher.to(loss.device)
        lesson = _Heard(self.teacher)
        with torch.no_grad():
            _, _, teachers = self.objective.loss(lesson, batch, teachers)
        difference = self.difference(student.output, lesson.output, batch)
        return (1 - self.share) * loss + self.share * difference, sums, (state, detached(teachers))

    def difference(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """How far the outputs are apart, on average over the targets that are scored."""
        targets = self.targets(batch)
        if targets.is_floating_point():
            return functional.mse_loss(student, teacher)
        ours, theirs = (functional.log_softmax(out.float() / self.temperature, -1) for out in (student, teacher))
        apart = functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
        scored = (targets != IGNORED)[:, : apart.shape[1]] if apart.dim() > 1 else targets != IGNORED
        return self.temperature**2 * (apart * scored).sum() / scored.sum().clamp(min=1)


class _Heard:
    """Calls a network and keeps what it said."""

    def __init__(self, network: Network):
        self.network = network
        self.output: Tensor = torch.empty(0)

    def __call__(self, *arguments: Tensor) -> Any:
        said = self.network(*arguments)
        self.output = said[0] if isinstance(said, tuple) else said
        return said
