"""C of torch's operators, one function each: what they do with the numbers of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as tree

from sparsernn.deploy.c_operators import OF_EACH, OF_TWO, Later, Operators, clamp_bounds, places_of
from sparsernn.deploy.c_step import Named, number
from sparsernn.deploy.over_time import Call, summed_dimensions
from sparsernn.deploy.packing import array_of
from sparsernn.errors import UserError

MOVES = (
    "cat", "stack", "clone", "contiguous", "_to_copy", "constant_pad_nd", "repeat", "flip", "roll", "index",
    "index_select", "gather", "index_put", "scatter", "slice_scatter", "select_scatter", "copy", "lift_fresh_copy",
    "tile", "expand_copy", "view_copy", "permute_copy", "reshape", "pixel_shuffle", "_reshape_copy",
    "repeat_interleave", "_unsafe_index", "take_along_dim", "_unsafe_view", "convert_element_type",
)  # fmt: skip
"""Operators that put numbers elsewhere, as they are."""
BY_INDEX = ("index", "index_select", "gather", "index_put", "scatter", "_unsafe_index", "take_along_dim")
VIEWS = (
    "view", "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice", "select", "split",
    "split_with_sizes", "unbind", "alias", "detach", "as_strided", "_unsafe_view", "unfold", "diagonal", "narrow",
    "view_as", "movedim", "chunk", "broadcast_in_dim", "view_of", "collapse_view", "split_dim", "lift_fresh",
    "reshape", "unsafe_split", "unsafe_chunk",
)  # fmt: skip
"""Operators whose results are the same memory, seen in another way."""
LIKE = (
    "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "zeros_like", "ones_like", "full_like",
    "empty_like", "sym_size", "sym_numel", "sym_stride",
)  # fmt: skip
"""Operators that read no number."""
READING = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "_assert_async", "unique_dim", "_unique2")
"""Operators that let a forward go on by the numbers in a tensor."""
COPIES = ("_to_copy", "clone", "contiguous", "copy", "convert_element_type")
MOST_PRODUCTS = 20_000
"""Products of numbers that are both computed, at most: they are written out as one array."""


class Writer(Protocol):
    """What an operator is written with.

    Attributes:
        write: writes C. aten: operators whose results are written as well.
    """

    write: Operators

    def is_computed(self, tensor: object) -> bool: ...
    def value(self, tensor: Tensor) -> Named: ...
    def give(self, tensor: Tensor, named: Named) -> Tensor: ...
    def is_state(self, tensor: Tensor) -> bool: ...
    def note_states(self, tensors: Sequence[Tensor]) -> None: ...
    def within(self, function: Callable[..., Tensor], *args: object) -> Tensor: ...


def translated(writer: Writer, call: Call) -> object:
    """The result of an operator whose C is written. Raises: UserError for one that has none."""
    name, args = call.name, call.args
    if name in MOVES or name in VIEWS:
        return _moved(writer, call)
    if name in OTHERS:
        return OTHERS[name](writer, call)
    if name in OF_EACH:
        numbers = writer.write.each(OF_EACH[name], [writer.value(args[0])], args[0].numel())
    elif name in OF_TWO:
        numbers = _of_two(writer, call)
    elif name in ("clamp", "clamp_min", "clamp_max", "hardtanh"):
        low, high = map(number, clamp_bounds(args, call.kwargs, name))
        numbers = writer.write.each(f"clamp_({{}}, {low}, {high})", [writer.value(args[0])], args[0].numel())
    else:
        raise no_operator(name)
    return writer.give(call.run(), numbers)


def is_known(name: str) -> bool:
    """Whether an operator has a translation."""
    clamps = ("clamp", "clamp_min", "clamp_max", "hardtanh")
    return any(name in table for table in (MOVES, VIEWS, OTHERS, OF_EACH, OF_TWO, clamps))


def _moved(writer: Writer, call: Call) -> object:
    """An operator of `MOVES`: it is run with the numbers of all places instead of what stands there."""
    if call.name in COPIES:
        return _copied(writer, call)
    fill = float(call.args[2]) if call.name == "constant_pad_nd" and len(call.args) > 2 else 0.0
    args = [*call.args[:2], -1] if call.name == "constant_pad_nd" else list(call.args)
    leaves, form = tree.tree_flatten((args, dict(call.kwargs)))
    data = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    if call.name in BY_INDEX:
        data = [data[0], *(place for place in data[1:] if leaves[place].is_floating_point())]
        if any(writer.is_computed(leaf) for place, leaf in enumerate(leaves) if place not in data):
            return _looked_up(writer, call)
    places = places_of(call.func, leaves, data, lambda values: tree.tree_unflatten(values, form))
    sources, results = [writer.value(leaves[place]) for place in data], call.run()
    pairs = zip(tree.tree_leaves(results), tree.tree_leaves(places), strict=True)
    every = [writer.give(result, writer.write.placed(sources, where.numpy(), fill)) for result, where in pairs]
    if all(writer.is_state(leaves[place]) for place in data if writer.is_computed(leaves[place])):
        writer.note_states(every)
    return tree.tree_unflatten(every, tree.tree_structure(results))


def _copied(writer: Writer, call: Call) -> Tensor:
    """The last of the tensors that an operator is handed, which may be of another type."""
    source = [leaf for leaf in call.args if isinstance(leaf, Tensor)][-1]
    result = call.run()
    if source.is_floating_point() and not result.is_floating_point():
        raise no_operator("numbers made whole")
    copy = writer.give(result, _as_wide(writer, source, result.shape))
    if writer.is_state(source):
        writer.note_states([copy])
    return copy


def _looked_up(writer: Writer, call: Call) -> Tensor:
    """Rows of a constant table by numbers that are computed."""
    table, rows = call.args[0], call.args[2] if call.name == "index_select" else call.args[1]
    rows = rows[0] if isinstance(rows, list | tuple) and len(rows) == 1 else rows
    first = call.name == "index" or (call.name == "index_select" and call.args[1] == 0)
    if not first or not isinstance(rows, Tensor) or rows.dtype == torch.bool or writer.is_computed(table):
        raise no_operator(f"{call.name} by numbers that are computed")
    return _rows_of(writer, table, rows, call.run())


def _rows_of(writer: Writer, table: Tensor, rows: Tensor, result: Tensor) -> Tensor:
    array = array_of(table.reshape(len(table), -1)).astype(np.float32)
    return writer.give(result, writer.write.looked_up(array, writer.value(rows)))


def _embedding(writer: Writer, call: Call) -> Tensor:
    if writer.is_computed(call.args[0]):
        raise no_operator("an embedding that is computed")
    return _rows_of(writer, call.args[0], call.args[1], call.run())


def _of_two(writer: Writer, call: Call) -> Named:
    if call.kwargs.get("rounding_mode"):
        raise no_operator("a division that rounds")
    shape = call.run().shape
    alpha = call.kwargs.get("alpha", call.args[2] if len(call.args) > 2 else 1)
    vectors = [_as_wide(writer, one, shape) for one in call.args[:2]]
    if alpha != 1:
        scaled = 0 if call.name == "rsub" else 1
        vectors[scaled] = writer.write.each(f"({{}} * {number(alpha)})", [vectors[scaled]], vectors[scaled].width)
    return writer.write.each(OF_TWO[call.name], vectors, shape.numel())


def _as_wide(writer: Writer, one: object, shape: torch.Size) -> Named:
    """Numbers as a tensor of that shape has them."""
    if not isinstance(one, Tensor):
        return writer.write.constant(np.full(shape.numel(), float(one)))  # type: ignore[arg-type]
    if one.numel() == shape.numel():
        return writer.value(one)
    if not writer.is_computed(one):
        return writer.write.constant(array_of(one.expand(shape)))
    places = torch.arange(one.numel()).view(one.shape).expand(shape).numpy()
    return writer.write.placed([writer.value(one)], places)


def _where(writer: Writer, call: Call) -> Tensor:
    result, condition = call.run(), call.args[0]
    vectors = [_as_wide(writer, one, result.shape) for one in call.args]
    if writer.is_computed(condition):
        return writer.give(result, writer.write.each("({} != 0.0f ? {} : {})", vectors, result.numel()))
    yes, no = np.arange(2 * result.numel()).reshape(2, -1)
    places = np.where(array_of(condition.expand(result.shape)).ravel(), yes, no)
    return writer.give(result, writer.write.placed(vectors[1:], places))


def _pow(writer: Writer, call: Call) -> Tensor:
    base, power = call.args
    patterns = {1: "{0}", 2: "({0} * {0})", 3: "({0} * {0} * {0})", -1: "(1.0f / {0})"}
    patterns |= {0.5: OF_EACH["sqrt"], -0.5: OF_EACH["rsqrt"]}
    if not isinstance(power, int | float) or power not in patterns:
        raise no_operator("a power that is not 1, 2, 3, 0.5, -0.5 or -1")
    return writer.give(call.run(), writer.write.each(patterns[power], [writer.value(base)], base.numel()))


def _sum(writer: Writer, call: Call) -> Tensor:
    vector, count = _last(writer, call.args[0], summed_dimensions(call.args))
    numbers = writer.write.reduced("amax" if call.name == "amax" else "sum", vector, count)
    if call.name == "mean":
        numbers = writer.write.each(f"({{}} * {number(1 / count)})", [numbers], numbers.width)
    return writer.give(call.run(), numbers)


def _var(writer: Writer, call: Call) -> Tensor:
    vector, count = _last(writer, call.args[0], summed_dimensions(call.args))
    correction = call.kwargs.get("correction", call.args[2] if len(call.args) > 2 else 1)
    mean = writer.write.reduced("sum", vector, count)
    spread = writer.write.placed([mean], np.arange(mean.width).repeat(count))
    apart = f"({{0}} - {{1}} * {number(1 / count)})"
    squares = writer.write.each(f"({apart} * {apart})", [vector, spread], vector.width)
    total = writer.write.reduced("sum", squares, count)
    degrees = count - (1 if correction is None else correction)
    return writer.give(call.run(), writer.write.each(f"({{}} / {number(degrees)})", [total], total.width))


def _last(writer: Writer, x: Tensor, dimensions: Sequence[int]) -> tuple[Named, int]:
    """The numbers of a tensor with some dimensions behind the others, and how many those hold."""
    behind = sorted(dimension % x.dim() for dimension in dimensions) if x.dim() else []
    front = [dimension for dimension in range(x.dim()) if dimension not in behind]
    places = torch.arange(x.numel()).view(x.shape).permute(*front, *behind).numpy()
    return writer.write.placed([writer.value(x)], places), int(np.prod([x.shape[one] for one in behind]))


def _max(writer: Writer, call: Call) -> object:
    results = call.run()
    if any(isinstance(one, Tensor) for one in call.args[1:]):
        return writer.within(torch.ops.aten.maximum, *call.args)
    vector, count = _last(writer, call.args[0], summed_dimensions(call.args))
    largest = writer.write.reduced("amax", vector, count)
    if isinstance(results, Tensor):
        return writer.give(results, largest)
    places = writer.write.largest(vector, count)
    return type(results)((writer.give(results[0], largest), writer.give(results[1], places)))


def _argmax(writer: Writer, call: Call) -> Tensor:
    vector, count = _last(writer, call.args[0], summed_dimensions(call.args))
    return writer.give(call.run(), writer.write.largest(vector, count))


def _mm(writer: Writer, call: Call) -> Tensor:
    (first, second), result = call.args, call.run()
    if not writer.is_computed(second):
        return writer.give(result, writer.write.product(writer.value(first), array_of(second.t())))
    if writer.is_computed(first):
        return writer.give(result, _products(writer, first.unsqueeze(0), second.unsqueeze(0)))
    turned = np.arange(second.numel()).reshape(second.shape).T
    product = writer.write.product(writer.write.placed([writer.value(second)], turned), array_of(first))
    places = np.arange(result.numel()).reshape(result.shape[::-1]).T
    return writer.give(result, writer.write.placed([product], places))


def _addmm(writer: Writer, call: Call) -> Tensor:
    bias, first, second = call.args
    if bias.dim() != 1 or call.kwargs or writer.is_computed(bias) or writer.is_computed(second):
        alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
        return writer.within(lambda: torch.ops.aten.mm(first, second) * alpha + bias * beta)
    offset = array_of(bias.expand(second.shape[1]))
    return writer.give(call.run(), writer.write.product(writer.value(first), array_of(second.t()), offset))


def _bmm(writer: Writer, call: Call) -> Tensor:
    first, second = call.args
    if len(first) == 1:
        return writer.within(lambda: torch.ops.aten.mm(first[0], second[0]).unsqueeze(0))
    return writer.give(call.run(), _products(writer, first, second))


def _products(writer: Writer, first: Tensor, second: Tensor) -> Named:
    """Sums of products of what is computed. Shapes: [batch row inner], [batch inner column]"""
    shape = torch.Size((*first.shape[:2], second.shape[2], first.shape[2]))
    if shape.numel() > MOST_PRODUCTS:
        raise no_operator(f"a product of {shape[1]} x {shape[3]} and {shape[3]} x {shape[2]} computed numbers")
    tensors = first.unsqueeze(2), second.transpose(1, 2).unsqueeze(1)
    pairs = [_as_wide(writer, one, shape) for one in tensors]
    return writer.write.reduced("sum", writer.write.each(OF_TWO["mul"], pairs, shape.numel()), shape[3])


def _windows(x: Tensor, *window: Sequence[int]) -> Tensor:
    """Places of the numbers under each window, -1 beside the edge. Shapes: [.. size..] -> [.. place.. kernel..]"""
    sizes, stride, padding, dilation = window
    front = x.dim() - len(sizes)
    sides = [side for one in reversed(padding) for side in (one, one)]
    numbers = torch.constant_pad_nd(torch.arange(x.numel()).view(x.shape), sides, -1)
    for axis, (size, step, wide) in enumerate(zip(sizes, stride, dilation, strict=True), front):
        numbers = numbers.unfold(axis, (size - 1) * wide + 1, step)[..., ::wide]
    return numbers


POOLING = {
    True: ("x", "size", "stride", "padding", "dilation", "ceil"),
    False: ("x", "size", "stride", "padding", "ceil", "with edge", "divisor"),
}
"""Arguments of a maximum over windows, and of a mean."""


def _pool(writer: Writer, call: Call) -> object:
    """Maxima or means of what lies under each window."""
    largest = call.name != "avg_pool2d"
    arguments = dict(zip(POOLING[largest], call.args, strict=False))
    x, size = arguments["x"], _pair(arguments["size"])
    stride, padding = _pair(arguments.get("stride") or size), _pair(arguments.get("padding", 0))
    dilation = _pair(arguments.get("dilation", 1))
    if arguments.get("ceil") or arguments.get("divisor") or (not largest and any(padding)):
        raise no_operator("a pooling that goes beyond the edge, or divides by a number of its own,")
    numbers = _windows(x, size, stride, padding, dilation).flatten(-2)
    vector = writer.write.placed([writer.value(x)], numbers.numpy(), -np.inf if largest else 0.0)
    count, results = numbers.shape[-1], call.run()
    pooled = writer.write.reduced("amax" if largest else "sum", vector, count)
    if not largest:
        return writer.give(results, writer.write.each(f"({{}} * {number(1 / count)})", [pooled], pooled.width))

    def places() -> Named:
        raise no_operator("the place of a largest number in a window")

    values = writer.give(results[0], pooled)
    return values, writer.give(results[1], Later(pooled.body, pooled.width, places))


def _pair(one: int | Sequence[int]) -> list[int]:
    return [one, one] if isinstance(one, int) else list(one) * (2 // len(one))


def _convolution(writer: Writer, call: Call) -> Tensor:
    """Products of the weights with what lies under them at each place."""
    x, weight, bias, stride, padding, dilation, turned, _, groups = call.args
    if turned or writer.is_computed(weight):
        raise no_operator("a transposed convolution, or one with weights that are computed,")
    rank = len(stride)
    numbers = _windows(x, weight.shape[2:], stride, padding, dilation)
    numbers = numbers[0].unflatten(0, (groups, -1))  # [group channel place.. kernel..]
    order = [0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank)]
    patches = numbers.permute(order).flatten(1, rank).flatten(2)  # [group place channel*kernel]
    matrices, values = array_of(weight.flatten(1)).reshape(groups, -1, patches.shape[2]), writer.value(x)
    offsets = [None] * groups if bias is None else array_of(bias).reshape(groups, -1)
    parts = [
        writer.write.product(writer.write.placed([values], patch.numpy()), matrix, offset)
        for patch, matrix, offset in zip(patches, matrices, offsets, strict=True)
    ]
    count = sum(part.width for part in parts)
    places = np.arange(count).reshape(groups, patches.shape[1], -1).swapaxes(1, 2)
    return writer.give(call.run(), writer.write.placed(parts, places))


OTHERS: dict[str, Callable[[Writer, Call], object]] = {
    "mm": _mm, "addmm": _addmm, "bmm": _bmm, "embedding": _embedding, "convolution": _convolution, "where": _where,
    "pow": _pow, "max": _max, "argmax": _argmax, "sum": _sum, "mean": _sum, "amax": _sum, "var": _var,
    "max_pool2d_with_indices": _pool, "avg_pool2d": _pool,
}  # fmt: skip
"""Operators that are more than a function of one or two numbers."""


def no_operator(name: str) -> UserError:
    """Why something cannot be written."""
    return UserError(
        f"{name} has no form in C",
        "layers, sums, products and elementary functions of a step",
        "export it by export_onnx",
    )
