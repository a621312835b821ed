"""What happens around the steps of optimizers whose model is made sparse."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn, optim

from sparsernn.sparsifying.optimizers import Optimizers


@dataclass
class _Call:
    """A step that runs: whose, its frame on the stack, and whether it moves nothing because gradients overflowed."""

    optimizer: Any
    frame: types.FrameType | None
    overflows: bool


class StepHooks:
    """Hooks on every optimizer and wrapper; each true step is told once, however many of them it runs through.

    A call of the outermost one with all that it calls is one step, and so is an inner optimizer's step that no outer
    one has called, as in two-phase optimizers. Several optimizers make one step together, which is over when all have
    stepped or one of them comes again. Calls that reach no innermost optimizer (accumulation), and those that it skips
    on overflow, are no steps.

    Arguments:
        optimizers: what steps the weights.
        ready: the gradients of a step are there, times a scale if one is given; returns whether it may move weights.
        again: gradients were made or used once more within the same step.
        moved: weights have moved, in the middle of a step.
        done: a step is over.
    """

    def __init__(
        self,
        optimizers: Optimizers,
        ready: Callable[[Tensor | None], bool],
        again: Callable[[], None],
        moved: Callable[[], None],
        done: Callable[[], None],
    ):
        self.optimizers = optimizers
        self.ready, self.again, self.moved, self.done = ready, again, moved, done
        self._calls: list[_Call] = []
        self._moved: list[Any] = []  # leaves that stepped within the outermost call
        self._stepped: list[Any] = []  # leaves that stepped in a step of several calls
        self._has_told = self._withheld = False
        self._hidden: dict[nn.Parameter, Tensor] = {}
        self._removals: list[Callable[[], None]] = []
        for one in optimizers.all:
            if isinstance(one, optim.Optimizer) and "_optimizer_step_pre_hooks" in vars(one):
                self._removals.append(one.register_step_pre_hook(_Hook(self, "_before")).remove)
                self._removals.append(one.register_step_post_hook(_Hook(self, "_after")).remove)
            elif hasattr(type(one), "step") or self._is_leaf(one):
                self._put_around(one)

    def remove(self) -> None:
        """Take the hooks off."""
        for remove in self._removals:
            remove()
        self._removals, self._calls = [], []

    def flush(self) -> None:
        """A step of several calls counts, although not all optimizers have stepped."""
        if self._stepped:
            self._stepped, self._has_told, self._withheld = [], False, False
            self.done()

    def _put_around(self, one: Any) -> None:
        """Follow the steps of something that has no hooks. A copy of it has its plain step again."""
        before, is_there = one.step, [True]
        replaced = getattr(one, "__dict__", {}).get("step")

        @functools.wraps(getattr(before, "__func__", before))
        def step(self_: Any, *arguments: Any, **keywords: Any) -> Any:
            if self_ is not one and hasattr(type(self_), "step"):
                return type(self_).step(self_, *arguments, **keywords)
            if not is_there or self_ is not one:
                return before(*arguments, **keywords)
            with self._called(one, sys._getframe()):
                return before(*self._followed(one, arguments, keywords), **keywords)

        def remove() -> None:
            is_there.clear()
            if getattr(vars(one).get("step"), "__func__", None) is step:
                vars(one).pop("step")
                vars(one).update({} if replaced is None else {"step": replaced})

        try:
            one.step = types.MethodType(step, one)
        except AttributeError:  # slots: the optimizers inside it are followed
            return
        self._removals.append(remove)

    @contextmanager
    def _called(self, one: Any, frame: types.FrameType) -> Iterator[None]:
        self._begin(one, frame)
        yield
        self._end(one)

    def _followed(self, one: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        """The arguments with a closure that tells of its gradients; a keyword is changed in place."""
        closure = keywords.get("closure", arguments[0] if arguments else None)
        if self._calls[-1].overflows or not callable(closure):
            if self._is_leaf(one) and not self._calls[-1].overflows:
                self._gradients()
            return arguments
        if "closure" in keywords:
            keywords["closure"] = self._told_of(closure)
            return arguments
        return self._told_of(closure), *arguments[1:]

    def _before(self, one: optim.Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        self._begin(one, sys._getframe(2))
        if arguments and arguments[0] is one:
            return (one, *self._followed(one, arguments[1:], keywords)), keywords
        return self._followed(one, arguments, keywords), keywords

    def _after(self, one: optim.Optimizer, *_: Any) -> None:
        self._end(one)

    def _begin(self, one: Any, frame: types.FrameType) -> None:
        self._calls = [call for call in self._calls if leads_to(call.frame, sys._getframe())]  # others have raised
        if not self._calls:
            self._moved, self._has_told = [], self._has_told and bool(self._stepped)
            if any(leaf is other for leaf in self.optimizers.below(one) for other in self._stepped):
                self.flush()
        # GradScaler leaves found_inf on optimizers that skip an overflow by themselves.
        overflow = getattr(one, "found_inf", None)
        overflows = overflow is not None and bool(overflow)
        self._calls.append(_Call(one, frame, overflows or any(call.overflows for call in self._calls)))

    def _end(self, one: Any) -> None:
        while self._calls and self._calls[-1].optimizer is not one:
            self._calls.pop()
        overflows = self._calls.pop().overflows if self._calls else False
        if self._is_leaf(one) and not any(call.optimizer is one for call in self._calls):
            for parameter, gradient in self._hidden.items():
                parameter.grad = gradient
            self._hidden.clear()
            if not overflows and not any(one is leaf for leaf in self._moved):
                self._moved.append(one)
        if self._calls or not self._moved:
            return
        self._stepped += [leaf for leaf in self._moved if not any(leaf is other for other in self._stepped)]
        if len(self._stepped) == len(self.optimizers.leaves):
            self.flush()
        else:
            self.moved()

    def _is_leaf(self, one: Any) -> bool:
        return any(one is leaf for leaf in self.optimizers.leaves)

    def _told_of(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """A closure that tells of the gradients it makes; only its first call counts as this step's gradient."""

        @functools.wraps(closure)
        def told() -> Any:
            loss = closure()
            self._gradients()
            return loss

        return told

    def _gradients(self) -> None:
        """Gradients are there, of the first or a further time in this step."""
        leaf = next((call.optimizer for call in reversed(self._calls) if self._is_leaf(call.optimizer)), None)
        if self._has_told:
            self.again()
        else:
            self._has_told = True
            self._withheld = not self.ready(getattr(leaf, "grad_scale", None))
        if self._withheld and leaf is not None:
            for group in leaf.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._hidden[parameter], parameter.grad = parameter.grad, None


class _Hook:
    """A hook of an optimizer. In a copy it leads nowhere."""

    def __init__(self, owner: StepHooks | None = None, name: str = ""):
        self.owner, self.name = owner, name

    def __call__(self, *arguments: Any) -> Any:
        return None if self.owner is None else getattr(self.owner, self.name)(*arguments)

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()


def leads_to(frame: types.FrameType | None, current: types.FrameType | None) -> bool:
    """Whether a frame is the current one of a thread, or one of those that led there."""
    while current is not None and current is not frame:
        current = current.f_back
    return current is not None
