"""What happens around the forwards of a model that is made sparse."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from sparsernn.errors import UserError
from sparsernn.methods.draw import Draw
from sparsernn.sparsifying.drawing import Drawing
from sparsernn.sparsifying.first_forward import FirstForward


class ForwardHooks:
    """Two hooks on a model, there as long as anything is left for them to do.

    The first forward is followed; in training, weights may be drawn for every forward, and the first one is told.
    A forward that runs within another one of the same model is part of it.

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

    def check(self) -> None:
        """Raises: UserError if compiled code has run without the weights that were to be drawn for it."""
        if self._compiled and self.drawing is not None:
            raise UserError(
                "a compiled model is trained by a method that draws weights for every forward",
                "a model that is not compiled",
                "leave torch.compile out, or choose another method",
            )

    def remove(self) -> None:
        """Nothing is left to do."""
        self.first = self.drawing = self.begins = self._guard = None
        self._update()

    def begin(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            self._compiled = True
            return
        self._depth += 1
        if self._depth > 1:
            return
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
        if self.drawing is not None:
            self.drawing.put_back()
        if self.first is not None and self.first.end(result):
            self.first = None
        self._update()

    def _update(self) -> None:
        """Put the hooks on the model, or take them off."""
        needed = any(part is not None for part in (self.first, self.drawing, self.begins, self._guard))
        if needed and not self._handles:
            self._handles = [
                self.model.register_forward_pre_hook(Hook(self, "begin"), prepend=True, with_kwargs=True),
                self.model.register_forward_hook(Hook(self, "end"), always_call=True),
            ]
        if not needed:
            for handle in self._handles:
                handle.remove()
            self._handles = []


class Hook:
    """One hook that calls its owner. In a copy of the model it leads nowhere and takes itself off when called.

    It does not keep its owner alive.
    """

    def __init__(self, owner: ForwardHooks | None = None, name: str = ""):
        self._owner, self.name = None if owner is None else weakref.ref(owner), name

    @property
    def owner(self) -> ForwardHooks | None:
        return None if self._owner is None else self._owner()

    def __call__(self, module: nn.Module, *arguments: Any) -> None:
        owner = self.owner
        if owner is not None and module is owner.model:
            getattr(owner, self.name)(*arguments)
            return
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook is self]:
                del hooks[key]

    def __reduce__(self) -> tuple[type[Hook], tuple[()]]:
        return Hook, ()
