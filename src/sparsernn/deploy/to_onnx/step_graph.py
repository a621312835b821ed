"""ONNX of one step of a cell, traced from the same source that torch and numpy run: the arithmetic of a Scan's body."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from sparsernn.cells.cell import Cell
from sparsernn.runtime.numpy_math import SELU_ALPHA, SELU_SCALE

LAST = ir.AttrInt64("axis", -1)


class StepGraph:
    """The nodes of a body in the order in which they were written, and its constants.

    Arguments:
        dtype: of its numbers.
        prefix: of the names of its values.
    Attributes:
        nodes, constants: what a graph is made of.
    """

    def __init__(self, dtype: np.dtype, prefix: str):
        self.dtype, self.prefix = dtype, prefix
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        self._scalars: dict[float, ir.Value] = {}

    def input(self, name: str, width: int, dtype: np.dtype | None = None) -> Numbers:
        """An input of the body. Shapes: [batch width]"""
        type_ = ir.TensorType(ir.DataType.from_numpy(dtype or self.dtype))
        return Numbers(self, ir.Value(name=f"{self.prefix}{name}", shape=ir.Shape(["batch", width]), type=type_), width)

    def write(
        self, name: str, inputs: Sequence[ir.Value | None], attributes: Sequence[ir.Attr] = (), outputs: int = 1
    ) -> Sequence[ir.Value]:
        """What a node gives."""
        node = ir.Node("", name, inputs, attributes, num_outputs=outputs, name=f"{self.prefix}node_{len(self.nodes)}")
        for number, value in enumerate(node.outputs):
            value.name = f"{node.name}_{number}"
        self.nodes.append(node)
        return node.outputs

    def constant(self, values: np.ndarray) -> ir.Value:
        """An array that never changes."""
        name, tensor = f"{self.prefix}constant_{len(self.constants)}", ir.tensor(values)
        value = ir.Value(name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.constants.append(value)
        return value

    def scalar(self, value: float) -> ir.Value:
        """One number."""
        if value not in self._scalars:
            self._scalars[value] = self.constant(np.asarray(value, self.dtype))
        return self._scalars[value]

    def rows(self, value: ir.Value, rows: slice) -> ir.Value:
        """Some rows of a weight, as they are laid out."""
        bounds = [self.constant(np.asarray([bound])) for bound in (rows.start, rows.stop, 0)]
        return self.write("Slice", [value, *bounds])[0]


class Numbers:
    """Numbers of a body along the last dimension."""

    def __init__(self, graph: StepGraph, value: ir.Value, width: int):
        self.graph, self.value, self.width = graph, value, width

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    def map(self, name: str, *others: ir.Value | None, attributes: Sequence[ir.Attr] = ()) -> Numbers:
        """A function of every number."""
        return Numbers(self.graph, self.graph.write(name, [self.value, *others], attributes)[0], self.width)

    def _with(self, name: str, other: Numbers | float, swapped: bool = False) -> Numbers:
        both = [self.value, other.value if isinstance(other, Numbers) else self.graph.scalar(other)]
        width = max(self.width, other.width if isinstance(other, Numbers) else 1)
        return Numbers(self.graph, self.graph.write(name, both[::-1] if swapped else both)[0], width)

    def __add__(self, other: Numbers | float) -> Numbers:
        return self._with("Add", other)

    def __radd__(self, other: float) -> Numbers:
        return self._with("Add", other, swapped=True)

    def __sub__(self, other: Numbers | float) -> Numbers:
        return self._with("Sub", other)

    def __rsub__(self, other: float) -> Numbers:
        return self._with("Sub", other, swapped=True)

    def __mul__(self, other: Numbers | float) -> Numbers:
        return self._with("Mul", other)

    def __rmul__(self, other: float) -> Numbers:
        return self._with("Mul", other, swapped=True)

    def __truediv__(self, other: Numbers | float) -> Numbers:
        return self._with("Div", other)

    def __neg__(self) -> Numbers:
        return self.map("Neg")


class GraphMath:
    """Arithmetic that writes nodes; see `cells.parts.arithmetic.Math`."""

    def __init__(self, graph: StepGraph):
        self.graph = graph

    def split(self, vector: Numbers, parts: int) -> list[Numbers]:
        attributes = [LAST, ir.AttrInt64("num_outputs", parts)]
        values = self.graph.write("Split", [vector.value], attributes, outputs=parts)
        return [Numbers(self.graph, value, vector.width // parts) for value in values]

    def join(self, vectors: Sequence[Numbers]) -> Numbers:
        value = self.graph.write("Concat", [vector.value for vector in vectors], [LAST])[0]
        return Numbers(self.graph, value, sum(vector.width for vector in vectors))

    def take(self, vector: Numbers, places: tuple[int, ...], fill: float) -> Numbers:
        index = np.asarray(places)
        taken = self.graph.write("Gather", [vector.value, self.graph.constant(np.maximum(index, 0))], [LAST])[0]
        return self.choose(tuple((index < 0).tolist()), fill, Numbers(self.graph, taken, len(places)))

    def choose(self, flags: tuple[bool, ...], yes: float, no: Numbers) -> Numbers:
        return self.where(self.graph.constant(np.asarray(flags)), self.graph.scalar(yes), no)

    def where(self, flags: ir.Value, yes: ir.Value, no: Numbers) -> Numbers:
        """One value where a flag is set, the vector elsewhere."""
        return Numbers(self.graph, self.graph.write("Where", [flags, yes, no.value])[0], no.width)

    def constant(self, value: float, like: Numbers) -> Numbers:
        return Numbers(self.graph, self.graph.scalar(value), 1)

    def watch(self, vector: Numbers, activated: Numbers) -> Numbers:
        return activated

    def sigmoid(self, vector: Numbers) -> Numbers:
        return vector.map("Sigmoid")

    def tanh(self, vector: Numbers) -> Numbers:
        return vector.map("Tanh")

    def relu(self, vector: Numbers) -> Numbers:
        return vector.map("Relu")

    def selu(self, vector: Numbers) -> Numbers:
        return vector.map("Selu", attributes=[ir.AttrFloat32("alpha", SELU_ALPHA), ir.AttrFloat32("gamma", SELU_SCALE)])

    def log_sigmoid(self, vector: Numbers) -> Numbers:
        return -(-vector).map("Softplus")

    def clamp(self, vector: Numbers, low: float, high: float) -> Numbers:
        return vector.map("Clip", *(None if math.isinf(end) else self.graph.scalar(end) for end in (low, high)))

    def larger(self, first: Numbers, second: Numbers) -> Numbers:
        return first._with("Max", second)

    def log_add_exp(self, first: Numbers, second: Numbers) -> Numbers:
        high, low = self.larger(first, second), first._with("Min", second)
        both = high + ((low - high).map("Exp") + 1.0).map("Log")
        return self.where(self._is_lowest(high), high.value, both)

    def finite(self, vector: Numbers) -> Numbers:
        return self.where(self._is_lowest(vector), self.graph.scalar(0.0), vector)

    def _is_lowest(self, vector: Numbers) -> ir.Value:
        return self.graph.write("Equal", [vector.value, self.graph.scalar(-math.inf)])[0]


class GraphProducts:
    """Products of one layer, handed to its step; see `cells.parts.arithmetic.Multiply`.

    Arguments:
        weights: local name -> the value of the graph around, and how high it is.
    """

    def __init__(self, graph: StepGraph, cell: Cell, weights: Mapping[str, tuple[ir.Value, int]]):
        self.graph, self.cell, self.weights = graph, cell, weights

    def __call__(
        self, name: str, vector: Numbers | None = None, gates: tuple[str, ...] | None = None
    ) -> Numbers | float:
        if name not in self.weights:
            return 0.0
        weight, height = self.weights[name]
        if vector is None:
            return Numbers(self.graph, weight, height)
        rows, bias = self.cell.rows(name, gates, height), self._bias(name, height)
        count = rows.stop - rows.start
        if count < height:
            weight, bias = self.graph.rows(weight, rows), None if bias is None else self.graph.rows(bias, rows)
        if not self.cell.is_diagonal(name):
            inputs = [vector.value, weight, *([] if bias is None else [bias])]
            return Numbers(self.graph, self.graph.write("Gemm", inputs, [ir.AttrInt64("transB", 1)])[0], count)
        repeated = GraphMath(self.graph).join([vector] * (count // vector.width)) if count > vector.width else vector
        product = repeated * Numbers(self.graph, weight, count)
        return product if bias is None else product + Numbers(self.graph, bias, count)

    def _bias(self, name: str, height: int) -> ir.Value | None:
        """The bias of a product, 0 for gates that have none. [row]"""
        local, rows = self.cell.bias_rows(name, height)
        if local not in self.weights:
            return None
        bias, count = self.weights[local]
        if count == height:
            return bias
        sides = [self.graph.constant(np.zeros(size, self.graph.dtype)) for size in (rows.start, height - rows.stop)]
        return self.graph.write("Concat", [sides[0], bias, sides[1]], [LAST])[0]
