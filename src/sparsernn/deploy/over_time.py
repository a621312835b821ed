"""Operators of a forward that look at several steps: sums, means and maxima over them, and windows that reach back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils import _pytree as tree

SUMMED = ("sum", "mean", "amax", "max")
LARGEST = ("amax", "max")
MIXING = (*SUMMED, "constant_pad_nd", "convolution")
"""Operators that may look at several steps."""
aten = torch.ops.aten


class Call(NamedTuple):
    """An operator of torch, and what it is called with."""

    func: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the operator, without its overload."""
        return self.func.overloadpacket.__name__

    @property
    def leaves(self) -> list[object]:
        """All arguments, taken apart."""
        return tree.tree_leaves((self.args, self.kwargs))

    @property
    def is_view(self) -> bool:
        """Whether the results are the memory of an argument."""
        return any(one.alias_info is not None for one in self.func._schema.returns)

    def run(self) -> Any:
        """The result."""
        return self.func(*self.args, **self.kwargs)

    def of(self, x: Tensor) -> "Call":
        """The same of another first argument."""
        return self._replace(args=(x, *self.args[1:]))

    def making_new(self) -> "Call":
        """For an operator that changes its first argument, the one that makes a new tensor."""
        packet = getattr(aten, self.name.removesuffix("_"))
        return self._replace(func=getattr(packet, self.func._overloadname))


@dataclass(frozen=True)
class OverTime:
    """An operator that looks at several steps. axis: the dimension of its input that is time."""

    name: str
    axis: int


def is_over_time(over: OverTime, call: Call) -> bool:
    """Whether the operator mixes steps: a sum over them, or a window that reaches back."""
    if over.name not in SUMMED:
        return back(over, call) > 0
    if any(isinstance(one, Tensor) for one in call.args[1:]):
        return False  # the larger one of two
    return over.axis in [dimension % call.args[0].dim() for dimension in summed_dimensions(call.args)]


def summed_dimensions(args: Sequence[Any]) -> list[int]:
    """The dimensions that a sum, mean or maximum goes over."""
    over = args[1] if len(args) > 1 else None
    if isinstance(over, int):
        return [over]
    return list(over or range(args[0].dim()))


def back(over: OverTime, call: Call) -> int:
    """How many steps before the first one a window begins."""
    args = call.args
    if over.name == "constant_pad_nd":
        pair = 2 * (args[0].dim() - 1 - over.axis)
        return args[1][pair] if pair < len(args[1]) else 0
    return args[4][over.axis - 2] if over.axis >= 2 and not args[6] else 0


def without_back(over: OverTime, call: Call) -> Call:
    """A window that is handed the steps before, and needs nothing put in front of them."""
    x, *others = call.args
    args = x, *others
    padding = list(args[1] if over.name == "constant_pad_nd" else args[4])
    place = x.dim() - 1 - over.axis
    if over.name == "constant_pad_nd":
        padding[2 * place] = 0
        return call._replace(args=(x, padding, *args[2:]))
    # A convolution pads both sides alike: what is behind the step stays as it was.
    sides = [0] * (2 * len(padding))
    sides[2 * place + 1] = padding[over.axis - 2]
    padding[over.axis - 2] = 0
    return call._replace(args=(aten.constant_pad_nd(x, sides), *args[1:4], padding, *args[5:]))


def first_memory(over: OverTime, call: Call) -> list[Tensor]:
    """What an operator over time remembers before the first step."""
    x = call.args[0]
    if over.name in SUMMED:
        return [torch.full_like(x, -float("inf") if over.name in LARGEST else 0.0), x.new_zeros(1)]
    value = call.args[2] if over.name == "constant_pad_nd" and len(call.args) > 2 else 0.0
    shape = list(x.shape)
    shape[over.axis] = back(over, call)
    return [x.new_full(shape, value)]
