"""What happens around the forwards of a model that is made sparse."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from sparsernn.errors import UserError
from sparsernn.methods.draw import Draw
from sparsernn.sparsifying.drawing import Drawing
from sparsernn.sparsifying.first_forward import FirstForward

# Those whose model is within a forward: what one of them has begun it ends, even where nobody else has it any more.
RUNNING: set[ForwardHooks] = set()


class ForwardHooks:
    """Hooks on a model, there as long as anything is left for them to do.

    The first forward is followed; in training, weights may be drawn for every forward, and the first one is told.
    A forward that runs within another one of the same model is part of it. Of one that was interrupted (by Ctrl-C, of
    which torch tells no hook) what it had changed is put back at the next forward, saving or step.

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
        self._begun: tuple[int, FrameType] | None = None
        self._compiled = False
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

    def settle(self, *_: object) -> None:
        """If a forward was interrupted, it is over now."""
        if self._begun is None or self._begun[0] != threading.get_ident():
            return
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame is not self._begun[1]:
            frame = frame.f_back
        if frame is None:
            self._depth = 0
            self._over(None)

    def check(self) -> None:
        """Raises: UserError if compiled code has run without the weights that were to be drawn for it."""
        self.settle()
        if self._compiled and self.drawing is not None:
            raise UserError(
                "a compiled model is trained by a method that draws weights for every forward",
                "a model that is not compiled",
                "leave torch.compile out, or choose another method",
            )

    def remove(self) -> None:
        """Nothing is left to do."""
        self.settle()
        self.first = self.drawing = self.begins = self._guard = None
        self._update()

    def begin(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            self._compiled = True
            return
        self.settle()
        self._depth += 1
        if self._depth > 1:
            return
        RUNNING.add(self)
        self._begun = threading.get_ident(), sys._getframe(2)
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

    def _draw(self, arguments: tuple[Any, ...], keywords: dict[str, Any], trains: bool) -> Draw:
        """What this forward computes with; nothing drawn if it is neither of training nor in evaluation mode."""
        if self.drawing is None or (self.model.training and not trains):
            return Draw()
        if self.first is not None and self.drawing.run.method.needs_readers and not torch.is_inference_mode_enabled():
            self.first.look_ahead(arguments, keywords)
            self.first = None
        return self.drawing.draw() if trains else self.drawing.evaluated()

    def end(self, arguments: Any, result: Any) -> None:
        if torch.compiler.is_compiling():
            return
        self._depth = max(self._depth - 1, 0)
        if self._depth:
            return
        self._over(result)
        self._update()

    def _over(self, result: Any) -> None:
        """What was changed for a forward is changed back."""
        RUNNING.discard(self)
        self._begun = None
        if self.drawing is not None:
            self.drawing.put_back()
        if self.first is not None and self.first.end(result):
            self.first = None

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
        if not self.leads_nowhere(module):
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
        return Hook, (None, self.name)
