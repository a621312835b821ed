"""What happens around the steps of an optimizer whose model is made sparse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn, optim


class StepHooks:
    """Two hooks on an optimizer's own `step`. A step that it skips on overflow is not told.

    Arguments:
        optimizer: any of torch's, or of the same kind.
        ready: the gradients of a step are there; returns whether it may move weights.
        again: a closure has made gradients once more within the same step.
        done: weights have moved.
    """

    def __init__(
        self,
        optimizer: optim.Optimizer,
        ready: Callable[[], bool],
        again: Callable[[], None],
        done: Callable[[], None],
    ):
        self.ready, self.again, self.done = ready, again, done
        self._hidden: dict[nn.Parameter, Tensor] = {}
        self._overflows = False
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _before(self, optimizer: optim.Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        # GradScaler leaves found_inf on optimizers that skip an overflow by themselves.
        overflow = getattr(optimizer, "found_inf", None)
        self._overflows = overflow is not None and bool(overflow)
        closure = keywords.get("closure", arguments[1] if len(arguments) > 1 else None)
        if self._overflows:
            return None
        if closure is None:
            self._gradients_ready(optimizer)
            return None
        following = self._following(optimizer, closure)
        if "closure" in keywords:
            return arguments, keywords | {"closure": following}
        return (optimizer, following, *arguments[2:]), keywords

    def _following(self, optimizer: optim.Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
        """A closure that tells of the gradients it makes; only its first call counts as this step's gradient."""
        calls = 0

        def told() -> Any:
            nonlocal calls
            loss, calls = closure(), calls + 1
            self._gradients_ready(optimizer) if calls == 1 else self.again()
            return loss

        return told

    def _gradients_ready(self, optimizer: optim.Optimizer) -> None:
        if self.ready():
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._hidden[parameter], parameter.grad = parameter.grad, None

    def _after(self, *_: Any) -> None:
        for parameter, gradient in self._hidden.items():
            parameter.grad = gradient
        self._hidden.clear()
        if not self._overflows:
            self.done()
