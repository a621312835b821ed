"""Gradients as a backward pass leaves them: those of weights that exist, and apart from them those of absent ones."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sparsernn.structure.masks import Masks
from sparsernn.structure.zeroing import zero_absent_

_at_the_end_of_backward: Callable[[Callable[[], None]], None] = torch.autograd.Variable._execution_engine.queue_callback


@dataclass(frozen=True)
class _Separated:
    """A gradient whose absent entries are zero, and the version it then had, as had its mask.

    Attributes:
        absent: what stood at absent places, where it is asked for; zero elsewhere.
        place, value: the largest entry that is left, by which one sees how it was scaled since.
    """

    gradient: weakref.ref[Tensor]
    version: int
    mask_version: int
    absent: Tensor | None = None
    place: Tensor | None = None
    value: Tensor | None = None

    def is_of(self, gradient: Tensor | None) -> bool:
        return gradient is not None and self.gradient() is gradient

    def is_still(self, gradient: Tensor, kept: Tensor) -> bool:
        """Whether nobody has written to it or to its mask."""
        return self.is_of(gradient) and (self.version, self.mask_version) == (gradient._version, kept._version)

    def grew_into(self, gradient: Tensor | None) -> bool:
        """Whether a backward pass, and nothing else, added to it."""
        return gradient is not None and self.is_of(gradient) and gradient._version == self.version + 1


class Gradients:
    """After every backward pass `.grad` is zero where a weight is absent, whatever kernel computed it.

    So clipping counts what exists. Separation comes at the end of the whole pass, when data parallel has averaged what
    it averages. Of batches accumulated under its `no_sync` the absent entries are those of this process alone.

    Arguments:
        model: the unwrapped module; its frozen parameters are left alone.
        masks: which weights exist.
        is_read: whether the gradients of absent weights are asked for.
    """

    def __init__(self, model: nn.Module, masks: Masks, is_read: Callable[[], bool]):
        self.model, self.masks, self.is_read = model, masks, is_read
        self._separated: dict[str, _Separated] = {}
        self._handles = [
            parameter.register_post_accumulate_grad_hook(partial(self._accumulated, name))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self.clear()

    def clear(self) -> None:
        """The gradients of absent weights are of no more use."""
        self._separated.clear()

    def whole(self, name: str) -> Tensor | None:
        """The gradient of a weight, scaled as `.grad` is by now, at absent places too; None if there is none."""
        gradient, separated = self.model.get_parameter(name).grad, self._separated.get(name)
        if gradient is None or separated is None or separated.absent is None or not separated.is_of(gradient):
            return gradient
        value = torch.take(gradient, separated.place).float()
        factor = torch.where(separated.value != 0, value / separated.value, torch.ones_like(value))
        return gradient + separated.absent * factor.to(gradient.dtype)

    def mask(self) -> None:
        """Make `.grad` zero at absent places where somebody, or a change of the masks, has left it otherwise."""
        for name, kept in self.masks.kept.items():
            gradient, separated = self.model.get_parameter(name).grad, self._separated.get(name)
            if gradient is None:
                continue
            if separated is None or not separated.is_still(gradient, kept):
                zero_absent_(gradient, kept)

    def _accumulated(self, name: str, parameter: Tensor) -> None:
        if name not in self.masks.kept:
            return
        separated = self._separated.get(name)
        if separated is not None and not separated.grew_into(parameter.grad):
            del self._separated[name]
        # Data parallel ends a pass by a callback of its own, which comes before one that is queued by another callback.
        _at_the_end_of_backward(partial(_at_the_end_of_backward, partial(self._separate, name, parameter)))

    @torch.no_grad()
    def _separate(self, name: str, parameter: Tensor) -> None:
        gradient, kept = parameter.grad, self.masks.kept.get(name)
        if gradient is None or kept is None:
            return
        before, absent, place, value = self._separated.get(name), None, None, None
        if self.is_read():
            absent = gradient.masked_fill(kept.to(gradient.device), 0)
            if before is not None and before.absent is not None:
                absent += before.absent
        zero_absent_(gradient, kept)
        if absent is not None:
            place = gradient.abs().argmax()
            value = torch.take(gradient, place).float()
        versions = gradient._version, kept._version
        self._separated[name] = _Separated(weakref.ref(gradient), *versions, absent, place, value)
