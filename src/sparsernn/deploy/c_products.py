"""Products with weights that are constants of a C source: every number, rows, blocks of sixteen, lookups, 8 bits."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from sparsernn.cells.cell import Cell
from sparsernn.deploy.c_functions import LANES, TABLE
from sparsernn.deploy.c_step import Body, Known, Named
from sparsernn.errors import UserError
from sparsernn.runtime.layouts import quantised
from sparsernn.runtime.numpy_math import Products

MOST_COLUMNS = 65535
"""Columns that 16 bits can number and count."""
FORMATS = ("dense", "rows", "blocks", "lookup", "int8", "smallest")


class Constants:
    """Arrays of a source that never change, and lie where its program lies.

    Arguments:
        prefix: of their names.
    Attributes:
        bytes: that those take which are read.
    """

    def __init__(self, prefix: str):
        self.prefix, self.bytes = prefix, 0
        self._names: dict[str, str] = {}
        self._bytes: dict[str, int] = {}
        self._aside: set[str] = set()

    def add(self, values: np.ndarray) -> str:
        """The name of an array that holds these numbers."""
        kind = {"f": "float", "i1": "int8_t", "u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t"}
        name = kind.get(values.dtype.kind) or kind[values.dtype.str[1:]]
        texts = (
            [_float(one) for one in values.ravel()] if name == "float" else [str(int(one)) for one in values.ravel()]
        )
        lines = [", ".join(texts[first : first + 12]) for first in range(0, len(texts), 12)]
        joined = ",\n    ".join(lines)
        text = f"static CONSTANT_ {name} NAME[{max(1, values.size)}] = {{\n    {joined or '0'}}};\n"
        if text not in self._names:
            self._names[text] = f"{self.prefix}constant{len(self._names)}"
            self._bytes[text] = values.nbytes
        return self._names[text]

    def number(self, values: np.ndarray) -> str:
        """The expression of number j of an array; it is copied before it is taken for a vector."""
        return f"({self.add(values)}[j])"

    def set_aside(self, code: str) -> None:
        """Leave what the code names out of `bytes`, since a program has this or something else."""
        self._aside.update(name for name in self._names.values() if re.search(rf"\b{name}\b", code))

    def read_by(self, code: str) -> str:
        """C of those that the code names; `bytes` is then what they take."""
        words = set(re.findall(r"\w+", code))
        read = {text: name for text, name in self._names.items() if name in words}
        self.bytes = sum(self._bytes[text] for text, name in read.items() if name not in self._aside)
        return "\n".join(text.replace("NAME", name, 1) for text, name in read.items())


def _float(value: float) -> str:
    text = f"{float(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def format_of(matrix: np.ndarray, format: str | None = None) -> str:
    """The format of a matrix: the one that is asked for, the one of the fewest bytes, or the quickest one.

    Prices are what an operation took in each format, measured on a processor that computes sixteen numbers at once.

    Raises: UserError for an unknown format, or more columns than 16 bits can number.
    """
    if matrix.shape[1] > MOST_COLUMNS:
        raise UserError(
            f"a weight has {matrix.shape[1]} columns", f"at most {MOST_COLUMNS}", "export a smaller network"
        )
    if format not in (None, *FORMATS):
        raise UserError(f'format is "{format}"', f"one of {', '.join(FORMATS)}", "choose one of them")
    if format not in (None, "smallest"):
        return format
    if format == "smallest":
        kept, blocks = int(np.count_nonzero(matrix)), int(np.count_nonzero(_slices(matrix).any(1)))
        place = _index(matrix.shape[1]).itemsize
        rows, slices = len(matrix) * place, -(-len(matrix) // LANES) * place
        prices = {
            "plain": 4 * matrix.size,
            "blocks": (4 * LANES + place) * blocks + slices,
            "rows": (4 + place) * kept + rows,
        }
    else:
        prices = _steps(matrix) | {"lookup": int(_lookups(matrix)[0].sum()) * 1.2}
    return _cheapest(prices)


def _steps(matrix: np.ndarray) -> dict[str, float]:
    """What a product takes in the formats that every processor knows."""
    blocks = int(np.count_nonzero(_slices(matrix).any(1)))
    return {"dense": matrix.size / LANES, "blocks": blocks * 1.6, "rows": np.count_nonzero(matrix) * 1.2}


def _cheapest(prices: Mapping[str, float]) -> str:
    return min(prices, key=lambda name: prices[name])


def write_product(
    body: Body, constants: Constants, matrix: np.ndarray, bias: np.ndarray | None, vector: Named, format: str | None
) -> Named:
    """Statements that multiply a constant matrix with a vector; rows without weights cost nothing but their bias.

    Shapes: matrix [row column], bias [row] or None, vector [column] -> [row]
    """
    count, quickest = len(matrix), format is None
    format = format_of(matrix, format)
    offset = "0" if bias is None or not bias.any() else constants.add(bias)
    if not matrix.any():
        return Named(body, "0.0f" if offset == "0" else f"({offset}[j])", count)
    if format == "dense" and count < LANES // 2:
        format = "plain" if matrix.all() else "rows"
    out, source = body.name("v"), vector.stored()
    padded = -(-count // LANES) * LANES if format in ("dense", "blocks", "lookup") else count
    body.lines.append(f"float {out}[{padded}];")
    if padded != count:
        body.lines.append(f"start_(0, {out}, {padded});")
    body.lines.append(f"start_({offset}, {out}, {count});")
    write = _write_eights if format == "int8" else _write_floats
    lines = write(body, constants, matrix, (source, out), format)
    if format == "lookup" and quickest:
        (otherwise,) = write(body, constants, matrix, (source, out), _cheapest(_steps(matrix)))
        constants.set_aside(otherwise)
        lines = ["if (LOOKUP_)", f"    {lines[0]}", "else", f"    {otherwise}"]
    body.lines += lines
    return Named(body, f"{out}[j]", count)


def _write_floats(
    body: Body, constants: Constants, matrix: np.ndarray, arrays: tuple[str, str], format: str
) -> list[str]:
    (vector, out), (rows, columns) = arrays, matrix.shape
    bits, slices = 8 * _index(columns).itemsize, _slices(matrix)
    if format == "plain":
        return [f"matrix_({constants.add(matrix)}, {vector}, {out}, {rows}, {columns});"]
    if format == "dense":
        return [f"panels_({constants.add(slices.swapaxes(1, 2))}, {vector}, {out}, {rows}, {columns});"]
    if format == "blocks":
        present = np.asarray(slices.any(1))
        where = ", ".join([constants.add(slices.swapaxes(1, 2)[present]), *_places(constants, present)])
        return [f"blocks_{bits}_({where}, {vector}, {out}, {len(slices)});"]
    if format == "lookup":
        counts, places, values = _lookups(matrix)
        where = ", ".join(constants.add(array) for array in (values, places, counts))
        return [f"lookup_({where}, {vector}, {out}, {len(slices)}, {columns});"]
    where = ", ".join([constants.add(matrix[matrix != 0]), *_places(constants, np.asarray(matrix != 0))])
    return [f"rows_{bits}_({where}, {vector}, {out}, {rows});"]


def _write_eights(
    body: Body, constants: Constants, matrix: np.ndarray, arrays: tuple[str, str], format: str
) -> list[str]:
    (vector, out), (rows, columns) = arrays, matrix.shape
    rounded, scales = quantised(matrix)
    present, index = rounded != 0, _index(columns)
    eights, scale = body.name("e"), body.name("s")
    lines = [f"int8_t {eights}[{columns}];", f"const float {scale} = round_({vector}, {eights}, {columns});"]
    tail = f"{constants.add(scales)}, {eights}, {scale}, {out}, {rows}"
    if (1 + index.itemsize) * np.count_nonzero(present) + index.itemsize * rows < rounded.size:
        where = ", ".join([constants.add(rounded[present]), *_places(constants, present)])
        return [*lines, f"eight_rows_{8 * index.itemsize}_({where}, {tail});"]
    return [*lines, f"eights_({constants.add(rounded)}, {tail}, {columns});"]


def _index(columns: int) -> np.dtype:
    """The type that numbers and counts columns."""
    return np.dtype(np.uint8 if columns < 256 else np.uint16)


def _places(constants: Constants, present: np.ndarray) -> Sequence[str]:
    """Names of the columns of what is present, and of how many each row has."""
    index = _index(present.shape[1])
    counts = np.count_nonzero(present, 1)
    return constants.add(np.nonzero(present)[1].astype(index)), constants.add(counts.astype(index))


def _lookups(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A matrix as entries that hold one number of each of sixteen rows, all of them out of one table of columns.

    Shapes: [row column] -> entries of each table and slice [table slice], their columns and values [entry 16]
    """
    tables = np.pad(_slices(matrix), ((0, 0), (0, 0), (0, -matrix.shape[1] % TABLE)))
    tables = tables.reshape(len(tables), LANES, -1, TABLE).transpose(2, 0, 1, 3)  # [table slice 16 column]
    present = tables != 0
    counts = present.sum(3).max(2)
    order = np.argsort(~present, 3, kind="stable")
    filled = np.arange(TABLE) < counts[..., None]
    values = np.take_along_axis(tables, order, 3).swapaxes(2, 3)[filled]
    return counts.astype(np.uint8), order.swapaxes(2, 3)[filled].astype(np.uint8), values


def _slices(matrix: np.ndarray) -> np.ndarray:
    """Shapes: [row column] -> [slice 16 column], zeros behind the last row."""
    padded = np.pad(matrix, ((0, -len(matrix) % LANES), (0, 0)))
    return padded.reshape(-1, LANES, matrix.shape[1])


class ConstantProducts:
    """Products of one layer, handed to its step; see `cells.parts.arithmetic.Multiply`.

    Arguments:
        weights: local name -> array.
        format: one of `FORMATS`, or None for the best of each matrix.
    """

    def __init__(
        self, body: Body, constants: Constants, cell: Cell, weights: Mapping[str, np.ndarray], format: str | None
    ):
        self.body, self.constants, self.cell, self.weights, self.format = body, constants, cell, weights, format
        self._products = Products(cell, weights)

    def __call__(self, name: str, vector: Named | None = None, gates: tuple[str, ...] | None = None) -> Named | float:
        weight = self.weights.get(name)
        if weight is None:
            return 0.0
        if vector is None:
            return Known(weight, self.constants.number).named(self.body, weight)
        rows = self.cell.rows(name, gates, len(weight))
        matrix, bias = weight[rows], self._products.bias_of(name)[rows]
        if not self.cell.is_diagonal(name):
            return write_product(self.body, self.constants, matrix, bias, vector, self.format)
        text = f"{self.constants.add(matrix)}[j] * {vector.stored()}[j % {vector.width}]"
        product = Named(self.body, text, len(matrix))
        return product + Named(self.body, self.constants.number(bias), len(matrix)) if bias.any() else product
