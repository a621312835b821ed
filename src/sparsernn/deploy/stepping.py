"""Forward of a model taken a step at a time: what its layers, means and windows over time remember is carried along."""

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sparsernn.deploy.over_time import LARGEST, MIXING, SUMMED, Call, OverTime, first_memory, without_back
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


@dataclass(frozen=True)
class Looped:
    """A loop of a forward over steps.

    Attributes:
        body: gives, of what is carried, a step of each sequence and the constants, what is carried on and what is put
            out.
        starts: what is carried to the first step.
        sequences: read a step at a time, along their first dimension. constants: read at every step.
    """

    body: Callable[..., Sequence[Tensor]]
    starts: Sequence[Tensor]
    sequences: Sequence[Tensor]
    constants: Sequence[Tensor]

    def step(self, carried: Sequence[Tensor], number: int = 0) -> tuple[list[Tensor], list[Tensor]]:
        """What a step carries on, and what it puts out."""
        results = list(self.body(*carried, *(one.select(0, number) for one in self.sequences), *self.constants))
        return results[: len(carried)], results[len(carried) :]

    def all(self) -> list[Tensor]:
        """What the last step carries on, and what all steps put out, one behind the other."""
        carried, rows = list(self.starts), []
        for number in range(len(self.sequences[0])):
            carried, outputs = self.step(carried, number)
            rows.append(outputs)
        return [*carried, *(torch.stack(column) for column in zip(*rows, strict=True))]


class Watching(TorchDispatchMode):
    """A mode that hands on every operator of a forward, and every recurrent layer; those of `MIXING` are numbered."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self._inside = -1, 0

    def __call__(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        """The mode as a runner, see `running.runner.Runner`."""
        self._inside += 1
        try:
            with torch._C.DisableTorchFunction():  # a kernel reads numbers as it likes
                return self.layer(place, problem)
        finally:
            self._inside -= 1

    def run_loop(self, loop: Looped) -> list[Tensor]:
        """See `Looped.all`."""
        self._inside += 1
        try:
            return self.loop(loop)
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

    def loop(self, loop: Looped) -> list[Tensor]:
        """What the last step of a loop carries on, and what all steps put out."""
        return loop.all()

    def operator(self, call: Call) -> object:
        """The result of an operator."""
        return call.run()

    def read(self, tensor: object) -> None:
        """Numbers of a tensor leave torch."""


class Shapes(Watching):
    """What shape the first tensor of each operator of `MIXING` has, and how many operators there are."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []
        self.count = 0

    def operator(self, call: Call) -> object:
        self.count += 1
        if call.name in MIXING:
            self.seen.append((call.name, tuple(call.args[0].shape)))
        return call.run()


@dataclass(frozen=True)
class Stream:
    """A forward and what of it is a step.

    Attributes:
        forward: of the model.
        time: dimension of each input that is time, by the input's number. states: inputs that are states.
        lengths: inputs that hold how long a sequence is.
        sequences: inputs of one sequence each, of several steps where there is time.
        over_time: operators that look at several steps, by their number.
        loops: whether the forward does more for more steps, as one that goes through them itself.
        begins: whether states that the forward computes are those before the first step alone.
    """

    forward: Forward
    time: Mapping[int, int]
    states: Sequence[int]
    lengths: Sequence[int]
    sequences: Sequence[Sequence[Tensor]]
    over_time: Mapping[int, OverTime]
    loops: bool = False
    begins: bool = False

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
    with intercepted(mode), running_by(mode), _Reading(mode), mode:
        yield


class _Reading(TorchFunctionMode):
    """Tells a mode of tensors that are read without an operator, as numpy does."""

    def __init__(self, mode: Watching):
        super().__init__()
        self.mode = mode

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: Any = (), kwargs: Any = None
    ) -> object:
        if func.__name__ in ("numpy", "tolist", "__array__"):
            self.mode.read(args[0])
        return func(*args, **(kwargs or {}))


def stream_of(network: nn.Module, example: Any, has_lengths: bool = True) -> Stream:
    """How a model can be called for a step. Raises: UserError for an example that it does not take.

    Arguments:
        has_lengths: whether whole numbers that have no steps say how long a sequence is.
    """
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
    counts = [number for number in range(1, len(whole)) if whole[number] and time and number not in time]
    lengths = counts if has_lengths else []
    states = _states(forward, outputs, [*time, *counts])
    length = forward.tensors[next(iter(time))].shape[next(iter(time.values()))] if time else 1
    steps = max(STEPS, length, min(3 * length, MANY_STEPS)) if time else 1
    sequences = _sequences(forward, axes, time, batch, steps)
    for tensors in sequences:
        for number in lengths:
            tensors[number] = torch.full_like(tensors[number], steps)
    stream = Stream(forward, time, states, lengths, sequences, {})
    return with_over_time(stream) if time else stream


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


def with_over_time(stream: Stream) -> Stream:
    """With operators whose input grows with the number of steps; none where a forward goes through its steps itself."""
    modes = [Shapes(), Shapes()]
    for count, mode in enumerate(modes, 1):
        try:
            run(stream, stream.step(stream.sequences[0], 0, count), mode)
        except Exception as error:  # whatever a forward raises for sequences of one or two steps
            raise UserError(
                f"the model does not take {count} steps ({reason(error)})",
                "a forward that takes one step as well as many",
                "export it by export_onnx",
            ) from error
    seen, loops = [mode.seen for mode in modes], modes[0].count != modes[1].count
    if [name for name, _ in seen[0]] != [name for name, _ in seen[1]]:
        return replace(stream, over_time={}, loops=loops)
    results = {}
    for number, ((name, one), (_, two)) in enumerate(zip(*seen, strict=True)):
        grown = [axis for axis, (size, other) in enumerate(zip(one, two, strict=True)) if other == size + 1]
        if grown:
            results[number] = OverTime(name, grown[0])
    return replace(stream, over_time=results, loops=loops)


class Replay(Watching):
    """One step after another.

    Arguments:
        stream: whose steps.
        kept: for each layer and loop in the order of its calls whether its state is carried, rather than handed in.
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

    def loop(self, loop: Looped) -> list[Tensor]:
        self.layers += 1
        if not self.kept[self.layers]:
            return loop.all()
        after, outputs = loop.step(self.states.get(self.layers, loop.starts))
        self.states[self.layers] = tuple(part.clone() for part in after)
        return [*after, *(output.unsqueeze(0) for output in outputs)]

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
    """Raises: UserError unless steps one after the other give what the forward gives for whole sequences.

    What amplifies rounding may differ more than a sum of floats does: it is compared in double precision once more.
    """
    if _agree(stream, kept, mixed):
        return
    network = copy.deepcopy(stream.forward.network).double()
    tensors = [[one.double() if one.is_floating_point() else one for one in several] for several in stream.sequences]
    exact = replace(stream, forward=replace(stream.forward, network=network), sequences=tensors)
    if not _agree(exact, kept, mixed):
        raise no_steps(stream.forward.network)


def _agree(stream: Stream, kept: Sequence[bool], mixed: Collection[int]) -> bool:
    """Whether steps one after the other give what the forward gives for whole sequences; it may not take those."""
    with suppress(Exception):  # whatever a forward raises
        return all(_agree_on(tensors, stream, kept, mixed) for tensors in (stream.sequences if stream.time else ()))
    return False


def _agree_on(tensors: Sequence[Tensor], stream: Stream, kept: Sequence[bool], mixed: Collection[int]) -> bool:
    """The same for one sequence."""
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
            return False
    return True


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
