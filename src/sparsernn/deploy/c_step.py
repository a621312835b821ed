"""C99 of one step of a cell, traced from the same source that torch and numpy run."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sparsernn.cells.cell import Cell, Sizes
from sparsernn.cells.parts.arithmetic import Multiply
from sparsernn.runtime import numpy_math

UNCHANGED = (("+", 0.0), ("-", 0.0), ("*", 1.0), ("/", 1.0))
"""Operations that leave numbers as they are, but for the sign of a zero."""
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}

FUNCTIONS = {
    "exp_": """static float exp_(float x) {
    const float near = x < -87.3f ? -87.3f : x > 89.0f ? 89.0f : x;
    const float shifted = near * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    const float r = (near - n * 0.693359375f) - n * -2.12194440e-4f;
    float series = r * 8.297619466e-3f + 4.191562925e-2f, power;
    uint32_t bits;
    series = series * r + 1.666757654e-1f;
    series = series * r + 4.999889266e-1f;
    series = series * r + 9.999996911e-1f;
    series = series * r + 1.000000072f;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    memcpy(&power, &bits, sizeof power);
    return series * power;
}
""",
    "log_of_one_plus_": """static float log_of_one_plus_(float x) {
    const float y = x > 0.41421356f ? (x - 1.0f) * 0.5f : x;
    const float s = y / (2.0f + y), square = s * s;
    float series = 0.14285714f + square * 0.11111111f;
    series = 1.0f + square * (0.33333333f + square * (0.2f + square * series));
    return 2.0f * s * series + (x > 0.41421356f ? 0.69314718f : 0.0f);
}
""",
    "log_": """static float log_(float x) {
    uint32_t bits, one;
    float rest;
    if (!(x > 0.0f) || x > 3.4e38f) return x < 0.0f ? NAN : x > 0.0f ? x : x == 0.0f ? -INFINITY : x;
    memcpy(&bits, &x, sizeof bits);
    one = (bits & 0x7fffffu) | 0x3f800000u;
    memcpy(&rest, &one, sizeof rest);
    return (float)((int32_t)(bits >> 23) - 127) * 0.69314718f + log_of_one_plus_(rest - 1.0f);
}
""",
    "sqrt_": """static float sqrt_(float x) {
    uint32_t bits;
    float root;
    if (!(x > 0.0f) || x > 3.4e38f) return x < 0.0f ? NAN : x;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits >> 1) + 0x1fbd1df5u;
    memcpy(&root, &bits, sizeof root);
    for (int k = 0; k < 3; ++k) root = 0.5f * (root + x / root);
    return root;
}
""",
    "erf_": """static float erf_(float x) {
    const float size = x < 0.0f ? -x : x, t = 1.0f / (1.0f + 0.3275911f * size);
    const float series = (((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f;
    const float result = 1.0f - series * t * exp_(-size * size);
    return x < 0.0f ? -result : result;
}
""",
    "abs_": "static float abs_(float x) { return x < 0.0f ? -x : x; }\n",
    "sigmoid_": "static float sigmoid_(float x) { return 1.0f / (1.0f + exp_(-x)); }\n",
    "tanh_": """static float tanh_(float x) {
    const float near = x < -7.90531111f ? -7.90531111f : x > 7.90531111f ? 7.90531111f : x, square = near * near;
    float above = square * -2.76076847742355e-16f + 2.00018790482477e-13f;
    float below = square * 1.19825839466702e-06f + 1.18534705686654e-04f;
    above = above * square - 8.60467152213735e-11f;
    above = above * square + 5.12229709037114e-08f;
    above = above * square + 1.48572235717979e-05f;
    above = above * square + 6.37261928875436e-04f;
    above = above * square + 4.89352455891786e-03f;
    below = below * square + 2.26843463243900e-03f;
    below = below * square + 4.89352518554385e-03f;
    return near * above / below;
}
""",
    "relu_": "static float relu_(float x) { return x < 0.0f ? 0.0f : x; }\n",
    "selu_": """static float selu_(float x) {
    return x > 0.0f ? 1.05070098736f * x : 1.75809934085f * (exp_(x) - 1.0f);
}
""",
    "log_sigmoid_": """static float log_sigmoid_(float x) {
    return (x < 0.0f ? x : 0.0f) - log_of_one_plus_(exp_(x < 0.0f ? x : -x));
}
""",
    "clamp_": """static float clamp_(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}
""",
    "larger_": "static float larger_(float a, float b) { return b >= a ? b : a; }\n",
    "finite_": "static float finite_(float x) { return x == -INFINITY ? 0.0f : x; }\n",
    "log_add_exp_": """static float log_add_exp_(float a, float b) {
    const float high = a > b ? a : b, low = a > b ? b : a;
    return low == -INFINITY ? high : high + log_of_one_plus_(exp_(low - high));
}
""",
    "product_": """static void product_(const float *weight, const float *bias, const float *vector, float *out,
                     int rows, int columns) {
    for (int i = 0; i < rows; ++i) {
        float sum = bias ? bias[i] : 0.0f;
        for (int j = 0; j < columns; ++j) sum += weight[i * columns + j] * vector[j];
        out[i] = sum;
    }
}
""",
}
"""Functions that a source may need. Elementary ones are those of the extension, so that nothing is linked."""

CONSTANT = """
#if defined(__FLASH)
#define CONSTANT_ const __flash
#elif defined(__AVR__)
#error "Compile this as C, with -std=gnu99: constants then stay in flash."
#else
#define CONSTANT_ const
#endif"""
"""What constants are declared as: an AVR copies them to memory unless it is told not to."""
INTRINSICS = """
#if defined(__AVX512F__)
#include <immintrin.h>
#define LOOKUP_ 1
#else
#define LOOKUP_ 0
#endif"""


def with_functions(code: str, functions: Mapping[str, str] = FUNCTIONS) -> str:
    """C with the functions that it calls, and those that they call, in front."""
    needed: set[str] = set()
    waiting = [code]
    while waiting:
        text = waiting.pop()
        for name in functions:
            if name not in needed and re.search(rf"\b{name}\(", text):
                needed.add(name)
                waiting.append(functions[name])
    texts = [functions[name] for name in functions if name in needed]
    includes = ["#include <stdint.h>", "#include <string.h>"]
    if any("INFINITY" in text or "NAN" in text for text in [code, *texts]):
        includes.insert(0, "#include <math.h>")
    if any("CONSTANT_ " in text for text in [code, *texts]):
        includes.append(CONSTANT)
    if any("__AVX512F__" in text for text in texts):
        includes.append(INTRINSICS)
    return "\n".join([*includes, "", *texts, code])


@dataclass
class Body:
    """The statements of a function, and its arrays."""

    lines: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    count: int = 0

    def name(self, prefix: str) -> str:
        """A name that was not used before."""
        self.count += 1
        return f"{prefix}{self.count}"

    def text(self) -> str:
        """All lines, arrays first."""
        return "\n".join(f"    {line}" for line in [*self.tables, *self.lines])


@dataclass(frozen=True)
class Known:
    """Numbers that never change, and what gives an array of such numbers its expression in C."""

    values: np.ndarray
    write: Callable[[np.ndarray], str]

    def named(self, body: Body, values: np.ndarray) -> Named:
        """Others that follow from these."""
        values = np.asarray(values, np.float32)
        return Named(body, self.write(values), len(values), Known(values, self.write))


class Named:
    """Numbers in C: an expression in the index j, how many there are, and what they are where that never changes."""

    def __init__(self, body: Body, text: str, width: int, always: Known | None = None):
        self.body, self.text, self.width, self.always = body, text, width, always

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    def stored(self) -> str:
        """The name of an array that holds these numbers."""
        if self.text.endswith("[j]") and self.text[:-3].isidentifier():
            return self.text[:-3]
        name = self.body.name("v")
        self.body.lines.append(f"float {name}[{self.width}];")
        self.body.lines.append(f"for (int j = 0; j < {self.width}; ++j) {name}[j] = {self.text};")
        self.text = f"{name}[j]"
        return name

    def __add__(self, other: Named | float) -> Named:
        return self._with("+", other)

    def __radd__(self, other: float) -> Named:
        return self._with("+", other, swapped=True)

    def __sub__(self, other: Named | float) -> Named:
        return self._with("-", other)

    def __rsub__(self, other: float) -> Named:
        return self._with("-", other, swapped=True)

    def __mul__(self, other: Named | float) -> Named:
        return self._with("*", other)

    def __rmul__(self, other: float) -> Named:
        return self._with("*", other, swapped=True)

    def __truediv__(self, other: float) -> Named:
        return self._with("/", other)

    def __neg__(self) -> Named:
        return self.map("(-{})", np.negative)

    def map(self, pattern: str, function: Callable[[np.ndarray], np.ndarray] | None = None) -> Named:
        """A function of every number, in C and in numpy."""
        if self.always is not None and function is not None:
            return self.always.named(self.body, function(self.always.values))
        return self._made(pattern.format(self.text), self.width)

    def _with(self, sign: str, other: Named | float, swapped: bool = False) -> Named:
        if (sign, other) in UNCHANGED and not swapped:
            return self
        text, width = (other.text, other.width) if isinstance(other, Named) else (number(other), 1)
        operand = other.always.values if isinstance(other, Named) and other.always else other
        if self.always is not None and not isinstance(operand, Named):
            pair = (operand, self.always.values) if swapped else (self.always.values, operand)
            return self.always.named(self.body, OPERATORS[sign](*pair))
        pair = (text, self.text) if swapped else (self.text, text)
        return self._made(f"({pair[0]} {sign} {pair[1]})", max(self.width, width))

    def _made(self, text: str, width: int) -> Named:
        result = Named(self.body, text, width)
        if len(text) > 100:
            result.stored()
        return result


def number(value: float) -> str:
    """A float constant in C."""
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{float(value)!r}f"


class CMath:
    """Arithmetic that writes C; see `cells.parts.arithmetic.Math`."""

    def __init__(self, body: Body):
        self.body = body

    def split(self, vector: Named, parts: int) -> list[Named]:
        array, width = vector.stored(), vector.width // parts
        return [Named(self.body, f"{array}[j + {part * width}]", width) for part in range(parts)]

    def join(self, vectors: Sequence[Named]) -> Named:
        name, width, first = self.body.name("v"), sum(vector.width for vector in vectors), 0
        self.body.lines.append(f"float {name}[{width}];")
        for vector in vectors:
            copy = f"{name}[j + {first}] = {vector.text};"
            self.body.lines.append(f"for (int j = 0; j < {vector.width}; ++j) {copy}")
            first += vector.width
        return Named(self.body, f"{name}[j]", width)

    def take(self, vector: Named, places: tuple[int, ...], fill: float) -> Named:
        table, array = self.body.name("places"), vector.stored()
        self.body.tables.append(f"static CONSTANT_ int {table}[{len(places)}] = {{{', '.join(map(str, places))}}};")
        text = f"({table}[j] < 0 ? {number(fill)} : {array}[{table}[j] < 0 ? 0 : {table}[j]])"
        return Named(self.body, text, len(places))

    def choose(self, flags: tuple[bool, ...], yes: float, no: Named) -> Named:
        table = self.body.name("flags")
        values = ", ".join(str(int(flag)) for flag in flags)
        self.body.tables.append(f"static CONSTANT_ int {table}[{len(flags)}] = {{{values}}};")
        return Named(self.body, f"({table}[j] ? {number(yes)} : {no.text})", len(flags))

    def constant(self, value: float, like: Named) -> Named:
        return Named(self.body, number(value), 1)

    def watch(self, vector: Named, activated: Named) -> Named:
        return activated

    def sigmoid(self, vector: Named) -> Named:
        return vector.map("sigmoid_({})", numpy_math.sigmoid)

    def tanh(self, vector: Named) -> Named:
        return vector.map("tanh_({})", numpy_math.tanh)

    def relu(self, vector: Named) -> Named:
        return vector.map("relu_({})")

    def selu(self, vector: Named) -> Named:
        return vector.map("selu_({})")

    def log_sigmoid(self, vector: Named) -> Named:
        return vector.map("log_sigmoid_({})", numpy_math.log_sigmoid)

    def clamp(self, vector: Named, low: float, high: float) -> Named:
        pattern = f"clamp_({{}}, {number(low)}, {number(high)})"
        return vector.map(pattern, lambda values: numpy_math.clamp(values, low, high))

    def larger(self, first: Named, second: Named) -> Named:
        return Named(self.body, f"larger_({first.text}, {second.text})", max(first.width, second.width))

    def log_add_exp(self, first: Named, second: Named) -> Named:
        return Named(self.body, f"log_add_exp_({first.text}, {second.text})", max(first.width, second.width))

    def finite(self, vector: Named) -> Named:
        return vector.map("finite_({})")


class CProducts:
    """Products written as C; every weight and bias is an argument of the function of that name."""

    def __init__(self, body: Body, cell: Cell, sizes: Sizes, names: Sequence[str]):
        self.body, self.cell, self.sizes, self.names = body, cell, sizes, names

    def __call__(self, name: str, vector: Named | None = None, gates: tuple[str, ...] | None = None) -> Named | float:
        if name not in self.names:
            return 0.0
        height = self.cell.shape(name, self.sizes)[0]
        if vector is None:
            return Named(self.body, f"{name}[j]", height)
        rows = self.cell.rows(name, gates, height)
        first, count, bias = rows.start, rows.stop - rows.start, self._bias(name, height)
        if self.cell.is_diagonal(name):
            array = vector.stored()
            product = Named(self.body, f"{name}[j + {first}] * {array}[j % {vector.width}]", count)
            return product if bias == "0" else product + Named(self.body, f"{bias}[j + {first}]", count)
        out, columns = self.body.name("v"), vector.width
        weight, bias = f"{name} + {first * columns}", bias if bias == "0" else f"{bias} + {first}"
        self.body.lines.append(f"float {out}[{count}];")
        self.body.lines.append(f"product_({weight}, {bias}, {vector.stored()}, {out}, {count}, {columns});")
        return Named(self.body, f"{out}[j]", count)

    def _bias(self, name: str, height: int) -> str:
        """The array of a weight's bias, as long as the weight is high, or 0."""
        local, rows = self.cell.bias_rows(name, height)
        if local not in self.names:
            return "0"
        if rows == slice(0, height):
            return local
        padded, count = self.body.name("v"), rows.stop - rows.start
        self.body.lines.append(f"float {padded}[{height}] = {{0}};")
        self.body.lines.append(f"memcpy({padded} + {rows.start}, {local}, {count} * sizeof(float));")
        return padded


def c_step(cell: Cell, sizes: Sizes, names: Sequence[str]) -> str:
    """C99 of one step of a layer: ``void step(const float *x, float *state, const float *weight_ih, ...)``.

    The state holds all states one after the other and is replaced by those after the step.

    Arguments:
        sizes: units along each axis of the layer.
        names: local names of the weights there are, in the order in which they are passed.
    """
    body = Body()
    write_step(body, cell, sizes, CProducts(body, cell, sizes, names))
    arguments = ", ".join(["const float *x", "float *state", *(f"const float *{name}" for name in names)])
    return with_functions(f"\nvoid step({arguments}) {{\n{body.text()}\n}}\n")


def write_step(body: Body, cell: Cell, sizes: Sizes, multiply: Multiply) -> None:
    """The statements that replace `state` by the states after a step that reads `x`."""
    arithmetic = CMath(body)
    widths = [sizes[axis] for axis in cell.state_axes]
    starts = [sum(widths[:index]) for index in range(len(widths))]
    before = tuple(Named(body, f"state[j + {start}]", width) for start, width in zip(starts, widths, strict=True))
    x = cell.project(Named(body, "x[j]", sizes["input"]), multiply, arithmetic)
    after = [part.stored() for part in cell.step(x, before, multiply, arithmetic)]
    for array, start, width in zip(after, starts, widths, strict=True):
        body.lines.append(f"memcpy(state + {start}, {array}, {width} * sizeof(float));")
