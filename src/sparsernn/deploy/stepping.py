"""Forward of a model taken a step at a time: what its layers, means and windows over time remember is carried along."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode

from sparsernn.deploy.to_onnx.axes import Axes, find_axes, resized, with_noise
from sparsernn.deploy.to_onnx.calls import Forward, forward_of, refused_example
from sparsernn.deploy.to_onnx.functions import forget_plain_forwards, intercepted
from sparsernn.errors import UserError, reason
from sparsernn.kernels import registry
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.runner import Place, running_by
from sparsernn.running.torch_layers import run_here

CLOSE = 2e-5
"""A difference that rounding explains, for the largest number being 1."""
STEPS, MANY_STEPS = 6, 64
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


class Watching(TorchDispatchMode):
    """A mode that hands on every operator of a forward, and every recurrent layer; those of `MIXING` are numbered."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self._inside = -1, 0

    def __call__(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        """The mode as a runner, see `running.runner.Runner`."""
        self._inside += 1
        try:
            return self.layer(place, problem)
        finally:
            self._inside -= 1

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Sequence[object] = (), kwargs: Any = None
    ) -> object:
        call = Call(func, tuple(args), kwargs or {})
        if self._inside:
            return call.run()
        self.number += call.name in MIXING
        return self.operator(call)

    def layer(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        """Output and final states of a layer."""
        return registry.run(problem)

    def operator(self, call: Call) -> object:
        """The result of an operator."""
        return call.run()


class Shapes(Watching):
    """What shape the first tensor of each operator of `MIXING` has."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def operator(self, call: Call) -> object:
        if call.name in MIXING:
            self.seen.append((call.name, tuple(call.args[0].shape)))
        return call.run()


@dataclass(frozen=True)
class OverTime:
    """An operator that looks at several steps. axis: the dimension of its input that is time."""

    name: str
    axis: int


@dataclass(frozen=True)
class Stream:
    """A forward and what of it is a step.

    Attributes:
        forward: of the model.
        time: dimension of each input that is time, by the input's number. states: inputs that are states.
        lengths: inputs that hold how long a sequence is.
        sequences: inputs of one sequence each, of several steps where there is time.
        over_time: operators that look at several steps, by their number.
    """

    forward: Forward
    time: Mapping[int, int]
    states: Sequence[int]
    lengths: Sequence[int]
    sequences: Sequence[Sequence[Tensor]]
    over_time: Mapping[int, OverTime]

    def step(self, tensors: Sequence[Tensor], first: int, count: int = 1) -> list[Tensor]:
        """Inputs of some steps of a sequence."""
        results = list(tensors)
        for number, dimension in self.time.items():
            results[number] = results[number].narrow(dimension, first, count)
        for number in self.lengths:
            results[number] = torch.full_like(results[number], count)
        return results

    @property
    def sizes(self) -> dict[int, int]:
        """The inputs that are read at each step, and how many numbers of them."""
        numbers = [one for one in range(len(self.forward.tensors)) if one not in (*self.states, *self.lengths)]
        tensors = self.step(self.sequences[0], 0)
        return {number: tensors[number].numel() for number in numbers}


@torch.no_grad()
def run(stream: Stream, tensors: Sequence[Tensor], mode: Watching | None = None) -> dict[str, Tensor]:
    """Outputs of a fresh copy of the model, whose layers and operators the mode watches."""
    forward = replace(stream.forward, network=copy.deepcopy(stream.forward.network))
    for module in forward.network.modules() if mode else ():
        if isinstance(module, nn.RNNCellBase):
            run_here(module)
    with watched(mode):
        return forward.outputs(tensors)


@contextmanager
def watched(mode: Watching | None) -> Iterator[None]:
    """Within the block layers are run, and operators are seen, by the mode."""
    if mode is None:
        yield
        return
    with intercepted(mode), running_by(mode), mode:
        yield


def stream_of(network: nn.Module, example: Any) -> Stream:
    """How a model can be called for a step. Raises: UserError for an example that it does not take."""
    forget_plain_forwards(network)
    forward = forward_of(network, example)
    try:
        with torch.no_grad():
            outputs = list(forward.outputs(forward.tensors).values())
    except UserError:
        raise
    except Exception as error:  # whatever a forward raises for an example that it does not take
        raise refused_example(error) from error
    axes = find_axes(forward, network)
    time = {axis.input: axis.dimension for axis in axes.get("time", ())}
    batch = {axis.input: axis.dimension for axis in axes.get("batch", ())}
    whole = [not tensor.is_floating_point() for tensor in forward.tensors]
    lengths = [number for number in range(1, len(whole)) if whole[number] and time and number not in time]
    states = _states(forward, outputs, [*time, *lengths])
    length = forward.tensors[next(iter(time))].shape[next(iter(time.values()))] if time else 1
    steps = max(STEPS, length, min(3 * length, MANY_STEPS)) if time else 1
    sequences = _sequences(forward, axes, time, batch, steps)
    for tensors in sequences:
        for number in lengths:
            tensors[number] = torch.full_like(tensors[number], steps)
    stream = Stream(forward, time, states, lengths, sequences, {})
    return replace(stream, over_time=_over_time(stream)) if time else stream


def _states(forward: Forward, outputs: Sequence[Tensor], others: Sequence[int]) -> list[int]:
    """Inputs without time, if as many last outputs have their shapes; without time anywhere all but the first."""
    likely = [number for number in range(0 if others else 1, len(forward.tensors)) if number not in others]
    shapes = [forward.tensors[number].shape for number in likely]
    after = [output.shape for output in outputs[len(outputs) - len(likely) :]]
    return likely if likely and len(outputs) > len(likely) and shapes == after else []


def _sequences(
    forward: Forward, axes: Axes, time: Mapping[int, int], batch: Mapping[int, int], steps: int
) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    larger = resized(forward.tensors, dict.fromkeys(axes.get("time", ()), steps))
    noisy = [with_noise(tensor, generator) if number in time else tensor for number, tensor in enumerate(larger)]
    count = min((noisy[number].shape[dimension] for number, dimension in batch.items()), default=1)
    return [
        [one.narrow(batch[number], place, 1) if number in batch else one for number, one in enumerate(noisy)]
        for place in range(min(count, 2))
    ]


def _over_time(stream: Stream) -> dict[int, OverTime]:
    """Operators whose input grows with the number of steps; none where a forward goes through its steps itself."""
    seen = []
    for count in (1, 2):
        mode = Shapes()
        try:
            run(stream, stream.step(stream.sequences[0], 0, count), mode)
        except Exception as error:  # whatever a forward raises for sequences of one or two steps
            raise UserError(
                f"the model does not take {count} steps ({reason(error)})",
                "a forward that takes one step as well as many",
                "export it by export_onnx",
            ) from error
        seen.append(mode.seen)
    if [name for name, _ in seen[0]] != [name for name, _ in seen[1]]:
        return {}
    results = {}
    for number, ((name, one), (_, two)) in enumerate(zip(*seen, strict=True)):
        grown = [axis for axis, (size, other) in enumerate(zip(one, two, strict=True)) if other == size + 1]
        if grown:
            results[number] = OverTime(name, grown[0])
    return results


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


class Replay(Watching):
    """One step after another.

    Arguments:
        stream: whose steps.
        kept: for each layer in the order of its calls whether its state is carried, rather than handed in.
        mixed: numbers of the operators that look at several steps.
    """

    def __init__(self, stream: Stream, kept: Sequence[bool], mixed: Collection[int]):
        super().__init__()
        self.stream, self.kept, self.mixed = stream, kept, mixed
        self.states: dict[int, State] = {}
        self.memories: dict[int, list[Tensor]] = {}

    def begin(self) -> None:
        """Before each step."""
        self.number, self.layers = -1, -1

    def layer(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        self.layers += 1
        if not self.kept[self.layers]:
            return registry.run(problem)
        state = self.states.get(self.layers, problem.state)
        output, after = registry.run(replace(problem, state=state))
        self.states[self.layers] = tuple(part.clone() for part in after)
        return output, after

    def operator(self, call: Call) -> object:
        if self.number not in self.mixed or call.name not in MIXING:
            return call.run()
        over, x = self.stream.over_time[self.number], call.args[0]
        memory = self.memories.setdefault(self.number, first_memory(over, call))
        if over.name in SUMMED:
            total, count = memory
            total = torch.maximum(total, x) if over.name in LARGEST else total + x
            self.memories[self.number] = [total, count + 1]
            return call.of(total / (count + 1) if over.name == "mean" else total).run()
        window = torch.cat([memory[0], x], over.axis)
        self.memories[self.number] = [window.narrow(over.axis, x.shape[over.axis], memory[0].shape[over.axis])]
        return without_back(over, call.of(window)).run()


def compare(stream: Stream, kept: Sequence[bool], mixed: Collection[int]) -> None:
    """Raises: UserError unless steps one after the other give what the forward gives for whole sequences."""
    for tensors in stream.sequences if stream.time else ():
        whole = list(run(stream, tensors).values())
        count = next(tensors[number].shape[dimension] for number, dimension in stream.time.items())
        mode, states = Replay(stream, kept, mixed), [tensors[number] for number in stream.states]
        for first in range(count):
            inputs = stream.step(tensors, first)
            for number, state in zip(stream.states, states, strict=True):
                inputs[number] = state
            mode.begin()
            outputs = list(run(stream, inputs, mode).values())
            states = outputs[len(outputs) - len(states) :]
            if not all(_same(all_, one, first, count) for all_, one in zip(whole, outputs, strict=True)):
                raise no_steps(stream.forward.network)


def _same(whole: Tensor, step: Tensor, first: int, count: int) -> bool:
    """Whether the output of a step is what the forward gives there; one without time is what it gives at the end."""
    axes = [axis for axis, sizes in enumerate(zip(whole.shape, step.shape, strict=False)) if sizes == (count, 1)]
    if whole.dim() != step.dim() or (not axes and whole.shape != step.shape):
        return False
    if not axes and first < count - 1:
        return True
    expected = whole.narrow(axes[0], first, 1) if axes else whole
    scale = 1e-3 + float(expected.abs().max()) if expected.numel() else 1.0
    return bool(expected.shape == step.shape and ((expected - step).abs() <= CLOSE * max(scale, 1.0)).all())


def no_steps(network: nn.Module) -> UserError:
    """Why a model cannot run a step at a time."""
    return UserError(
        f"the forward of {type(network).__name__} cannot run a step at a time",
        "layers of one direction whose states start the same for every sequence, and no look at steps to come",
        "export its recurrent layers alone, hand states in and return them, or export the whole model by export_onnx",
    )
