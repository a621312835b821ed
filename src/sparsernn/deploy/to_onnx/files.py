"""What becomes of a traced graph before it is a file: names, axes, metadata, numbers in 8 bits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxscript.optimizer

from sparsernn.deploy.to_onnx import scans
from sparsernn.deploy.to_onnx.axes import Axes
from sparsernn.deploy.to_onnx.nodes import OPERATORS
from sparsernn.kernels.registry import Problem

LARGEST_FOLDED = 1 << 31
LEAST_ROUNDED = 64


@dataclass(frozen=True)
class Details:
    """What a file says of itself.

    Attributes:
        inputs, outputs: names.
        axes: of the inputs that are free.
        layers: see `LayerNodes.described`.
    """

    inputs: Sequence[str]
    outputs: tuple[str, ...]
    axes: Axes
    layers: Sequence[dict[str, object]]

    def named_axes(self, number: int) -> dict[int, str]:
        """The names of the free axes of an input, by dimension."""
        free = [(axis.dimension, name) for name, group in self.axes.items() for axis in group if axis.input == number]
        return dict(sorted(free))


def finish(program: Any, scanned: Sequence[Problem], details: Details, int8: bool) -> None:
    """Make the graph of a program what is to be written."""
    model: ir.Model = program.model
    scans.expand(model.graph, scanned)
    _fold_weights(model)
    if int8:
        _round(model.graph)
    onnxscript.optimizer.remove_unused_nodes(model)
    for node in model.graph:
        node.metadata_props.clear()
    _name(model.graph, details)
    model.producer_name = "sparsernn"
    model.metadata_props["sparsernn.layers"] = json.dumps(list(details.layers))


def _initializers(graph: ir.Graph) -> list[ir.Value]:
    return list(graph.initializers.values())


def _fold_weights(model: ir.Model) -> None:
    """Gates are brought into the standard's order here, not each time a file is loaded."""
    operators = {operator.name for operator in OPERATORS.values()}
    layers = [node for node in model.graph if node.op_type in operators]
    above: set[ir.Node] = set()
    waiting = [value for node in layers for value in node.inputs[1:4] if value is not None]
    while waiting:
        node = waiting.pop().producer()
        if node is not None and node not in above:
            above.add(node)
            waiting += [value for value in node.inputs if value is not None]
    onnxscript.optimizer.fold_constants(
        model,
        input_size_limit=LARGEST_FOLDED,
        output_size_limit=LARGEST_FOLDED,
        should_fold=lambda node: True if node in above else None,
    )


def _name(graph: ir.Graph, details: Details) -> None:
    """Names of inputs, outputs, their axes, and weights: these by the model's unless they are taken."""
    symbols: dict[str, str] = {}
    for number, (value, name) in enumerate(zip(graph.inputs, details.inputs, strict=True)):
        value.name = name
        for dimension, axis in details.named_axes(number).items():
            symbols[str(value.shape[dimension])] = axis  # type: ignore[index]
    bodies = [
        one.as_graph() for node in graph for one in node.attributes.values() if one.type == ir.AttributeType.GRAPH
    ]
    taken = set(details.inputs) | set(details.outputs)
    inner = [value for each in (graph, *bodies) for node in each for value in node.outputs]
    inner += [value for body in bodies for value in body.inputs]
    for value in inner:
        while value.name in taken:
            value.name = f"{value.name}_inner"
    taken |= {str(value.name) for value in [*inner, *_initializers(graph)]}
    for value, name in zip(graph.outputs, details.outputs, strict=True):
        value.name = name
    for value in _initializers(graph):
        name = str(value.name).removeprefix("network.")
        value.name = name if name not in taken else value.name
    for each in (graph, *bodies):
        for value in [*each.inputs, *each.outputs, *(value for node in each for value in node.outputs)]:
            if value.shape is not None:
                free = symbols if each is graph else dict.fromkeys(map(str, value.shape))
                value.shape = ir.Shape([_named(size, free) for size in value.shape])


def _named(size: int | ir.SymbolicDim, symbols: Mapping[str, str | None]) -> int | str | None:
    if isinstance(size, int):
        return size
    return symbols.get(str(size.value), None if size.value is None else str(size.value))


def _round(graph: ir.Graph) -> None:
    """Matrices in 8 bits, each with scales along the axis that loses less."""
    for value in _initializers(graph):
        numbers = None if value.const_value is None else value.const_value.numpy()
        if numbers is None or numbers.dtype != np.float32 or numbers.ndim < 2 or numbers.size < LEAST_ROUNDED:
            continue
        axis, rounded, scales = _better(numbers)
        name = str(value.name)
        parts = [
            ir.Value(name=f"{name}.{suffix}", const_value=ir.tensor(array), shape=ir.Shape(array.shape),
                     type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
            for suffix, array in (("int8", rounded), ("scale", scales))
        ]  # fmt: skip
        node = ir.Node("", "DequantizeLinear", parts, [ir.AttrInt64("axis", axis)], num_outputs=1)
        result = node.outputs[0]
        result.shape, result.type = value.shape, value.type
        ir.convenience.replace_all_uses_with(value, result)
        del graph.initializers[name]
        value.name, result.name = f"{name}.replaced", name
        for part in parts:
            graph.register_initializer(part)
        graph.insert_before(graph[0], node)


def _better(numbers: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """The axis of the scales along which rounding loses less, and numbers and scales."""
    tried = [_rounded(numbers, axis) for axis in (numbers.ndim - 2, numbers.ndim - 1)]
    losses = [
        float(np.abs(rounded * np.expand_dims(scales, _rest(numbers, axis)) - numbers).sum())
        for axis, rounded, scales in tried
    ]
    return tried[int(losses[1] < losses[0])]


def _rounded(numbers: np.ndarray, axis: int) -> tuple[int, np.ndarray, np.ndarray]:
    scales = (np.abs(numbers).max(_rest(numbers, axis)) / 127).astype(np.float32)
    scales = np.where(scales > 0, scales, np.float32(1))
    return axis, np.rint(numbers / np.expand_dims(scales, _rest(numbers, axis))).astype(np.int8), scales


def _rest(numbers: np.ndarray, axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(numbers.ndim) if other != axis)
