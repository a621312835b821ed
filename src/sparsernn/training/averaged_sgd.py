"""Stochastic gradient descent that, from some point on, is evaluated at the average of its weights."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from sparsernn.errors import UserError
from sparsernn.structure.budget import check_number
from sparsernn.training.evaluated_weights import check_trains, exchange
from sparsernn.typed import is_of

Group = dict[str, Any]


class NTASGD(Optimizer):
    """Plain SGD, averaged once validation stops improving (non-monotonically triggered averaging).

    w <- w - lr (g + weight_decay w) throughout. After each validation the loop calls `validated(loss)`; averaging
    begins when a loss is above the lowest of all but the last `patience` before it. The k-th step after that moves
    the average by a <- a + (w - a) / max(1, k - 1). `eval()` puts the averages in the place of the weights, `train()`
    the weights back; neither loses a bit. `fit` does all three.

    Arguments:
        params: parameters or groups, as torch's optimizers take them.
        lr, weight_decay: as torch.optim.SGD.
        patience: how many of the last losses are left out of the comparison.
    Shapes: any parameter.
    Raises: UserError for a value out of range, or a step between `eval()` and `train()`.
    Source: Merity et al. 2018, on NT-ASGD; the averages are those of torch.optim.ASGD with t0 = 0, lambd = 0.
    Deviations: the last losses are left out of the minimum, as in the authors' code; their pseudocode keeps the last.
    """

    def __init__(self, params: ParamsT, lr: float = 1e-3, weight_decay: float = 0.0, patience: int = 5):
        check_number(lr, "lr")
        check_number(weight_decay, "weight_decay")
        if not is_of(patience, int) or patience < 1:
            raise UserError(f"patience is {patience!r}", "a whole number of at least 1", "Change patience")
        progress = {"recent": [math.inf] * patience, "lowest": math.inf, "averages": False, "evaluates": False}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay} | progress)

    @property
    def averages(self) -> bool:
        """Whether averaging has begun."""
        return self.param_groups[0]["averages"]

    def validated(self, loss: float) -> None:
        """Take note of a validation loss; begin to average if it is no improvement in the sense above."""
        for group in self.param_groups:
            oldest, *later = group["recent"]
            group["averages"] = group["averages"] or loss > group["lowest"]
            group["lowest"], group["recent"] = min(group["lowest"], oldest), [*later, loss]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient; returns what the closure does."""
        check_trains(self)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: Group) -> None:
        if not group["averages"]:
            _descend(parameter, group)
            return
        state = self.state[parameter]
        if not state:
            state["step"], state["average"] = self._uncounted(parameter), torch.zeros_like(parameter)
        self._count(parameter, group, state["step"])
        share = (state["step"] - 1).clamp_min(1).to(parameter.dtype).reciprocal()
        state["average"].lerp_(parameter, share)

    def _uncounted(self, parameter: Tensor) -> Tensor:
        """Where the steps of a parameter's average are counted, at 0."""
        return torch.zeros((), dtype=torch.int32, device=parameter.device)

    def _count(self, parameter: Tensor, group: Group, steps: Tensor) -> None:
        """One step of gradient descent, counted."""
        _descend(parameter, group)
        steps.add_(1)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the averages, where there are any, in the place of the weights."""
        exchange(self, evaluates=True, prepare=self._before_shown)

    @torch.no_grad()
    def train(self) -> None:
        """Put the weights back."""
        exchange(self, evaluates=False)

    def _before_shown(self, weight: Tensor, average: Tensor) -> None:
        """Make an average fit to be evaluated."""

    def load_state_dict(self, state_dict: StateDict) -> None:
        """As torch's; counts go to their parameter's device."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            state["step"] = state["step"].to(parameter.device)


class SNTASGD(NTASGD):
    """`NTASGD` for sparse training: each weight of a matrix has an average of its own, which restarts after absence.

    A weight that is exactly zero when a step begins, as every absent one is, counts its steps from there on anew, and
    is zero in the evaluated weights for as long as it is absent. So nothing has to be told which weights exist: the
    zeros that a `Sparsifier`, or a loop of one's own, writes after each step say it. A vector (bias) has one count,
    as in `NTASGD`.

    Arguments: as `NTASGD`.
    Shapes: any parameter; those of two or more dimensions have a count for each of their weights.
    Raises: as `NTASGD`.
    Source: Liu et al. 2021 (Selfish sparse RNN training), on SNT-ASGD.
    Deviations: absence is read off exact zeros instead of a mask, so the steps in which a new weight has not yet
        moved from zero (that of a word that has not occurred) do not count.
    """

    def _uncounted(self, parameter: Tensor) -> Tensor:
        return torch.zeros_like(parameter, dtype=torch.int32) if parameter.dim() > 1 else super()._uncounted(parameter)

    def _count(self, parameter: Tensor, group: Group, steps: Tensor) -> None:
        if parameter.dim() < 2:
            super()._count(parameter, group, steps)
            return
        steps.masked_fill_(parameter == 0, 0)
        _descend(parameter, group)
        steps.add_(parameter != 0)

    def _before_shown(self, weight: Tensor, average: Tensor) -> None:
        if weight.dim() > 1:
            average.masked_fill_(weight == 0, 0)


def _descend(parameter: Tensor, group: Group) -> None:
    """w <- w - lr (g + weight_decay w)."""
    gradient = parameter.grad
    if gradient is None:
        return
    if group["weight_decay"]:
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
    parameter.add_(gradient, alpha=-group["lr"])
