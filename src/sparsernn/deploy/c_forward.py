"""C of one step of any forward: its operators are written as they run, on the first step of an example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils import _pytree as tree

from sparsernn.cells.cell import Cell, Sizes
from sparsernn.deploy.c_operators import OF_EACH, OF_TWO, Operators, clamp_bounds, places_of
from sparsernn.deploy.c_products import Constants
from sparsernn.deploy.c_step import Body, Named, number
from sparsernn.deploy.packing import array_of, arrays_of
from sparsernn.deploy.parts import Layer
from sparsernn.deploy.stepping import (
    LARGEST,
    SUMMED,
    OverTime,
    Stream,
    Watching,
    aten,
    first_memory,
    is_over_time,
    name_of,
    run,
    summed_dimensions,
    without_back,
)  # fmt: skip
from sparsernn.errors import UserError
from sparsernn.kernels import registry
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.runner import Place
from sparsernn.runtime.layers import checked_sizes

MOVES = (
    "cat", "stack", "clone", "contiguous", "_to_copy", "constant_pad_nd", "repeat", "flip", "roll", "index",
    "index_select", "gather", "index_put", "scatter", "slice_scatter", "select_scatter", "copy", "lift_fresh_copy",
    "tile", "expand_copy", "view_copy", "permute_copy", "reshape", "pixel_shuffle", "_reshape_copy",
    "repeat_interleave", "_unsafe_index", "take_along_dim", "_unsafe_view", "convert_element_type",
)  # fmt: skip
"""Operators that put numbers elsewhere, as they are."""
BY_INDEX = (
    "index",
    "index_select",
    "gather",
    "index_put",
    "scatter",
    "_unsafe_index",
    "masked_select",
    "take_along_dim",
)
VIEWS = (
    "view", "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice", "select", "split",
    "split_with_sizes", "unbind", "alias", "detach", "as_strided", "_unsafe_view", "unfold", "diagonal", "narrow",
    "view_as", "movedim", "chunk", "broadcast_in_dim", "view_of", "collapse_view", "split_dim", "lift_fresh",
    "reshape", "unsafe_split", "unsafe_chunk",
)  # fmt: skip
"""Operators whose results are the same memory, seen in another way."""
LIKE = ("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "zeros_like", "ones_like", "full_like",
        "empty_like", "sym_size", "sym_numel", "sym_stride")  # fmt: skip
"""Operators that read no number."""
READING = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "_assert_async", "unique_dim", "_unique2")


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
        return count

    def _write_outputs(self, outputs: Mapping[str, Tensor]) -> tuple[int, str]:
        first, about = 0, []
        for name, tensor in outputs.items():
            text, width = self.value(tensor).text, tensor.numel()
            self.body.lines.append(f"for (int j = 0; j < {width}; ++j) output[j + {first}] = {text};")
            about.append(f"{name} from {first}")
            first += width
        names = ", ".join(self.stream.forward.names[number_] for number_ in self.stream.sizes)
        return first, f"\n   The input is {names}, one after the other; the output {', '.join(about)} on."

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

    def is_computed(self, tensor: Any) -> bool:
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
            raise _no_operator("a product that is scaled sequence by sequence")
        if len(problem.x) != 1 or problem.x.shape[1] != 1:
            raise _no_operator("a layer that reads more than one step at a time")
        cell, weights = problem.cell, arrays_of(problem.weights)
        sizes = checked_sizes(cell, weights)
        key = id(place.module), *place.names.values()
        if key not in self._functions:
            self._functions[key] = len(self.layers)
            self.layers.append(Layer(cell, weights, sizes))
        handed = any(self.is_computed(part) for part in problem.state)
        self.kept.append(not handed)
        vector, first = self.value(problem.x).stored(), f"state + {self.state}"
        if handed:
            first = self.write.math.join([self.value(part) for part in problem.state]).stored()
        pieces = self._layer_states(cell, sizes, problem.state, None if not handed else first)
        self.body.lines.append(f"{self.name}_layer{self._functions[key]}({vector}, {first});")
        output, after = registry.run(problem)
        output = self.give(output, pieces[0])
        after = tuple(self.give(part, piece) for part, piece in zip(after, pieces, strict=True))
        self._states.update(map(_memory, after))
        return output, after

    def _layer_states(self, cell: Cell, sizes: Sizes, state: State, array: str | None) -> list[Named]:
        """Where the states of a layer stand: in the state that the caller keeps, or in an array."""
        widths = [sizes[axis] for axis in cell.state_axes]
        if array is None:
            return [self.remember(width, array_of(part).ravel()) for part, width in zip(state, widths, strict=True)]
        starts = np.cumsum([0, *widths])
        return [Named(self.body, f"{array}[j + {start}]", width) for start, width in zip(starts, widths, strict=False)]

    # Operators

    def operator(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        name, leaves = name_of(func), tree.tree_leaves((args, kwargs))
        if not any(self.is_computed(leaf) for leaf in leaves) or name in LIKE or name in VIEWS and _shares(func, args):
            return self._kept_alive(func(*args, **kwargs))
        if name in READING:
            raise UserError(
                "the forward decides by the numbers in a tensor",
                "a forward whose course does not hang on its input's values",
                "use torch.where, or leave that part outside of the model",
            )
        over = self.stream.over_time.get(self.number)
        if over is not None and is_over_time(over, args, kwargs):
            return self._over_time(over, func, args, kwargs)
        if name.endswith("_") and not name.endswith("__"):
            return self._in_place(func, name, args, kwargs)
        return self._new(func, name, args, kwargs)

    def _kept_alive(self, result: Any) -> Any:
        self._alive += [leaf for leaf in tree.tree_leaves(result) if isinstance(leaf, Tensor)]
        return result

    def _in_place(self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """The operator of the same name that makes a new tensor, and its numbers put where the old ones were."""
        target = args[0]
        if name in ("as_strided_", "squeeze_", "unsqueeze_", "t_", "transpose_"):  # another look at the same memory
            return func(*args, **kwargs)
        if name in ("zero_", "fill_"):
            numbers = self.write.constant(np.full(target.numel(), 0.0 if name == "zero_" else float(args[1])))
        else:
            packet = getattr(aten, name[:-1])
            numbers = self.value(self.operator(getattr(packet, func._overloadname), args, kwargs))
        whole = torch.as_strided(target, (target.untyped_storage().nbytes() // target.element_size(),), (1,), 0)
        before, size = self.value(whole), whole.numel()
        places = np.arange(size)
        places[_seen(target).ravel()] = np.arange(size, size + target.numel())
        func(*args, **kwargs)
        self._values[_memory(target)] = self.write.placed([before, numbers], places)
        self._alive.append(target)
        return target

    def _new(self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if name in MOVES or name in VIEWS:
            return self._moved(func, name, args, kwargs)
        writers = {
            "mm": self._mm, "addmm": self._addmm, "bmm": self._bmm, "embedding": self._embedding,
            "convolution": self._convolution, "where": self._where, "pow": self._pow, "max": self._max,
            "argmax": self._argmax, "sum": self._sum, "mean": self._sum, "amax": self._sum, "var": self._var,
        }  # fmt: skip
        if name in OF_EACH:
            numbers = self.write.each(OF_EACH[name], [self.value(args[0])], args[0].numel())
        elif name in OF_TWO:
            numbers = self._of_two(OF_TWO[name], args, kwargs, func)
        elif name in ("clamp", "clamp_min", "clamp_max", "hardtanh"):
            low, high = map(number, clamp_bounds(args, kwargs, name))
            numbers = self.write.each(f"clamp_({{}}, {low}, {high})", [self.value(args[0])], args[0].numel())
        elif name in writers:
            return writers[name](func, args, kwargs)
        else:
            return self._decomposed(func, args, kwargs)
        return self.give(func(*args, **kwargs), numbers)

    def _decomposed(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        decomposition = decomposition_table.get(func)
        if decomposition is None:
            if func._can_decompose():
                with _Inner(self):
                    return func.decompose(*args, **kwargs)
            raise _no_operator(name_of(func))
        with _Inner(self):
            return decomposition(*args, **kwargs)

    def _moved(self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        leaves, form = tree.tree_flatten((list(args), dict(kwargs)))
        by_index = name in BY_INDEX
        data, first = [], True
        for place, leaf in enumerate(leaves):
            if not isinstance(leaf, Tensor):
                continue
            is_index = by_index and not first and not leaf.is_floating_point()
            first = False
            if is_index and self.is_computed(leaf):
                return self._looked_up(func, name, args, kwargs)
            if not is_index:
                data.append(place)
        fill = 0.0
        if name == "constant_pad_nd":
            fill, leaves = float(args[2]) if len(args) > 2 else 0.0, tree.tree_leaves(([*args[:2], -1], {}))
            form = tree.tree_structure(([*args[:2], -1], {}))
        if name in ("_to_copy", "clone", "contiguous", "copy", "convert_element_type"):
            leaves = [leaves[place] for place in data[:2]]
            data, target = list(range(len(leaves))), func(*args, **kwargs)
            form, places_function = tree.tree_structure((leaves, {})), lambda *one: one[-1].expand(target.shape)
            if not target.is_floating_point() and leaves[-1].is_floating_point():
                raise _no_operator("numbers made whole")
        else:
            places_function = func
        places = places_of(places_function, leaves, data, lambda values: tree.tree_unflatten(values, form))
        sources = [self.value(leaves[place]) for place in data]
        of_state = all(_memory(leaves[place]) in self._states for place in data)
        results, every = func(*args, **kwargs), []
        pairs = zip(tree.tree_leaves(results), tree.tree_leaves(places), strict=True)
        for result, where in pairs:
            every.append(self.give(result, self.write.placed(sources, where.numpy(), fill)))
        if of_state:
            self._states.update(map(_memory, every))
        return tree.tree_unflatten(every, tree.tree_structure(results))

    def _looked_up(self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """Rows of a constant table by numbers that are computed."""
        table, rows = args[0], args[2] if name == "index_select" else args[1]
        rows = rows[0] if isinstance(rows, list | tuple) and len(rows) == 1 else rows
        first = name == "index" or (name == "index_select" and args[1] == 0)
        if not (first and isinstance(rows, Tensor) and rows.dtype != torch.bool) or self.is_computed(table):
            raise _no_operator(f"{name} by numbers that are computed")
        return self._rows_of(table, rows, func(*args, **kwargs))

    def _rows_of(self, table: Tensor, rows: Tensor, result: Tensor) -> Tensor:
        array = array_of(table.reshape(len(table), -1)).astype(np.float32)
        return self.give(result, self.write.looked_up(array, self.value(rows)))

    def _embedding(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        if self.is_computed(args[0]):
            raise _no_operator("an embedding that is computed")
        return self._rows_of(args[0], args[1], func(*args, **kwargs))

    def _of_two(self, pattern: str, args: Sequence[Any], kwargs: Mapping[str, Any], func: Any) -> Named:
        first, second = args[:2]
        if func._overloadname.endswith("_mode") or kwargs.get("rounding_mode"):
            raise _no_operator("a division that rounds")
        result = func(*args, **kwargs)
        alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
        vectors = [self._as_wide(one, result.shape) for one in (first, second)]
        if alpha != 1:
            scaled = 0 if name_of(func) == "rsub" else 1
            vectors[scaled] = vectors[scaled] * float(alpha)
        return self.write.each(pattern, vectors, result.numel())

    def _as_wide(self, one: Any, shape: Sequence[int]) -> Named:
        """Numbers as a tensor of that shape has them."""
        if not isinstance(one, Tensor):
            return Named(self.body, f"({number(float(one))})", int(np.prod(shape)))
        if one.numel() == int(np.prod(shape)):
            return self.value(one)
        if not self.is_computed(one):
            return self.write.constant(array_of(one.expand(shape)))
        places = torch.arange(one.numel()).view(one.shape).expand(shape).numpy()
        return self.write.placed([self.value(one)], places)

    def _where(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        result = func(*args, **kwargs)
        vectors = [self._as_wide(one, result.shape) for one in args]
        if not self.is_computed(args[0]):
            yes, no = np.arange(2 * result.numel()).reshape(2, -1)
            places = np.where(array_of(args[0].expand(result.shape)).ravel(), yes, no)
            return self.give(result, self.write.placed(vectors[1:], places))
        return self.give(result, self.write.each("({} != 0.0f ? {} : {})", vectors, result.numel()))

    def _pow(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        base, power = args
        if isinstance(power, Tensor) or power not in (1, 2, 3, 0.5, -0.5, -1):
            raise _no_operator("a power that is not 1, 2, 3, 0.5, -0.5 or -1")
        patterns = {1: "{0}", 2: "({0} * {0})", 3: "({0} * {0} * {0})", -1: "(1.0f / {0})"}
        patterns |= {0.5: OF_EACH["sqrt"], -0.5: OF_EACH["rsqrt"]}
        vector = self.value(base)
        return self.give(func(base, power), self.write.each(patterns[power], [vector], base.numel()))

    # Sums

    def _sum(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        x, name = args[0], name_of(func)
        vector, count = self._last(x, summed_dimensions(args))
        numbers = self.write.reduced("amax" if name == "amax" else "sum", vector, count)
        if name == "mean":
            numbers = self.write.each(f"({{}} * {number(1 / count)})", [numbers], numbers.width)
        return self.give(func(*args, **kwargs), numbers)

    def _var(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        x = args[0]
        vector, count = self._last(x, summed_dimensions(args))
        correction = kwargs.get("correction", args[2] if len(args) > 2 else 1)
        mean = self.write.reduced("sum", vector, count)
        spread = self.write.placed([mean], np.arange(mean.width).repeat(count))
        squares = self.write.each(
            f"({{0}} - {{1}} * {number(1 / count)}) * ({{0}} - {{1}} * {number(1 / count)})",
            [vector, spread],
            vector.width,
        )
        total = self.write.reduced("sum", squares, count)
        divided = self.write.each(
            f"({{}} / {number(count - (1 if correction is None else correction))})", [total], total.width
        )
        return self.give(func(*args, **kwargs), divided)

    def _last(self, x: Tensor, dimensions: Sequence[int]) -> tuple[Named, int]:
        """The numbers of a tensor with some dimensions behind the others, and how many those hold."""
        behind = sorted(dimension % x.dim() for dimension in dimensions) if x.dim() else []
        front = [dimension for dimension in range(x.dim()) if dimension not in behind]
        places = torch.arange(x.numel()).view(x.shape).permute(*front, *behind).numpy()
        return self.write.placed([self.value(x)], places), int(np.prod([x.shape[one] for one in behind]))

    def _max(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        results = func(*args, **kwargs)
        if isinstance(results, Tensor) and len(args) > 1:
            numbers = [
                self.write.each(
                    OF_TWO["maximum"], [self._as_wide(one, results.shape) for one in args[:2]], results.numel()
                )
            ]
            return self.give(results, numbers[0])
        vector, count = self._last(args[0], summed_dimensions(args))
        largest = self.write.reduced("amax", vector, count)
        if isinstance(results, Tensor):
            return self.give(results, largest)
        places = self.write.largest(vector, count)
        return type(results)((self.give(results[0], largest), self.give(results[1], places)))

    def _argmax(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        vector, count = self._last(args[0], summed_dimensions(args))
        return self.give(func(*args, **kwargs), self.write.largest(vector, count))

    # Products

    def _mm(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        first, second = args
        result = func(first, second)
        if not self.is_computed(second):
            return self.give(result, self.write.product(self.value(first), array_of(second.t())))
        if not self.is_computed(first):
            turned = self.write.product(self._turned(second), array_of(first))
            places = np.arange(result.numel()).reshape(result.shape[::-1]).T
            return self.give(result, self.write.placed([turned], places))
        return self.give(result, self._products(first.unsqueeze(0), second.unsqueeze(0)))

    def _turned(self, matrix: Tensor) -> Named:
        return self.write.placed([self.value(matrix)], np.arange(matrix.numel()).reshape(matrix.shape).T)

    def _addmm(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        bias, first, second = args
        result = func(bias, first, second, **kwargs)
        plain = bias.dim() == 1 and not kwargs and not self.is_computed(bias) and not self.is_computed(second)
        if not plain:
            with _Inner(self):
                return aten.add(aten.mm(first, second) * kwargs.get("alpha", 1), bias * kwargs.get("beta", 1))
        product = self.write.product(self.value(first), array_of(second.t()), array_of(bias.expand(second.shape[1])))
        return self.give(result, product)

    def _bmm(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        first, second = args
        if len(first) == 1:
            with _Inner(self):
                return aten.mm(first[0], second[0]).unsqueeze(0)
        return self.give(func(first, second), self._products(first, second))

    def _products(self, first: Tensor, second: Tensor) -> Named:
        """Sums of products of what is computed. Shapes: [batch row inner], [batch inner column]"""
        shape = (*first.shape[:2], second.shape[2], first.shape[2])
        if int(np.prod(shape)) > 20_000:
            raise _no_operator(f"a product of {shape[1]} x {shape[3]} and {shape[3]} x {shape[2]} computed numbers")
        pairs = [
            self._as_wide(first.unsqueeze(2), shape),
            self._as_wide(second.transpose(1, 2).unsqueeze(1), shape),
        ]
        return self.write.reduced("sum", self.write.each(OF_TWO["mul"], pairs, int(np.prod(shape))), shape[3])

    def _convolution(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        x, weight, bias, stride, padding, dilation, turned, _, groups = args
        if turned or self.is_computed(weight):
            raise _no_operator("a transposed convolution")
        result = func(*args, **kwargs)
        sides = [side for one in reversed(padding) for side in (one, one)]
        numbers = torch.constant_pad_nd(torch.arange(x.numel()).view(x.shape), sides, -1)
        for axis, (size, step, wide) in enumerate(zip(weight.shape[2:], stride, dilation, strict=True), 2):
            numbers = numbers.unfold(axis, (size - 1) * wide + 1, step)[..., ::wide]
        rank = len(stride)
        numbers = numbers[0].unflatten(0, (groups, -1))  # [group channel place.. kernel..]
        order = [0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank)]
        patches = numbers.permute(order).flatten(1, rank).flatten(2)  # [group place channel*kernel]
        matrices, values = array_of(weight.flatten(1)).reshape(groups, -1, patches.shape[2]), self.value(x)
        parts = []
        for group, matrix in enumerate(matrices):
            offset = None if bias is None else array_of(bias).reshape(groups, -1)[group]
            parts.append(self.write.product(self.write.placed([values], patches[group].numpy()), matrix, offset))
        joined = parts[0] if groups == 1 else self.write.math.join(parts)
        places = np.arange(joined.width).reshape(groups, patches.shape[1], -1).swapaxes(1, 2)
        return self.give(result, self.write.placed([joined], places))

    # Over time

    def _over_time(self, over: OverTime, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        x, starts = args[0], first_memory(over, args)
        lines = self.body.lines
        if over.name in SUMMED:
            total = self.remember(x.numel(), float(starts[0].flatten()[0]))
            pattern = "larger_({}, {})" if over.name in LARGEST else "({} + {})"
            after = self.write.each(pattern, [total, self.value(x)], x.numel())
            lines.append(f"memcpy(state + {self.state - x.numel()}, {after.stored()}, {x.numel()} * sizeof(float));")
            if over.name == "mean":
                count = self.remember(1, 0.0)
                lines.append(f"state[{self.state - 1}] += 1.0f;")
                after = self.write.each(
                    "({} / {})", [after, Named(self.body, count.text.replace("j + ", ""), x.numel())], x.numel()
                )
            return self._new(func, over.name, (self.give(x, after), *args[1:]), kwargs)
        (memory,) = starts
        width, frame, start = memory.numel(), x.numel(), self.state
        before = self.remember(width, float(memory.flatten()[0]))
        steps_first = [over.axis, *(axis for axis in range(x.dim()) if axis != over.axis)]
        back_again = [steps_first.index(axis) for axis in range(x.dim())]
        arrived = self.write.placed([self.value(x)], np.arange(frame).reshape(x.shape).transpose(steps_first))
        window = self.write.math.join([before, arrived])
        lines.append(f"memcpy(state + {start}, {window.stored()} + {frame}, {width} * sizeof(float));")
        tensor = torch.cat([memory, x], over.axis)
        places = np.arange(width + frame).reshape([tensor.shape[axis] for axis in steps_first]).transpose(back_again)
        whole = self.give(tensor, self.write.placed([window], places))
        with _Inner(self):
            return func(*without_back(over, (whole, *args[1:])), **kwargs)


class _Inner(Watching):
    """Operators that one operator is made of, which have no number of their own."""

    def __init__(self, writer: StepWriter):
        super().__init__()
        self.writer = writer

    def operator(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        number, self.writer.number = self.writer.number, -1
        try:
            return self.writer.operator(func, args, kwargs)
        finally:
            self.writer.number = number


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _seen(tensor: Tensor) -> np.ndarray:
    """Places in its memory that a tensor looks at."""
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    return torch.arange(size).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).numpy()


def _shares(func: Any, args: Sequence[Any]) -> bool:
    """Whether the results of an operator are the memory of its first argument."""
    return any(one.alias_info is not None for one in func._schema.returns)


def _no_operator(name: str) -> UserError:
    return UserError(
        f"{name} has no form in C",
        "layers, sums, products and elementary functions of a step",
        "export it by export_onnx",
    )
