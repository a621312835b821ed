"""Gradients as a backward pass leaves them: those of weights that exist, and apart from them those of absent ones."""

import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sparsernn.sparsifying.checks import exchanged
from sparsernn.structure.masks import Masks
from sparsernn.structure.zeroing import zero_absent_

_at_the_end_of_backward: Callable[[Callable[[], None]], None] = torch.autograd.Variable._execution_engine.queue_callback


@dataclass(frozen=True)
class _Absent:
    """What a gradient had at absent places.

    Attributes:
        entries: zero where weights exist.
        place, value: the largest entry that was left in the gradient, by which one sees how it was scaled since.
    """

    entries: Tensor
    place: Tensor
    value: Tensor

    def rejoined(self, gradient: Tensor) -> Tensor:
        """The whole gradient, scaled as what was left of it is by now."""
        value = torch.take(gradient, self.place).float()
        factor = torch.where(self.value != 0, value / self.value, torch.ones_like(value))
        return gradient + self.entries * factor.to(gradient.dtype)


@dataclass(frozen=True)
class _Separated:
    """A gradient whose absent entries are zero, its version and its mask's then, and those entries if asked for."""

    gradient: weakref.ref[Tensor]
    version: int
    mask_version: int
    absent: _Absent | None

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
        model: the unwrapped module; hooks on its frozen parameters wait until they are trained.
        masks: which weights exist.
        is_read: whether the gradients of absent weights are asked for.
    """

    def __init__(self, model: nn.Module, masks: Masks, is_read: Callable[[], bool]):
        self.model, self.masks, self.is_read = model, masks, is_read
        self._separated: dict[str, _Separated] = {}
        self._passes: Counter[str] = Counter()
        self._parameters = dict(model.named_parameters())
        self._handles = [
            self._follow(name, parameter)
            for name, parameter in self._parameters.items()
            if parameter.is_floating_point() or parameter.is_complex()
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self.clear()

    def check(self) -> None:
        """Raises: UserError if a masked weight is another one by now."""
        for name in self.masks.kept:
            path, _, local = name.rpartition(".")
            if self.model.get_submodule(path)._parameters.get(local) is not self._parameters.get(name):
                raise exchanged(f"{name} is another parameter by now")

    def _follow(self, name: str, parameter: nn.Parameter) -> RemovableHandle:
        """A hook, also on a parameter that is frozen now, for which torch takes none."""
        trained = parameter.requires_grad
        handle = parameter.requires_grad_().register_post_accumulate_grad_hook(partial(_tell, weakref.ref(self), name))
        parameter.requires_grad_(trained)
        return handle

    def clear(self) -> None:
        """A step is over: the gradients of absent weights are of no more use."""
        self._separated.clear()
        self._passes.clear()

    @property
    def passes(self) -> int:
        """How many backward passes there were since the last step."""
        return max(self._passes.values(), default=0)

    def whole(self, name: str) -> Tensor | None:
        """The gradient of a weight, scaled as `.grad` is by now, at absent places too; None if there is none."""
        gradient, separated = self.model.get_parameter(name).grad, self._separated.get(name)
        if gradient is None or separated is None or separated.absent is None or not separated.is_of(gradient):
            return gradient if gradient is None else _dense(gradient)
        return separated.absent.rejoined(_dense(gradient))

    def mask(self) -> None:
        """Make `.grad` zero at absent places where somebody, or a change of the masks, has left it otherwise."""
        for name, kept in self.masks.kept.items():
            gradient, separated = self.model.get_parameter(name).grad, self._separated.get(name)
            if gradient is None:
                continue
            if separated is None or not separated.is_still(gradient, kept):
                zero_absent_(gradient, kept)

    def _accumulated(self, name: str, parameter: Tensor) -> None:
        self._passes[name] += 1
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
        before, absent = self._separated.get(name), None
        entries = _dense(gradient).masked_fill(kept.to(gradient.device), 0) if self.is_read() else None
        zero_absent_(gradient, kept)
        if entries is not None:
            if before is not None and before.absent is not None:
                entries += before.absent.entries
            left = _dense(gradient)
            place = left.abs().argmax()
            absent = _Absent(entries, place, torch.take(left, place).float())
        self._separated[name] = _Separated(weakref.ref(gradient), gradient._version, kept._version, absent)


def _tell(gradients: weakref.ref[Gradients], name: str, parameter: Tensor) -> None:
    """A parameter's hook. It does not keep a run alive that nobody has any more."""
    told = gradients()
    if told is not None:
        told._accumulated(name, parameter)


def _dense(gradient: Tensor) -> Tensor:
    """A gradient with all its entries, where an embedding has left only rows of it."""
    return gradient.to_dense() if gradient.is_sparse else gradient
