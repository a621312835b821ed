"""What happens around the forwards of a model that is made sparse."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from sparsernn.errors import UserError
from sparsernn.methods.draw import Draw
from sparsernn.sparsifying.drawing import Drawing
from sparsernn.sparsifying.first_forward import FirstForward
from sparsernn.sparsifying.step_hooks import leads_to

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")
# Those whose model is within a forward: what one of them has begun it ends, even where nobody else has it any more.
RUNNING: set[ForwardHooks] = set()
PATIENCE = 0.1
"""Seconds after which it is looked whether a forward in another thread still runs."""
LONGEST = 120.0
"""Seconds that a forward in another thread is waited for: one that itself waits for this thread never ends."""


class ForwardHooks:
    """Hooks on a model, there as long as anything is left for them to do.

    The first forward is followed; in training, weights may be drawn for every forward, and the first one is told.
    A forward that runs within another one of the same model is part of it; one of another thread waits until it is
    over. Of one that was interrupted (by Ctrl-C, of which torch tells no hook) what it had changed is put back at the
    next forward, saving or step.

    Arguments:
        model: the unwrapped module.
        first: follows the first forward; None if it is known who reads which units.
    """

    def __init__(self, model: nn.Module, first: FirstForward | None):
        self.model, self.first = model, first
        self.drawing: Drawing | None = None
        self.begins: Callable[[], None] | None = None
        self._guard: Callable[[], None] | None = None
        self._depth = 0
        self._begun: tuple[threading.Thread, FrameType] | None = None
        self._over_or_not = threading.Condition(threading.RLock())
        self._unseen = ""
        self._handles: list[RemovableHandle] = []
        self._update()

    def expect_training(self, drawing: Drawing | None, begins: Callable[[], None] | None) -> None:
        """From now on forwards may be those of training.

        Arguments:
            drawing: weights for each of them, or None.
            begins: called at the first one.
        """
        self.drawing, self.begins = drawing, begins
        self._update()

    def guard(self, guard: Callable[[], None]) -> None:
        """From now on something is to be done before every forward."""
        self._guard = guard
        self._update()

    @contextmanager
    def between(self) -> Iterator[None]:
        """Within the block no other thread is in a forward, so that parameters are where they belong."""
        with self._over_or_not:
            self.settle()
            yield

    def apart(self, action: Callable[Arguments, Value]) -> Callable[Arguments, Value]:
        """The same action, while no other thread is in a forward."""

        @wraps(action)
        def run(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Value:
            with self.between():
                return action(*arguments, **keywords)

        return run

    def settle(self, *_: object) -> None:
        """If a forward was interrupted, it is over now; if one runs in another thread, it is over soon."""
        with self._over_or_not:
            self._wait()
        if self._is_of_this_thread() and not _runs(*self._begun):  # type: ignore[misc]
            self._over(None)

    def check(self) -> None:
        """Raises: UserError if a forward has run without the weights that were to be drawn for it."""
        self.settle()
        if self._unseen and self.drawing is not None:
            raise UserError(
                f"{self._unseen} is trained by a method that draws weights for every forward",
                "a model that is neither compiled nor copied to several devices",
                "leave torch.compile out and take DistributedDataParallel for DataParallel, or choose another method",
            )

    def remove(self) -> None:
        """Nothing is left to do."""
        self.settle()
        self.first = self.drawing = self.begins = self._guard = None
        self._update()

    def is_replicated(self) -> None:
        """A copy of the model runs on one of several devices, with the parameters as they are."""
        self._unseen = "a model in nn.DataParallel"

    def begin(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            self._unseen = "a compiled model"
            return
        with self._over_or_not:
            self.settle()
            if not self._handles or (not self._depth and self._is_borrowed()):  # all has been done meanwhile, or no use
                return
            self._depth += 1
            if self._depth > 1:
                return
            self._begun = threading.current_thread(), sys._getframe(2)
        RUNNING.add(self)
        if self._guard is not None:
            self._guard()
        trains = self.model.training and torch.is_grad_enabled()
        if trains and self.begins is not None:
            self.begins()
            self.begins = None
        drawn = self._draw(arguments, keywords, trains)
        if self.first is not None and self.first.begin(drawn.weights):
            # Where the model is itself a recurrent layer, the recorder's hooks on it have to come first.
            self._handles.pop().remove()
            self._handles.append(self.model.register_forward_hook(Hook(self, "end"), always_call=True))
        if self.drawing is not None:
            self.drawing.put(drawn)

    def _is_borrowed(self) -> bool:
        """Whether a forward runs with tensors in the place of parameters, as torch.func does.

        Raises: UserError if others were to be drawn there.
        """
        parameters = [one for module in self.model.modules() for one in module._parameters.values()]
        borrowed = not all(isinstance(parameter, nn.Parameter | None) for parameter in parameters)
        if borrowed and self.drawing is not None:
            raise UserError(
                "a forward runs with tensors in the place of parameters, and a method draws weights for every forward",
                "the model's own parameters in it",
                "call the model without torch.func, or choose another method",
            )
        return borrowed

    def _draw(self, arguments: tuple[Any, ...], keywords: dict[str, Any], trains: bool) -> Draw:
        """What this forward computes with; nothing drawn if it is neither of training nor in evaluation mode."""
        if self.drawing is None or (self.model.training and not trains):
            return Draw()
        if self.first is not None and self.drawing.run.method.needs_readers and not torch.is_inference_mode_enabled():
            self.first.look_ahead(arguments, keywords)
            self.first = None
        return self.drawing.draw() if trains else self.drawing.evaluated()

    def end(self, arguments: Any, result: Any) -> None:
        if torch.compiler.is_compiling() or not self._is_of_this_thread():
            return
        self._depth -= 1
        if self._depth:
            return
        self._over(result)
        self._update()

    def _over(self, result: Any) -> None:
        """What was changed for a forward is changed back."""
        RUNNING.discard(self)
        self._depth = 0
        if self.drawing is not None:
            self.drawing.put_back()
        if self.first is not None and self.first.end(result):
            self.first = None
        with self._over_or_not:
            self._begun = None
            self._over_or_not.notify_all()

    def _wait(self) -> None:
        """Until no other thread is within a forward. Raises: UserError if it was interrupted there, or does not end."""
        last = time.monotonic() + LONGEST
        while self._begun is not None and not self._is_of_this_thread():
            if not self._begun[0].is_alive():
                self._over(None)
            elif _runs(*self._begun):
                if time.monotonic() > last:
                    raise UserError(
                        f"a forward of this model has run in another thread for {LONGEST:.0f} seconds",
                        "forwards that end, as one that waits for this thread does not",
                        "call the model in one thread, or detach the Sparsifier first",
                    )
                self._over_or_not.wait(PATIENCE)
            else:
                raise UserError(
                    "a forward of this model was interrupted in another thread",
                    "a model in which no forward is half done",
                    "call the model once more in that thread first",
                )

    def _is_of_this_thread(self) -> bool:
        return self._begun is not None and self._begun[0] is threading.current_thread()

    def _update(self) -> None:
        """Put the hooks on the model, or take them off."""
        needed = any(part is not None for part in (self.first, self.drawing, self.begins, self._guard))
        if needed and not self._handles:
            self._handles = [
                self.model.register_forward_pre_hook(Hook(self, "begin"), prepend=True, with_kwargs=True),
                self.model.register_state_dict_pre_hook(Hook(self, "settle")),
                self.model.register_forward_hook(Hook(self, "end"), always_call=True),
            ]
        if not needed:
            for handle in self._handles:
                handle.remove()
            self._handles = []


class Hook:
    """One hook that calls its owner. In a copy of the model it leads nowhere, and is taken off by the next forward.

    It does not keep its owner alive.
    """

    def __init__(self, owner: ForwardHooks | None = None, name: str = ""):
        self._owner, self.name = None if owner is None else weakref.ref(owner), name

    @property
    def owner(self) -> ForwardHooks | None:
        return None if self._owner is None else self._owner()

    def __call__(self, module: nn.Module, *arguments: Any) -> None:
        if getattr(module, "_is_replica", False):  # it shares the hooks with the model that it is a copy of
            if self.owner is not None:
                self.owner.is_replicated()
        elif not self.leads_nowhere(module):
            getattr(self.owner, self.name)(*arguments)
        elif self.name != "settle":  # torch goes through the hooks of saving while it calls them
            for hooks in (module._forward_pre_hooks, module._forward_hooks, module._state_dict_pre_hooks):
                for key in [
                    key for key, hook in hooks.items() if isinstance(hook, Hook) and hook.leads_nowhere(module)
                ]:
                    del hooks[key]

    def leads_nowhere(self, module: nn.Module) -> bool:
        return self.owner is None or self.owner.model is not module

    def __reduce__(self) -> tuple[type[Hook], tuple[None, str]]:
        # The model is copied or pickled: hooks come before its children, whose parameters are put back in time.
        if self.owner is not None:
            self.owner.settle()
        return Hook, (None, self.name)


def _runs(thread: threading.Thread, frame: FrameType) -> bool:
    """Whether a frame is one of those that a thread is in."""
    return leads_to(frame, sys._current_frames().get(thread.ident or 0))
