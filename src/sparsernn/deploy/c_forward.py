"""C of one step of any forward: its operators are written as they run, on the first step of an example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils import _pytree as tree

from sparsernn.cells.cell import Cell, Sizes
from sparsernn.deploy.c_operators import OF_TWO, Operators
from sparsernn.deploy.c_products import Constants
from sparsernn.deploy.c_step import Body, Named
from sparsernn.deploy.c_translations import LIKE, READING, VIEWS, is_known, no_operator, translated
from sparsernn.deploy.over_time import (
    LARGEST,
    MIXING,
    SUMMED,
    Call,
    OverTime,
    first_memory,
    is_over_time,
    without_back,
)  # fmt: skip
from sparsernn.deploy.packing import array_of, arrays_of
from sparsernn.deploy.parts import Layer
from sparsernn.deploy.stepping import Looped, Stream, Watching, run
from sparsernn.errors import UserError
from sparsernn.kernels import registry
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.runner import Place
from sparsernn.runtime.layers import checked_sizes


@dataclass(frozen=True)
class Remembered:
    """A part of the state, and what it is before the first step. values: one number, or one for each."""

    start: int
    width: int
    values: np.ndarray | float


class StepWriter(Watching):
    """Writes what a forward does with the first step of a sequence.

    Arguments:
        stream: whose step.
        name: of the network, in front of the names of its functions.
    Attributes:
        layers: recurrent layers, the functions of which are called NAME_layerN. kept: see `stepping.Replay`.
        mixed: numbers of operators that look at several steps.
        remembered: parts of the state. state: how many numbers.
    """

    def __init__(self, stream: Stream, name: str, constants: Constants, format: str | None):
        super().__init__()
        self.stream, self.name, self.body = stream, name, Body()
        self.write = Operators(self.body, constants, format)
        self.layers: list[Layer] = []
        self.kept: list[bool] = []
        self.remembered: list[Remembered] = []
        self.state = 0
        self.mixed: set[int] = set()
        self.begun = ""
        self._functions: dict[tuple[object, ...], int] = {}
        self._values: dict[int, Named] = {}
        self._states: set[int] = set()
        self._alive: list[Tensor] = []

    def write_step(self) -> tuple[int, str]:
        """Write all; how many numbers go out, and what the header says of inputs, states and outputs."""
        stream, tensors = self.stream, self.stream.step(self.stream.sequences[0], 0)
        places: dict[int, Named] = {}
        for number_, tensor in enumerate(tensors):
            if number_ in stream.states:
                places[number_] = self.remember(tensor.numel(), 0.0)
        first = 0
        for number_, width in stream.sizes.items():
            places[number_] = Named(self.body, f"input[j + {first}]" if first else "input[j]", width)
            first += width
        for number_, named in places.items():
            tensors[number_] = self.give(tensors[number_], named)
        outputs = run(stream, tensors, self)
        states = list(outputs)[len(outputs) - len(stream.states) :] if stream.states else []
        kept = [name for name, one in outputs.items() if name not in states and _memory(one) not in self._states]
        kept = kept or [name for name in outputs if name not in states]
        count = self._write_outputs({name: outputs[name] for name in kept})
        self._write_states([outputs[name] for name in states])
        if self.begun:
            self.body.lines.append(f"{self.begun} = 1.0f;")
        return count

    def _write_outputs(self, outputs: Mapping[str, Tensor]) -> tuple[int, str]:
        first, about = 0, []
        for name, tensor in outputs.items():
            text, width = self.value(tensor).text, tensor.numel()
            self.body.lines.append(f"for (int j = 0; j < {width}; ++j) output[j + {first}] = {text};")
            about.append(f"{name} from {first}")
            first += width
        names = ", ".join(self.stream.forward.names[number_] for number_ in self.stream.sizes)
        once = "\n   What a state begins with is read at the first step alone." if self.begun else ""
        return first, f"\n   The input is {names}, one after the other; the output {', '.join(about)} on.{once}"

    def _write_states(self, after: Sequence[Tensor]) -> None:
        arrays = []
        for tensor in after:  # all are read before any is written
            array = Named(self.body, f"({self.value(tensor).text})", tensor.numel()).stored()
            arrays.append((array, tensor.numel()))
        start = 0
        for array, width in arrays:
            self.body.lines.append(f"memcpy(state + {start}, {array}, {width} * sizeof(float));")
            start += width

    # What is known of tensors: numbers of the memory that they look at.

    def is_computed(self, tensor: object) -> bool:
        """Whether a tensor hangs on the input."""
        return isinstance(tensor, Tensor) and _memory(tensor) in self._values

    def value(self, tensor: Tensor) -> Named:
        """The numbers of a tensor in C."""
        if not self.is_computed(tensor):
            return self.write.constant(array_of(tensor))
        named = self._values[_memory(tensor)]
        return self.write.placed([named], _seen(tensor))

    def give(self, tensor: Tensor, named: Named) -> Tensor:
        """A tensor of memory of its own, whose numbers are these."""
        tensor = tensor.clone(memory_format=torch.contiguous_format)
        self._values[_memory(tensor)] = named
        self._alive.append(tensor)
        return tensor

    def remember(self, width: int, values: np.ndarray | float) -> Named:
        """A further part of the state."""
        start = self.state
        self.remembered.append(Remembered(start, width, values))
        self.state += width
        return Named(self.body, f"state[j + {start}]", width)

    # Layers

    def layer(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        """A call of the function of a layer."""
        if problem.is_scaled:
            raise no_operator("a product that is scaled sequence by sequence")
        if len(problem.x) != 1:
            raise no_operator("a layer that reads more than one step at a time")
        cell, weights = problem.cell, arrays_of(problem.weights)
        sizes = checked_sizes(cell, weights)
        key = id(place.module), *place.names.values()
        if key not in self._functions:
            self._functions[key] = len(self.layers)
            self.layers.append(Layer(cell, weights, sizes))
        self.kept.append(self._is_kept(problem.state))
        named = self._called(f"{self.name}_layer{self._functions[key]}", cell, sizes, problem)
        output, after = registry.run(problem)
        output = self.give(output, named[0])
        after = tuple(self.give(part, piece) for part, piece in zip(after, named, strict=True))
        self._states.update(map(_memory, after))
        return output, after

    def _is_kept(self, state: Sequence[Tensor]) -> bool:
        """Whether a layer or loop goes on from the last step, rather than from what the forward hands to it."""
        if not any(map(self.is_computed, state)):
            return True
        if self.stream.begins and not self.begun:
            self.remember(1, 0.0)
            self.begun = f"state[{self.state - 1}]"
        return self.stream.begins

    def _begin(self, tensor: Tensor) -> Named:
        """A further part of the state, which is this before the first step."""
        if not self.is_computed(tensor):
            return self.remember(tensor.numel(), array_of(tensor).ravel())
        start, part = self.value(tensor).stored(), self.remember(tensor.numel(), 0.0)
        line = f"for (int j = 0; j < {part.width}; ++j) {part.text} = {start}[j];"
        self.body.lines.append(f"if ({self.begun} == 0.0f) {line}")
        return part

    def _called(self, function: str, cell: Cell, sizes: Sizes, problem: Problem) -> list[Named]:
        """The states after a step of each sequence."""
        vector, rows = self.value(problem.x).stored(), []
        for number_ in range(problem.x.shape[1]):
            state = tuple(part[number_ : number_ + 1] for part in problem.state)
            first, array = f"state + {self.state}", None
            if not self.kept[-1]:
                first = array = self.write.math.join([self.value(part) for part in state]).stored()
            rows.append(self._layer_states(cell, sizes, state, array))
            place = f" + {number_ * sizes['input']}" if number_ else ""
            self.body.lines.append(f"{function}({vector}{place}, {first});")
        return rows[0] if len(rows) == 1 else [self.write.math.join(column) for column in zip(*rows, strict=True)]

    def _layer_states(self, cell: Cell, sizes: Sizes, state: State, array: str | None) -> list[Named]:
        """Where the states of a layer stand: in the state that the caller keeps, or in an array."""
        widths = [sizes[axis] for axis in cell.state_axes]
        if array is None:
            return [self._begin(part) for part in state]
        starts = np.cumsum([0, *widths])
        return [Named(self.body, f"{array}[j + {start}]", width) for start, width in zip(starts, widths, strict=False)]

    def loop(self, loop: Looped) -> list[Tensor]:
        """One step of a loop, which goes on from the state."""
        self.kept.append(self._is_kept(loop.starts))
        handed, first, carried = not self.kept[-1], self.state, loop.starts
        if not handed:
            carried = [self.give(one, self._begin(one)) for one in carried]
        with _Inner(self):
            after, outputs = loop.step(carried)
        results = []
        for tensor in (*after, *outputs):  # all are read before any is written
            array = self.value(tensor).stored()
            results.append((array, self.give(tensor, Named(self.body, f"{array}[j]", tensor.numel()))))
        for array, tensor in () if handed else results[: len(after)]:
            self.body.lines.append(f"memcpy(state + {first}, {array}, {tensor.numel()} * sizeof(float));")
            first += tensor.numel()
        tensors = [tensor for _, tensor in results]
        return [*tensors[: len(after)], *(tensor.unsqueeze(0) for tensor in tensors[len(after) :])]

    def is_state(self, tensor: Tensor) -> bool:
        """Whether a tensor is the final state of a layer."""
        return _memory(tensor) in self._states

    def note_states(self, tensors: Sequence[Tensor]) -> None:
        """These are the final states of layers, put together."""
        self._states.update(map(_memory, tensors))

    def within(self, function: Callable[..., Tensor], *args: object) -> Tensor:
        """What a function of operators gives, which are written as well."""
        with _Inner(self):
            return function(*args)

    def operator(self, call: Call) -> object:
        name, leaves = call.name, call.leaves
        computed, is_view = any(map(self.is_computed, leaves)), name in VIEWS and call.is_view
        over = self.stream.over_time.get(self.number) if name in MIXING else None
        if over is not None and is_over_time(over, call):  # of a mask as well, which hangs on lengths alone
            self.mixed.add(self.number)
            return self._summed(over, call) if name in SUMMED else self._windowed(over, call)
        if not computed or name in LIKE or is_view:
            result = call.run()
            tensors = [leaf for leaf in tree.tree_leaves(result) if isinstance(leaf, Tensor)]
            self._alive += tensors
            if not computed or not is_view or all(map(self.is_computed, tensors)):
                return result  # a reshape that copies is no view
        for leaf in leaves if name in READING else ():
            self.read(leaf)
        if name.endswith("_") and not name.endswith("__"):
            return self._in_place(call)
        return translated(self, call) if is_known(name) else self._decomposed(call)

    def read(self, tensor: object) -> None:
        if self.is_computed(tensor):
            raise UserError(
                "the forward decides by the numbers in a tensor",
                "a forward whose course does not hang on its input's values",
                "use torch.where, or leave that part outside of the model",
            )

    def _decomposed(self, call: Call) -> object:
        function = decomposition_table.get(call.func)
        if function is None and not call.func._can_decompose():
            raise no_operator(call.name)
        with _Inner(self):
            return (function or call.func.decompose)(*call.args, **call.kwargs)

    def _in_place(self, call: Call) -> Tensor:
        """The operator of the same name that makes a new tensor, and its numbers put where the old ones were."""
        target, name = call.args[0], call.name
        if name in ("as_strided_", "squeeze_", "unsqueeze_", "t_", "transpose_"):  # another look at the same memory
            return call.run()
        if name in ("zero_", "fill_"):
            numbers = self.write.constant(np.full(target.numel(), 0.0 if name == "zero_" else float(call.args[1])))
        else:
            numbers = self.value(self.operator(call.making_new()))  # type: ignore[arg-type]
        whole = torch.as_strided(target, (target.untyped_storage().nbytes() // target.element_size(),), (1,), 0)
        before, size = self.value(whole), whole.numel()
        places = np.arange(size)
        places[_seen(target).ravel()] = np.arange(size, size + target.numel())
        call.run()
        self._values[_memory(target)] = self.write.placed([before, numbers], places)
        self._alive.append(target)
        return target

    def _summed(self, over: OverTime, call: Call) -> object:
        """A sum, mean or maximum over the steps so far, and over what else it goes over."""
        x, size = call.args[0], call.args[0].numel()
        total = self.remember(size, float(first_memory(over, call)[0].flatten()[0]))
        pattern = OF_TWO["maximum" if over.name in LARGEST else "add"]
        after = self.write.each(pattern, [total, self.value(x)], size)
        self.body.lines.append(f"memcpy(state + {self.state - size}, {after.stored()}, {size} * sizeof(float));")
        if over.name == "mean":
            self.remember(1, 0.0)
            count = f"state[{self.state - 1}]"
            self.body.lines.append(f"{count} += 1.0f;")
            after = self.write.each("({} / {})", [after, Named(self.body, count, size)], size)
        return translated(self, call.of(self.give(x, after)))

    def _windowed(self, over: OverTime, call: Call) -> object:
        """A window that reaches back: steps before are remembered."""
        x, (memory,) = call.args[0], first_memory(over, call)
        width, frame, start = memory.numel(), x.numel(), self.state
        before = self.remember(width, float(memory.flatten()[0]))
        order = [over.axis, *(axis for axis in range(x.dim()) if axis != over.axis)]  # steps first
        arrived = self.write.placed([self.value(x)], np.arange(frame).reshape(x.shape).transpose(order))
        window = self.write.math.join([before, arrived])
        self.body.lines.append(f"memcpy(state + {start}, {window.stored()} + {frame}, {width} * sizeof(float));")
        tensor = torch.cat([memory, x], over.axis)
        back = [order.index(axis) for axis in range(x.dim())]
        places = np.arange(width + frame).reshape([tensor.shape[axis] for axis in order]).transpose(back)
        whole = self.give(tensor, self.write.placed([window], places))
        with _Inner(self):
            return without_back(over, call.of(whole)).run()


class _Inner(Watching):
    """Operators that one operator is made of, which have no number of their own."""

    def __init__(self, writer: StepWriter):
        super().__init__()
        self.writer = writer

    def operator(self, call: Call) -> object:
        number, self.writer.number = self.writer.number, -1
        try:
            return self.writer.operator(call)
        finally:
            self.writer.number = number


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _seen(tensor: Tensor) -> np.ndarray:
    """Places in its memory that a tensor looks at."""
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    return torch.arange(size).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).numpy()
