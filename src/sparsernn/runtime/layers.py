"""Recurrent layers at inference without torch: the extension's kernels over packed weights, or numpy.

layer = RecurrentLayer(LSTM(), weights, format="int8_blocks")
output, state = layer.run(x)                  # whole sequences
stream = layer.stream()
output = stream.step(frame)                   # one step at a time
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np

from sparsernn import native
from sparsernn.cells.cell import Cell
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork
from sparsernn.cells.rnn import RNN
from sparsernn.errors import UserError
from sparsernn.runtime import numpy_math
from sparsernn.runtime.layouts import FORMATS, LANES, pack, sliced
from sparsernn.typed import choose

Array = np.ndarray
States = tuple[Array, ...]

NATIVE_CELLS: dict[Cell, str] = {
    LSTM(): "lstm",
    LSTM(projected=True): "lstm",
    PeepholeLSTM(): "peephole_lstm",
    PeepholeLSTM(peephole="full"): "lstm",
    RecurrentHighwayNetwork(depth=1): "recurrent_highway",
    GRU(): "gru_reset_after",
    GRU(reset="before"): "gru_reset_before",
    RNN(): "rnn_tanh",
    RNN(nonlinearity="relu"): "rnn_relu",
}
"""Cells that the extension has, highway networks of any depth among them, and the names of their units there."""


class Stream(Protocol):
    """Sequences that run on, one step a call. One thread at a time may use it."""

    @property
    def state(self) -> States:
        """The states as they are, in the cell's order; they may be written to. [batch unit] each"""
        ...

    def step(self, x: Array, /) -> Array:
        """The output of one step. Shapes: [batch input] float32 -> [batch unit]."""
        ...

    def reset(self) -> None:
        """Makes every state what it is before the first step."""


class RecurrentLayer:
    """One recurrent layer in one direction, packed once. It never changes, and threads may share it.

    Arguments:
        cell: what a step computes; one of `NATIVE_CELLS` is computed by the extension, any other by numpy.
        weights: local name ("weight_ih", "weight_hh", "bias_ih", ...) -> float32 array of the shape that the cell
            gives it; biases may be left out.
        format: a name in `layouts.FORMATS`. The int8 formats round weights to 8 bits with a scale a row, and the input
            and the state of each step to 8 bits with a scale each; states and outputs stay float32.
        masks: local name -> which numbers of a weight exist; without one, those that are not zero. Where a vector
            holds a number that is not finite, absent ones count as zeros, as in a dense product.
        instructions: a name in `native.module.instruction_sets()`; "" takes the best that this processor has.
    Attributes:
        bytes: what a step may read of the weights, biases and indices included.
        provider: "cpu_native" or "numpy"; numpy computes in float32 whatever the format.
        inputs, hidden, width: width of the input, number of units, and width of the output.
    Raises: UserError for a weight that is missing or has another type or shape, for one that is not finite in an int8
        format, and for an unknown format.
    """

    def __init__(
        self,
        cell: Cell,
        weights: Mapping[str, Array],
        format: str = "blocks",
        masks: Mapping[str, Array] | None = None,
        instructions: str = "",
    ):
        self.cell, self.format = cell, format
        self._sizes = checked_sizes(cell, weights)
        self.hidden, self.inputs = self._sizes["hidden"], self._sizes["input"]
        self.width: int = self._sizes[cell.state_axes[0]]
        widths = [self._sizes[axis] for axis in cell.state_axes]
        self._first = list(zip(widths, cell.starting_values(self._sizes), strict=True))
        kept = _masks(weights, masks)
        choose("format", format, FORMATS)
        if has_native_form(cell) and native.module is not None:
            self.provider = "cpu_native"
            self._native = _native_layer(cell, weights, kept, format, instructions)
            self.bytes: int = self._native.bytes
        else:
            self.provider, self._native = "numpy", None
            self._weights = {name: np.where(kept.get(name, True), weight, 0) for name, weight in weights.items()}
            self.bytes = sum(weight.nbytes for weight in weights.values())

    def run(self, x: Array, state: States | None = None, lengths: Array | None = None) -> tuple[Array, States]:
        """Whole sequences.

        Arguments:
            state: states before the first step, in the cell's order; None: what the cell begins with. [batch unit] each
            lengths: int64; after its length a sequence keeps its state and its output is zero. [batch]
        Shapes: x [time batch input] float32, C-contiguous -> output [time batch unit], states [batch unit] each.
        Raises: UserError for an argument of another type or shape.
        """
        _check("x", x, np.float32, (None, None, self.inputs))
        time, batch = x.shape[:2]
        states = self._first_states(batch) if state is None else self._copied(state, batch)
        if lengths is not None:
            _check("lengths", lengths, np.int64, (batch,))
            if batch and not (lengths.min() >= 0 and lengths.max() <= time):
                raise UserError(
                    f"lengths are {lengths.tolist()[:5]}", f"numbers from 0 to {time}", "pass each sequence's steps"
                )
        if self._native is None:
            return self._run_numpy(x, states, lengths)
        output = np.empty((time, batch, self.width), np.float32)
        hidden, memory = [*states, np.empty((0, self.hidden), np.float32)][:2]
        self._native.run(x, output, hidden, memory, lengths)
        return output, states

    def stream(self, batch: int = 1) -> Stream:
        """Sequences that run on from what the cell begins with, one step a call.

        Raises: UserError if batch is no number from 1 to 4096.
        """
        if type(batch) is not int or not 1 <= batch <= 4096:
            raise UserError(f"batch is {batch}", "a number from 1 to 4096", "open several streams for more sequences")
        if self._native is None:
            return NumpyStream(self, batch)
        return native.loaded().RecurrentStream(self._native, batch)

    def _run_numpy(self, x: Array, state: States, lengths: Array | None) -> tuple[Array, States]:
        multiply = numpy_math.Products(self.cell, self._weights)
        outputs = []
        for t, vector in enumerate(x):
            projected = self.cell.project(vector, multiply, numpy_math)
            after = self.cell.step(projected, state, multiply, numpy_math)
            runs = np.ones(x.shape[1], bool) if lengths is None else t < lengths
            after = tuple(part.astype(np.float32) for part in after)
            outputs.append(np.where(runs[:, None], after[0], np.float32(0)))
            state = tuple(np.where(runs[:, None], new, old) for new, old in zip(after, state, strict=True))
        width = state[0].shape[-1]
        return np.stack(outputs) if outputs else np.empty((0, x.shape[1], width), np.float32), state

    def _first_states(self, batch: int) -> States:
        return tuple(np.full((batch, width), value, np.float32) for width, value in self._first)

    def _copied(self, state: States, batch: int) -> States:
        names = self.cell.states
        if len(state) != len(names):
            raise UserError(f"state has {len(state)} parts", f"{len(names)}: {', '.join(names)}", "pass them all")
        for name, part, (width, _) in zip(names, state, self._first, strict=True):
            _check(f"state ({name})", part, np.float32, (batch, width))
        return tuple(part.copy() for part in state)


class NumpyStream:
    """`Stream` by numpy."""

    def __init__(self, layer: RecurrentLayer, batch: int):
        self._layer, self._batch = layer, batch
        self._first = layer._first_states(batch)
        self.state = tuple(part.copy() for part in self._first)

    def step(self, x: Array, /) -> Array:
        output, after = self._layer.run(x[None], self.state)
        for old, new in zip(self.state, after, strict=True):
            old[:] = new
        return output[0]

    def reset(self) -> None:
        for part, first in zip(self.state, self._first, strict=True):
            part[:] = first


def candidates(cell: Cell, weights: Mapping[str, Array], masks: Mapping[str, Array] | None = None) -> dict[str, int]:
    """Formats that a layer can have, and the bytes that a step may read in each; the least first.

    Arguments: as `RecurrentLayer`.
    Raises: UserError as `RecurrentLayer`.
    """
    checked_sizes(cell, weights)
    if not has_native_form(cell) or native.module is None:
        return {"dense": sum(weight.nbytes for weight in weights.values())}
    kept = _masks(weights, masks)
    finite = all(np.isfinite(weight).all() for weight in weights.values())
    fitting = [name for name, entry in FORMATS.items() if finite or entry.dtype == "float32"]
    bytes = {name: _native_layer(cell, weights, kept, name, "").bytes for name in fitting}
    return dict(sorted(bytes.items(), key=lambda entry: entry[1]))


def has_native_form(cell: Cell) -> bool:
    """Whether the extension computes this cell, where it is."""
    return _native_name(cell) is not None


def _native_name(cell: Cell) -> str | None:
    """The name of a cell's units in the extension, None if it does not have them."""
    return NATIVE_CELLS.get(replace(cell, depth=1) if isinstance(cell, RecurrentHighwayNetwork) else cell)


def _native_layer(
    cell: Cell, weights: Mapping[str, Array], kept: Mapping[str, Array], format: str, instructions: str
) -> Any:
    module, gates = native.loaded(), len(cell.gates)
    hidden, inputs = len(weights["weight_ih"]) // gates, weights["weight_ih"].shape[1]

    def packed(source: str, outer_gates: int | None = None) -> list[Any]:
        """Weights of this layout, in their order."""
        names = [name for name, text in cell.axes.items() if text == source]
        count = gates if source.startswith("gate") else 1
        made = [pack(weights[name], kept[name], count, format, outer_gates) for name in names]
        return [module.PackedWeight(*(getattr(one, part.name) for part in fields(one))) for one in made]

    (by_input,) = packed("gate hidden <- input")
    recurrent = packed(f"gate hidden <- {cell.state_axes[0]}", 2 if isinstance(cell, GRU) else gates)
    (by_memory,) = packed("gate hidden <- memory") or [None]
    (projection,) = packed("projection <- hidden") or [None]
    width = len(weights["weight_hr"]) if projection is not None else hidden
    others = by_memory, projection, *_vectors(cell, weights, kept)
    return module.RecurrentLayer(_native_name(cell), inputs, hidden, width, by_input, recurrent, *others, instructions)


def _vectors(cell: Cell, weights: Mapping[str, Array], kept: Mapping[str, Array]) -> list[Array]:
    """Biases of the gates, of a product that a gate multiplies, and of further levels; numbers that units multiply."""
    gates, height, none = len(cell.gates), len(weights["weight_ih"]), np.zeros((0, LANES), np.float32)
    outer, *further = (weights.get(name, np.zeros(height, np.float32)) for name in cell.axes if name.startswith("bias"))
    inner, *levels = further
    inside, diagonals = none, none
    if cell == GRU():  # its candidate's product with the state is multiplied by a gate, bias and all
        first = height // gates * (gates - 1)
        inside = sliced(inner[first:], 1)
        inner = np.where(np.arange(height) < first, inner, np.float32(0))
    for name in cell.axes:
        if cell.is_diagonal(name):
            diagonals = sliced(np.where(kept[name], weights[name], np.float32(0)), len(cell.gates_of(name)))
    biases = np.concatenate([none, *(sliced(bias, gates) for bias in levels)])
    return [sliced(outer + inner, gates), inside, biases, diagonals]


def checked_sizes(cell: Cell, weights: Mapping[str, Array]) -> dict[str, int]:
    """Units along each axis of a layer. Raises: UserError for weights that are not those of the cell."""
    required = [name for name in cell.axes if name.startswith("weight")]
    if missing := [name for name in required if name not in weights]:
        raise UserError(f"the weights have no {missing[0]}", f"{', '.join(required)}", "pass every weight of the cell")
    if unknown := sorted(set(weights) - set(cell.axes)):
        raise UserError(f"there is no {unknown[0]} in this cell", f"{', '.join(cell.axes)}", "leave it out")
    counts: dict[str, int] = {}
    for name in required:
        gated, axes = cell.axes[name].startswith("gate "), cell.axes[name].removeprefix("gate ").split(" <- ")
        if "self" in axes:
            continue
        _check(name, weights[name], np.float32, (None,) * len(axes), contiguous=False)
        lengths = list(weights[name].shape)
        lengths[0] //= len(cell.gates_of(name)) if gated else 1
        counts = dict(zip(axes, lengths, strict=True)) | counts
    sizes = counts | cell.sizes(counts["input"], cell.hidden_size(counts))
    if min(sizes.values()) < 1:
        happened = f"weight_ih has the shape {list(weights['weight_ih'].shape)}"
        raise UserError(happened, "units and inputs", "pass a layer that has both")
    for name, weight in weights.items():
        _check(name, weight, np.float32, cell.shape(name, sizes), contiguous=False)
    return sizes


def _masks(weights: Mapping[str, Array], masks: Mapping[str, Array] | None) -> dict[str, Array]:
    """Which numbers of each weight exist."""
    kept = {}
    for name, weight in weights.items():
        if name.startswith("weight"):
            kept[name] = (masks or {}).get(name, weight != 0)
            _check(f"the mask of {name}", kept[name], np.bool_, weight.shape, contiguous=False)
    return kept


def _check(
    name: str, array: Array, dtype: type[np.generic], shape: tuple[int | None, ...], contiguous: bool = True
) -> None:
    """Raises: UserError if an array does not have this type and shape, None being any length, or has gaps."""
    if not isinstance(array, np.ndarray):
        expected = f"a numpy array, {_described(dtype, shape)}"
        raise UserError(f"{name} is a {type(array).__name__}", expected, "convert it first")
    fits = array.ndim == len(shape) and all(b is None or a == b for a, b in zip(array.shape, shape, strict=True))
    if not fits or array.dtype != dtype:
        happened = f"{name} is {array.dtype} of shape {list(array.shape)}"
        raise UserError(happened, _described(dtype, shape), "convert it first: nothing is converted silently")
    if contiguous and not (array.flags.c_contiguous and array.flags.aligned):
        raise UserError(f"{name} has gaps", "a C-contiguous array", "pass numpy.ascontiguousarray(...) of it")


def _described(dtype: type[np.generic], shape: tuple[int | None, ...]) -> str:
    lengths = ", ".join("any" if length is None else str(length) for length in shape)
    return f"{np.dtype(dtype).name} of shape [{lengths}]"
