"""AdamW that is evaluated at a moving average of its weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW
from torch.optim.optimizer import ParamsT

from sparsernn.errors import UserError
from sparsernn.training.evaluated_weights import check_trains, exchange
from sparsernn.typed import is_of


class AveragedAdamW(AdamW):
    """AdamW, with an exponential moving average of each weight.

    After step k the average moves by a <- a + max(1 - average, 1 / k) (w - a): at first it is the plain mean. `eval()`
    puts the averages in the place of the weights, `train()` the weights back; `fit` does both.

    Arguments:
        params: parameters or groups, as torch's optimizers take them.
        lr, weight_decay, options: as torch.optim.AdamW.
        average: how much of the average stays in a step, in [0, 1).
    Shapes: any parameter.
    Raises: UserError for an average outside its range, or a step between `eval()` and `train()`.
    Source: Polyak & Juditsky 1992; Loshchilov & Hutter 2019.
    """

    def __init__(
        self, params: ParamsT, lr: float = 1e-3, weight_decay: float = 1e-2, average: float = 0.99, **options: Any
    ):
        if not is_of(average, float) or not 0 <= average < 1:
            raise UserError(f"average is {average!r}", "a number from 0 to below 1", "0.99 is usual")
        super().__init__(params, lr=lr, weight_decay=weight_decay, **options)
        for group in self.param_groups:
            group |= {"average": float(average), "evaluates": False}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient; returns what the closure does."""
        check_trains(self)
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    share = max(1 - group["average"], 1 / float(state["step"]))
                    state.setdefault("average", torch.zeros_like(parameter)).lerp_(parameter, share)
        return loss

    @torch.no_grad()
    def eval(self) -> None:
        """Put the averages, where there are any, in the place of the weights."""
        exchange(self, evaluates=True)

    @torch.no_grad()
    def train(self) -> None:
        """Put the weights back."""
        exchange(self, evaluates=False)
