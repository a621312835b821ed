"""C of torch's operators on the numbers of one step: what is the same for each number, sums, products, places."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sparsernn.deploy.c_products import Constants, write_product
from sparsernn.deploy.c_step import Body, CMath, Known, Named, number
from sparsernn.runtime.layouts import quantised

OF_EACH: Mapping[str, str] = {
    "tanh": "tanh_({})",
    "sigmoid": "sigmoid_({})",
    "relu": "relu_({})",
    "exp": "exp_({})",
    "expm1": "(exp_({}) - 1.0f)",
    "log": "log_({})",
    "log1p": "log_(1.0f + {})",
    "sqrt": "sqrt_({})",
    "rsqrt": "(1.0f / sqrt_({}))",
    "reciprocal": "(1.0f / {})",
    "erf": "erf_({})",
    "neg": "(-{})",
    "abs": "abs_({})",
    "logical_not": "(float)({} == 0.0f)",
    "bitwise_not": "(float)({} == 0.0f)",
}
"""Operators of one number."""
OF_TWO: Mapping[str, str] = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "rsub": "({1} - {0})",
    "mul": "({} * {})",
    "div": "({} / {})",
    "maximum": "larger_({}, {})",
    "minimum": "(-larger_(-{}, -{}))",
    "eq": "(float)({} == {})",
    "ne": "(float)({} != {})",
    "lt": "(float)({} < {})",
    "le": "(float)({} <= {})",
    "gt": "(float)({} > {})",
    "ge": "(float)({} >= {})",
    "logical_and": "({} * {})",
    "bitwise_and": "({} * {})",
}
"""Operators of two numbers."""
REDUCED = {"sum": ("0.0f", "result += {}"), "amax": ("-INFINITY", "result = larger_(result, {})")}
"""Where a reduction starts, and what each number does to it."""


class Later(Named):
    """Numbers that are written when they are first read, and so only if they are.

    Arguments:
        make: writes them.
    """

    def __init__(self, body: Body, width: int, make: Callable[[], Named]):
        self.body, self.width, self.always, self._make, self._text = body, width, None, make, ""

    @property
    def text(self) -> str:
        if not self._text:
            self._text = self._make().text
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        self._text = text


class Operators:
    """Writes operators into a body, each when its result is read.

    Arguments:
        constants: of the source.
        format: of matrices, see `c_products.write_product`.
    """

    def __init__(self, body: Body, constants: Constants, format: str | None):
        self.body, self.constants, self.format, self.math = body, constants, format, CMath(body)

    def constant(self, values: np.ndarray) -> Named:
        """Numbers that never change."""
        flat = np.asarray(values, np.float32).ravel()
        if flat.size and (flat == flat[0]).all():
            return Named(self.body, f"({number(flat[0])})", flat.size)
        return Known(flat, self.constants.number).named(self.body, flat)

    def each(self, pattern: str, vectors: Sequence[Named], width: int) -> Named:
        """A function of the numbers at each place."""

        def make() -> Named:
            texts = [vector.text if vector.width == width else f"{vector.stored()}[0]" for vector in vectors]
            result = Named(self.body, pattern.format(*texts), width)
            result.stored()
            return result

        return Later(self.body, width, make)

    def placed(self, sources: Sequence[Named], places: np.ndarray, fill: float = 0.0) -> Named:
        """Numbers in another order, out of several vectors that stand one after the other; -1: the filling."""
        flat, start = places.ravel(), 0
        for source in sources:
            if flat.size == source.width and np.array_equal(flat, np.arange(start, start + source.width)):
                return source
            start += source.width
        return Later(self.body, flat.size, lambda: self._placed(sources, flat, fill))

    def _placed(self, sources: Sequence[Named], flat: np.ndarray, fill: float) -> Named:
        starts = np.cumsum([0, *(source.width for source in sources)])
        for source, start in zip(sources, starts, strict=False):
            inside = flat.size and start <= flat[0] and flat[-1] < start + source.width
            if inside and np.array_equal(flat, np.arange(flat[0], flat[0] + flat.size)):
                array, first = source.stored(), flat[0] - start
                return Named(self.body, f"{array}[j + {first}]" if first else f"{array}[j]", flat.size)
            if inside and (flat == flat[0]).all():
                return Named(self.body, f"{source.stored()}[{flat[0] - start}]", flat.size)
        vector = sources[0] if len(sources) == 1 else self.math.join(sources)
        return self.math.take(vector, tuple(flat.tolist()), fill)

    def reduced(self, kind: str, vector: Named, count: int) -> Named:
        """Sums or maxima of so many neighbouring numbers each."""
        return Later(self.body, vector.width // count, lambda: self._reduced(kind, vector, count))

    def _reduced(self, kind: str, vector: Named, count: int) -> Named:
        array, name, groups = vector.stored(), self.body.name("v"), vector.width // count
        start, then = REDUCED[kind]
        self.body.lines += [
            f"float {name}[{groups}];",
            f"for (int j = 0; j < {groups}; ++j) {{",
            f"    float result = {start};",
            f"    for (int k = 0; k < {count}; ++k) {then.format(f'{array}[{count} * j + k]')};",
            f"    {name}[j] = result;",
            "}",
        ]
        return Named(self.body, f"{name}[j]", groups)

    def largest(self, vector: Named, count: int) -> Named:
        """The places of the maxima of so many neighbouring numbers each."""
        return Later(self.body, vector.width // count, lambda: self._largest(vector, count))

    def _largest(self, vector: Named, count: int) -> Named:
        array, name, groups = vector.stored(), self.body.name("v"), vector.width // count
        self.body.lines += [
            f"float {name}[{groups}];",
            f"for (int j = 0; j < {groups}; ++j) {{",
            "    int place = 0;",
            f"    for (int k = 1; k < {count}; ++k)",
            f"        if ({array}[{count} * j + k] > {array}[{count} * j + place]) place = k;",
            f"    {name}[j] = (float)place;",
            "}",
        ]
        return Named(self.body, f"{name}[j]", groups)

    def product(self, vector: Named, matrix: np.ndarray, bias: np.ndarray | None = None) -> Named:
        """A constant matrix with each of the vectors that stand one after the other. matrix: [row column]"""
        return Later(
            self.body, len(matrix) * vector.width // matrix.shape[1], lambda: self._product(vector, matrix, bias)
        )

    def _product(self, vector: Named, matrix: np.ndarray, bias: np.ndarray | None) -> Named:
        columns = matrix.shape[1]
        pieces = [self.placed([vector], np.arange(first, first + columns)) for first in range(0, vector.width, columns)]
        results = [write_product(self.body, self.constants, matrix, bias, piece, self.format) for piece in pieces]
        return results[0] if len(results) == 1 else self.math.join(results)

    def looked_up(self, table: np.ndarray, rows: Named) -> Named:
        """Rows of a constant table, zeros for one that is not there. table: [row column]"""
        return Later(self.body, rows.width * table.shape[1], lambda: self._looked_up(table, rows))

    def _looked_up(self, table: np.ndarray, rows: Named) -> Named:
        (count, width), name = table.shape, self.body.name("rows")
        self.body.lines += [
            f"int32_t {name}[{rows.width}];",
            f"for (int j = 0; j < {rows.width}; ++j) {name}[j] = (int32_t)({rows.text});",
            f"for (int j = 0; j < {rows.width}; ++j)",
            f"    if ({name}[j] < 0 || {name}[j] >= {count}) {name}[j] = -1;",
        ]
        row = f"{name}[j / {width}]"
        place = f"{row} * {width} + j % {width}" if width > 1 else row
        if self.format == "int8" and width > 1:
            rounded, scales = quantised(table)
            names = self.constants.add(rounded), self.constants.add(scales)
            value = f"(float){names[0]}[{place}] * {names[1]}[{row}]"
        else:
            value = f"{self.constants.add(table)}[{place}]"
        result = Named(self.body, f"({row} < 0 ? 0.0f : {value})", rows.width * width)
        result.stored()
        return result


def clamp_bounds(args: Sequence[Any], kwargs: Mapping[str, Any], name: str) -> tuple[float, float]:
    """What an operator of the kind of clamp keeps numbers between."""
    low, high = [*args[1:], kwargs.get("min"), kwargs.get("max"), None, None][:2]
    if name == "clamp_max":
        low, high = None, low
    if name == "hardtanh":
        low, high = (*args[1:], -1.0, 1.0)[:2] if len(args) != 2 else (args[1], 1.0)
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def places_of(
    func: Callable[..., Any], leaves: Sequence[Any], data: Sequence[int], unflatten: Callable[..., Any]
) -> Any:
    """Where each number of an operator's results comes from: the operator run with the numbers of all places.

    Arguments:
        leaves: of its arguments; data: those whose numbers are moved.
    """
    numbered, first = list(leaves), 0
    for place in data:
        tensor = leaves[place]
        numbered[place] = torch.arange(first, first + tensor.numel()).view(tensor.shape)
        first += tensor.numel()
    args, kwargs = unflatten(numbered)
    return func(*args, **kwargs)
