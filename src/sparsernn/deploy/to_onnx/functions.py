"""Torch's recurrent modules and packed sequences, in a form in which batch, time and lengths stay free."""

import builtins
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import RLock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from sparsernn.running.loop import Stack, run_layers
from sparsernn.running.modules import Recurrent
from sparsernn.running.runner import Runner
from sparsernn.running.torch_layers import parts_of

STACKS: tuple[Any, ...] = (nn.LSTM, nn.GRU, nn.RNN, Recurrent)


class ForeignPacking(Exception):
    """A packed sequence whose batch sizes are not those that `pack_padded_sequence` made."""


class Longest(int):
    """The longest length of packed sequences, which is only known when the file runs; no total length is below it."""

    length: Any

    def __gt__(self, other: object) -> bool:
        return False


class Packing(NamedTuple):
    """How sequences were packed. lengths [batch], longest first; running [time batch], up to the longest length."""

    lengths: Tensor
    running: Tensor
    time: int


class Packings(TorchFunctionMode):
    """Within it sequences are packed and padded by indexing, so that no length becomes a constant.

    Packed data are what torch has: the steps of all sequences one after the other. Whatever a forward does with them
    stays right.
    """

    def __init__(self) -> None:
        super().__init__()
        self._packings: dict[int, tuple[Tensor, Packing]] = {}
        self._padded: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "_pack_padded_sequence":
            return self._pack(*args)
        if name == "_pad_packed_sequence":
            return self._pad(*args)
        if name == "size" and id(args[0]) in self._packings:
            longest = Longest(1)
            longest.length = self.packing(args[0]).running.shape[0]
            return longest
        if name == "one_hot" and len(args) == 2 and args[1] > 0:  # torch's own looks at the numbers
            return (args[0].unsqueeze(-1) == torch.arange(args[1])).long()
        if name in ("clamp", "clip") and args[0].is_floating_point():  # the exporter knows bounds of one type alone
            bounds = [float(one) if isinstance(one, int) else one for one in args[1:]]
            kwargs = {key: float(one) if isinstance(one, int) else one for key, one in (kwargs or {}).items()}
            return func(args[0], *bounds, **kwargs)
        return func(*args, **(kwargs or {}))

    def packing(self, batch_sizes: Tensor) -> Packing:
        """How the sequences of these batch sizes were packed. Raises: ForeignPacking."""
        if id(batch_sizes) not in self._packings:
            raise ForeignPacking
        return self._packings[id(batch_sizes)][1]

    def packed(self, x: Tensor, packing: Packing) -> Tensor:
        """Shapes: [time batch ..] -> [steps of all sequences ..]"""
        data = x[: packing.running.shape[0]][packing.running]
        self._padded[id(data)] = data, x
        return data

    def padded(self, data: Tensor, packing: Packing) -> Tensor:
        """The inverse; what stands after a sequence's end means nothing."""
        if id(data) in self._padded:
            return self._padded[id(data)][1]
        x = data.new_zeros(packing.time, packing.lengths.shape[0], *data.shape[1:])
        return x.index_put((_running(packing.time, packing.lengths),), data)

    def _pack(self, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
        x = x.transpose(0, 1) if batch_first else x
        torch._check(lengths.shape[0] == x.shape[1], lambda: "as many lengths as sequences")
        longest = lengths.max().item()
        torch._check(longest >= 1)
        torch._check(longest <= x.shape[0])
        running = torch.arange(longest).unsqueeze(1) < lengths  # type: ignore[call-overload]
        packing = Packing(lengths, running, x.shape[0])
        batch_sizes = running.sum(1)
        self._packings[id(batch_sizes)] = batch_sizes, packing
        return self.packed(x, packing), batch_sizes

    def _pad(
        self, data: Tensor, batch_sizes: Tensor, batch_first: bool, value: float, total: int
    ) -> tuple[Tensor, Tensor]:
        packing = self.packing(batch_sizes)
        x = self.padded(data, packing)
        running = _running(packing.time, packing.lengths)
        running = running.reshape(*running.shape, *[1] * (x.dim() - 2))
        x = torch.where(running, x, torch.full((), value, dtype=x.dtype))
        if isinstance(total, Longest):
            x = x[: total.length]
        elif str(total) != str(packing.time):
            x = torch.cat([x, x.new_full((total, *x.shape[1:]), value)])[:total]
        return x.transpose(0, 1) if batch_first else x, packing.lengths


def _running(time: int, lengths: Tensor) -> Tensor:
    """Which steps lie within a sequence. [time batch]"""
    return torch.arange(time).unsqueeze(1) < lengths


class Interception(NamedTuple):
    """How recurrent modules run while a model is traced."""

    runner: Runner
    packings: Packings


@contextmanager
def free_len() -> Iterator[None]:
    """Within the block `len` of a tensor is a size that stays free, which Python's own makes a constant of."""
    plain_len = builtins.len
    builtins.len = lambda value: value.shape[0] if isinstance(value, Tensor) and value.dim() else plain_len(value)  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.len = plain_len


ONE_AT_A_TIME = RLock()
"""Held while classes of torch, or what belongs to the whole process, are changed for one export."""
_active: ContextVar[Interception | None] = ContextVar("active", default=None)


@contextmanager
def intercepted(runner: Runner) -> Iterator[None]:
    """Within the block all stacks of recurrent layers, subclasses of torch's included, are run by this."""
    packings = Packings()
    with ONE_AT_A_TIME:
        forwards = {kind: kind.forward for kind in STACKS}
        token = _active.set(Interception(runner, packings))
        try:
            for kind, forward in forwards.items():
                kind.forward = _instead_of(forward)
            with packings:
                yield
        finally:
            for kind, forward in forwards.items():
                kind.forward = forward
            _active.reset(token)


def _instead_of(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(module: Any, input: Any, hx: Any = None, *args: Any, **options: Any) -> Any:
        interception = _active.get()
        if interception is None:
            return forward(module, input, hx, *args, **options)
        return _run(interception, module, input, hx, *args, **options)

    return run


def _run(interception: Interception, module: Any, input: Any, hx: Any, lengths: Tensor | None = None) -> Any:
    """A stack of layers, in the forms in which torch's modules take input and states."""
    stack = partial(
        Stack, module, parts_of(module), 1 + int(module.bidirectional),
        state_widths=getattr(module, "state_widths", None),
    )  # fmt: skip
    if not isinstance(input, PackedSequence):
        return run_layers(stack(module.batch_first), input, hx, lengths, interception.runner)
    packings, order = interception.packings, (input.sorted_indices, input.unsorted_indices)
    packing = packings.packing(input.batch_sizes)
    x = packings.padded(input.data, packing)
    start = None if hx is None else _each(hx, order[0])
    output, after = run_layers(stack(False), x, start, packing.lengths, interception.runner)
    packed = PackedSequence(packings.packed(output, packing), input.batch_sizes, *order)
    return packed, _each(after, order[1])


def _each(states: Any, order: Tensor | None) -> Any:
    """States in another order of the sequences."""
    if order is None:
        return states
    if isinstance(states, Tensor):
        return states.index_select(1, order)
    return tuple(state.index_select(1, order) for state in states)


def forget_plain_forwards(model: nn.Module) -> None:
    """Take back forwards that a copy of a module holds although they are its class's own."""
    for module in model.modules():
        if getattr(vars(module).get("forward"), "__func__", None) is type(module).forward:
            del module.forward


def paths_of(model: nn.Module) -> Mapping[int, str]:
    """The path of every module, by `id`."""
    return {id(module): path for path, module in model.named_modules()}
