"""States of the width before compaction, where they come into a model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsernn.errors import UserError


def refuse_scripting() -> nn.Module:
    """What torch.jit.script calls on a module with such hooks. Raises: UserError, as it compiles no hooks like them."""
    raise UserError(
        "torch.jit.script cannot compile a compacted layer whose states come in and go out in their old width",
        "a model that keeps its states to itself",
        "use torch.jit.trace or torch.export, or script the model before it is compacted",
    )


class NarrowStates:
    """A forward pre-hook: initial states of the width before compaction are cut to the units that are left.

    Arguments:
        kept: for each state, kept unit numbers of every layer and direction.
        widths: for each state, the width before.
    """

    def __init__(self, kept: list[list[list[int]]], widths: list[int]):
        self.kept, self.widths = kept, widths

    def then(self, kept: list[list[list[int]]]) -> tuple[list[list[list[int]]], list[int]]:
        """The arguments of a hook that does this cut, and after it one to `kept` of the units left."""
        return [
            [[before[unit] for unit in units] for before, units in zip(old, new, strict=True)]
            for old, new in zip(self.kept, kept, strict=True)
        ], self.widths

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any] | None = None) -> Any:
        """Quantisation by torch registers hooks anew, without keywords."""
        if keywords is None:
            return (*arguments[:1], *map(self._narrow, arguments[1:]))
        named = {name: self._narrow(value) if name in ("hx", "state") else value for name, value in keywords.items()}
        return (*arguments[:1], *map(self._narrow, arguments[1:])), named

    def _narrow(self, value: Any) -> Any:
        if isinstance(value, Tensor) and self._is_state(value, 0):
            return self._cut(value, 0)
        if type(value) in (tuple, list) and value and all(isinstance(part, Tensor) for part in value):
            return tuple(
                self._cut(part, index) if self._is_state(part, index) else part for index, part in enumerate(value)
            )
        return value

    def _is_state(self, value: Tensor, index: int) -> bool:
        if (
            index >= len(self.kept)
            or not value.dim()
            or value.shape[-1] != self.widths[index]
            or not value.is_floating_point()
        ):
            return False
        return (
            len(self.kept[index]) == 1
            and value.dim() < 3
            or value.dim() > 1
            and value.shape[0] == len(self.kept[index])
        )

    def _cut(self, value: Tensor, index: int) -> Tensor:
        kept = self.kept[index]
        if len(kept) == 1:
            return value[..., kept[0]]
        widest = max(map(len, kept))
        return torch.stack(
            [F.pad(value[position, ..., units], (0, widest - len(units))) for position, units in enumerate(kept)]
        )


def callers_widths(module: nn.Module, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The shapes of a module's states as its caller hands them in: of the width before compaction."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, NarrowStates):
            return [(*shape[:-1], width) for shape, width in zip(shapes, hook.widths, strict=False)]
    return list(shapes)
