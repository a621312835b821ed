"""Gates that never change, found by running a cell's step on what is known beforehand: constants, and "it varies"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from sparsernn.structure.layer import Layer

STATE = frozenset(("a state",))


class ConstantGate(NamedTuple):
    """One gate of one unit that has the same value at every step of every sequence."""

    gate: str
    unit: int
    value: float


class Partly:
    """Numbers of which some are known; NaN stands for one that varies. Zero times what varies is zero.

    Attributes:
        values: [unit]
        gates: names of the gates from whose rows they come.
    """

    def __init__(self, values: np.ndarray, gates: frozenset[str] = frozenset()):
        self.values, self.gates = values, gates

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __add__(self, other: Partly | float) -> Partly:
        return self._with(other, np.add)

    __radd__ = __add__

    def __sub__(self, other: Partly | float) -> Partly:
        return self._with(other, np.subtract)

    def __rsub__(self, other: Partly | float) -> Partly:
        return -self + other

    def __neg__(self) -> Partly:
        return Partly(-self.values, self.gates)

    def __truediv__(self, other: float) -> Partly:
        return Partly(self.values / other, self.gates)

    def __mul__(self, other: Partly | float) -> Partly:
        product = self._with(other, np.multiply)
        factor = other.values if isinstance(other, Partly) else np.asarray(other)
        product.values[np.broadcast_to((self.values == 0) | (factor == 0), product.shape)] = 0
        return product

    __rmul__ = __mul__

    def _with(self, other: Partly | float, function: np.ufunc) -> Partly:
        if isinstance(other, Partly):
            return Partly(np.array(function(self.values, other.values)), self.gates | other.gates)
        return Partly(np.array(function(self.values, other)), self.gates)


class Folding:
    """Arithmetic on partly known numbers, which notes what is activated; see `cells.parts.arithmetic.Math`."""

    def __init__(self, gates: tuple[str, ...]):
        self.gates = gates
        self.activated: list[tuple[frozenset[str], np.ndarray]] = []

    def split(self, vector: Partly, parts: int) -> list[Partly]:
        pieces = np.split(vector.values, parts)
        names = [gate for gate in self.gates if gate in vector.gates]
        if len(names) != parts:
            return [Partly(piece, vector.gates) for piece in pieces]
        return [Partly(piece, frozenset((name,))) for piece, name in zip(pieces, names, strict=True)]

    def join(self, vectors: Sequence[Partly]) -> Partly:
        gates = frozenset().union(*(vector.gates for vector in vectors))
        return Partly(np.concatenate([vector.values for vector in vectors]), gates)

    def take(self, vector: Partly, places: tuple[int, ...], fill: float) -> Partly:
        index = np.asarray(places)
        return Partly(np.where(index < 0, fill, vector.values[np.maximum(index, 0)]), vector.gates)

    def choose(self, flags: tuple[bool, ...], yes: float, no: Partly) -> Partly:
        return Partly(np.where(flags, yes, no.values), no.gates)

    def constant(self, value: float, like: Partly) -> Partly:
        return Partly(np.array(value))

    def clamp(self, vector: Partly, low: float, high: float) -> Partly:
        return Partly(np.clip(vector.values, low, high), vector.gates)

    def sigmoid(self, vector: Partly) -> Partly:
        return self._activated(vector, 1 / (1 + np.exp(-vector.values)))

    def tanh(self, vector: Partly) -> Partly:
        return self._activated(vector, np.tanh(vector.values))

    def relu(self, vector: Partly) -> Partly:
        return self._activated(vector, np.maximum(vector.values, 0))

    def selu(self, vector: Partly) -> Partly:
        scale, alpha = 1.0507009873554805, 1.6732632423543772
        negative = alpha * np.expm1(np.minimum(vector.values, 0))
        return self._activated(vector, scale * np.where(vector.values > 0, vector.values, negative))

    def log_sigmoid(self, vector: Partly) -> Partly:
        return self._activated(vector, -np.logaddexp(0, -vector.values))

    def watch(self, vector: Partly, activated: Partly) -> Partly:
        return self._activated(vector, activated.values)

    def larger(self, first: Partly, second: Partly) -> Partly:
        return first._with(second, np.maximum)

    def log_add_exp(self, first: Partly, second: Partly) -> Partly:
        return first._with(second, np.logaddexp)

    def finite(self, vector: Partly) -> Partly:
        return Partly(np.where(vector.values == -math.inf, 0, vector.values), vector.gates)

    def _activated(self, vector: Partly, values: np.ndarray) -> Partly:
        self.activated.append((vector.gates, values))
        return Partly(values, vector.gates)


class RowsWithWeights:
    """Products of which a row is known where no weight comes in; see `cells.parts.arithmetic.Multiply`.

    Arguments:
        weights, kept: by local name; what is not in `kept` exists.
    """

    def __init__(self, layer: Layer, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor]):
        self.layer, self.weights, self.kept = layer, weights, kept

    def __call__(self, name: str, vector: Partly | None = None, gates: tuple[str, ...] | None = None) -> Partly | float:
        if name not in self.weights:
            return 0.0
        stacked = self.layer.cell.gates_of(name) if "gate" in self.layer.layouts[name].stored else ()
        if vector is None:
            return Partly(self.weights[name].detach().cpu().double().numpy().copy(), frozenset(stacked))
        rows = self.rows(name)
        part = self.layer.cell.rows(name, gates, len(rows))
        return Partly(rows[part], frozenset(stacked if gates is None else gates))

    def rows(self, name: str) -> np.ndarray:
        """The bias where no weight comes in, NaN elsewhere. [row]"""
        kept, height = self.kept.get(name), len(self.weights[name])
        varies = np.ones(height, dtype=bool)
        if kept is not None:
            varies = kept.reshape(height, -1).any(1).cpu().numpy()
        rows = np.zeros(height)
        local, places = self.layer.cell.bias_rows(name, height)
        if local in self.weights:
            rows[places] = self.weights[local].detach().cpu().double().numpy()
        rows[varies] = math.nan
        return rows


def constant_gates(layer: Layer, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> list[ConstantGate]:
    """Every gate of a layer that never changes, whatever the input and the states are.

    A gate is what goes through an activation, or its rows themselves where nothing does. So the candidate of torch's
    GRU, which sees the reset gate through its bias, is constant only if that bias is 0 or the reset gate is constant.

    Arguments:
        weights: local name -> tensor.
        kept: local name -> bool tensor, True = the weight exists; tensors not named are whole.
    """
    cell = layer.cell
    multiply, arithmetic = RowsWithWeights(layer, weights, kept), Folding(cell.gates)
    unknown = {axis: np.full(layer.sizes[axis], math.nan) for axis in (*cell.state_axes, "input")}
    with np.errstate(all="ignore"):
        x = cell.project(Partly(unknown["input"]), multiply, arithmetic)
        cell.step(x, tuple(Partly(unknown[axis], STATE) for axis in cell.state_axes), multiply, arithmetic)
    by_gate: dict[str, np.ndarray] = {}
    for gates, values in sorted(arithmetic.activated, key=lambda entry: len(entry[0])):
        new = [gate for gate in gates if gate not in by_gate]
        if len(gates) == 1 and not new:
            (gate,) = gates
            by_gate[gate] = np.where(np.isnan(values), math.nan, by_gate[gate])
        elif len(new) == 1 and gates <= set(cell.gates):
            by_gate[new[0]] = values
    stacked = cell.gates_of("weight_ih")
    for gate, rows in zip(stacked, np.split(multiply.rows("weight_ih"), len(stacked)), strict=True):
        by_gate.setdefault(gate, rows)
    return [
        ConstantGate(gate, int(unit), float(by_gate[gate][unit]))
        for gate in cell.gates
        if gate in by_gate
        for unit in np.flatnonzero(~np.isnan(by_gate[gate]))
    ]
