"""Products with weights that are constants of a C source: every number, rows, blocks of sixteen, 8 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sparsernn.cells.cell import Cell
from sparsernn.deploy.c_step import FUNCTIONS, Body, Named
from sparsernn.errors import UserError
from sparsernn.runtime.numpy_math import Products

LANES = 16
MOST_COLUMNS = 65536
FORMATS = ("dense", "rows", "blocks", "int8", "smallest")
PRODUCTS = {
    **FUNCTIONS,
    "start_": """static void start_(const float *bias, float *out, int rows) {
    if (bias)
        memcpy(out, bias, (size_t)rows * sizeof(float));
    else
        for (int i = 0; i < rows; ++i) out[i] = 0.0f;
}
""",
    "panel_": """static void panel_(const float *weight, const float *vector, float *out, int columns) {
    float even[16], odd[16];
    int k = 0;
    for (int i = 0; i < 16; ++i) even[i] = out[i], odd[i] = 0.0f;
    for (; k + 1 < columns; k += 2)
        for (int i = 0; i < 16; ++i) {
            even[i] += weight[16 * k + i] * vector[k];
            odd[i] += weight[16 * k + 16 + i] * vector[k + 1];
        }
    for (; k < columns; ++k)
        for (int i = 0; i < 16; ++i) even[i] += weight[16 * k + i] * vector[k];
    for (int i = 0; i < 16; ++i) out[i] = even[i] + odd[i];
}
""",
    "panels_": """static void panels_(const float *weight, const float *vector, float *out, int rows, int columns) {
    for (int first = 0; first < rows; first += 16) panel_(weight + first * columns, vector, out + first, columns);
}
""",
    "blocks_": """static void blocks_(const float *values, const uint16_t *places, const uint32_t *starts,
                    const float *vector, float *out, int slices) {
    float read[PIECE_];
    for (int slice = 0; slice < slices; ++slice)
        for (uint32_t first = starts[slice]; first < starts[slice + 1]; first += PIECE_) {
            const uint32_t left = starts[slice + 1] - first, count = left < PIECE_ ? left : PIECE_;
            for (uint32_t k = 0; k < count; ++k) read[k] = vector[places[first + k]];
            panel_(values + 16 * first, read, out + 16 * slice, (int)count);
        }
}
""".replace("PIECE_", "64"),
    "rows_": """static void rows_(const float *values, const uint16_t *places, const uint32_t *starts,
                  const float *vector, float *out, int rows) {
    for (int i = 0; i < rows; ++i) {
        float sum = out[i];
        for (uint32_t k = starts[i]; k < starts[i + 1]; ++k) sum += values[k] * vector[places[k]];
        out[i] = sum;
    }
}
""",
    "round_": """static float round_(const float *vector, int8_t *out, int count) {
    float largest = 0.0f;
    for (int i = 0; i < count; ++i) {
        const float size = vector[i] < 0.0f ? -vector[i] : vector[i];
        largest = size > largest ? size : largest;
    }
    const float factor = largest > 0.0f ? 127.0f / largest : 0.0f;
    for (int i = 0; i < count; ++i) {
        const float x = vector[i] * factor;
        out[i] = (int8_t)(int)(x < 0.0f ? x - 0.5f : x + 0.5f);
    }
    return largest / 127.0f;
}
""",
    "eights_": """static void eights_(const int8_t *values, const float *scales, const int8_t *vector, float scale,
                    float *out, int rows, int columns) {
    for (int i = 0; i < rows; ++i) {
        int32_t sum = 0;
        for (int k = 0; k < columns; ++k) sum += (int32_t)values[i * columns + k] * vector[k];
        out[i] += (float)sum * (scales[i] * scale);
    }
}
""",
    "eight_rows_": """static void eight_rows_(const int8_t *values, const uint16_t *places, const uint32_t *starts,
                        const float *scales, const int8_t *vector, float scale, float *out, int rows) {
    for (int i = 0; i < rows; ++i) {
        int32_t sum = 0;
        for (uint32_t k = starts[i]; k < starts[i + 1]; ++k) sum += (int32_t)values[k] * vector[places[k]];
        out[i] += (float)sum * (scales[i] * scale);
    }
}
""",
}
"""Functions that a source with constant weights may need."""


class Constants:
    """Arrays of a source that never change, and lie where its program lies.

    Arguments:
        prefix: of their names.
    Attributes:
        bytes: that they take.
    """

    def __init__(self, prefix: str):
        self.prefix, self.bytes = prefix, 0
        self._texts: dict[str, str] = {}

    def add(self, values: np.ndarray) -> str:
        """The name of an array that holds these numbers."""
        kind = {"f": "float", "i1": "int8_t", "u2": "uint16_t", "u4": "uint32_t"}
        name = kind.get(values.dtype.kind) or kind[values.dtype.str[1:]]
        texts = (
            [_float(one) for one in values.ravel()] if name == "float" else [str(int(one)) for one in values.ravel()]
        )
        lines = [", ".join(texts[first : first + 12]) for first in range(0, len(texts), 12)]
        joined = ",\n    ".join(lines)
        text = f"static const {name} NAME[{max(1, values.size)}] = {{\n    {joined or '0'}}};\n"
        if text not in self._texts:
            self._texts[text] = f"{self.prefix}constant{len(self._texts)}"
            self.bytes += values.nbytes
        return self._texts[text]

    def text(self) -> str:
        """C of all of them."""
        return "\n".join(text.replace("NAME", name, 1) for text, name in self._texts.items())


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
    kept = int(np.count_nonzero(matrix))
    blocks = int(np.count_nonzero(_slices(matrix).any(1)))
    if format == "smallest":
        prices = {"dense": 4 * matrix.size, "blocks": 66 * blocks, "rows": 6 * kept + 4 * len(matrix)}
    else:
        prices = {"dense": matrix.size / LANES, "blocks": blocks * 1.6, "rows": kept * 1.2}
    return min(prices, key=lambda name: prices[name])


def write_product(
    body: Body, constants: Constants, matrix: np.ndarray, bias: np.ndarray | None, vector: Named, format: str | None
) -> Named:
    """Statements that multiply a constant matrix with a vector; rows without weights cost nothing but their bias.

    Shapes: matrix [row column], bias [row] or None, vector [column] -> [row]
    """
    count, format = len(matrix), format_of(matrix, format)
    offset = "0" if bias is None or not bias.any() else constants.add(bias)
    if not matrix.any():
        return Named(body, "0.0f" if offset == "0" else f"{offset}[j]", count)
    out, source = body.name("v"), vector.stored()
    padded = -(-count // LANES) * LANES
    body.lines.append(f"float {out}[{padded}];")
    if padded != count and format in ("dense", "blocks") and count >= LANES // 2:
        body.lines.append(f"start_(0, {out}, {padded});")
    body.lines.append(f"start_({offset}, {out}, {count});")
    if format == "dense" and count < LANES // 2:
        format = "rows" if not matrix.all() else "plain"
    body.lines += _statements(body, constants, matrix, (source, out), format)
    return Named(body, f"{out}[j]", count)


def _statements(
    body: Body, constants: Constants, matrix: np.ndarray, arrays: tuple[str, str], format: str
) -> list[str]:
    (vector, out), (rows, columns) = arrays, matrix.shape
    if format == "plain":
        return [f"product_({constants.add(matrix)}, {out}, {vector}, {out}, {rows}, {columns});"]
    if format == "dense":
        name = constants.add(_slices(matrix).swapaxes(1, 2))
        return [f"panels_({name}, {vector}, {out}, {rows}, {columns});"]
    if format == "blocks":
        slices = _slices(matrix)
        present = np.asarray(slices.any(1))
        values = slices.swapaxes(1, 2)[present]
        where = ", ".join([constants.add(values), *_places(constants, present)])
        return [f"blocks_({where}, {vector}, {out}, {len(slices)});"]
    if format == "rows":
        where = ", ".join([constants.add(matrix[matrix != 0]), *_places(constants, np.asarray(matrix != 0))])
        return [f"rows_({where}, {vector}, {out}, {rows});"]
    scales, rounded = rounded_rows(matrix)
    eights, scale = body.name("e"), body.name("s")
    lines = [f"int8_t {eights}[{columns}];", f"const float {scale} = round_({vector}, {eights}, {columns});"]
    if np.count_nonzero(rounded) * 3 < rounded.size:
        where = ", ".join([constants.add(rounded[rounded != 0]), *_places(constants, np.asarray(rounded != 0))])
        return [*lines, f"eight_rows_({where}, {constants.add(scales)}, {eights}, {scale}, {out}, {rows});"]
    arguments = f"{constants.add(rounded)}, {constants.add(scales)}, {eights}, {scale}, {out}, {rows}, {columns}"
    return [*lines, f"eights_({arguments});"]


def rounded_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and int8 numbers of a matrix; the largest number of a row becomes 127."""
    scales = (np.abs(matrix).max(1, initial=0) / np.float32(127)).astype(np.float32)
    return scales, np.rint(matrix / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)


def _places(constants: Constants, present: np.ndarray) -> Sequence[str]:
    """Names of the columns of what is present, and of where each row's begin."""
    starts = np.concatenate([[0], np.count_nonzero(present, 1).cumsum()]).astype(np.uint32)
    return constants.add(np.nonzero(present)[1].astype(np.uint16)), constants.add(starts)


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
            return Named(self.body, f"{self.constants.add(weight)}[j]", len(weight))
        rows = self.cell.rows(name, gates, len(weight))
        matrix, bias = weight[rows], self._products.bias_of(name)[rows]
        if not self.cell.is_diagonal(name):
            return write_product(self.body, self.constants, matrix, bias, vector, self.format)
        text = f"{self.constants.add(matrix)}[j] * {vector.stored()}[j % {vector.width}]"
        product = Named(self.body, text, len(matrix))
        return product + Named(self.body, f"{self.constants.add(bias)}[j]", len(matrix)) if bias.any() else product
