"""Gates that never change, found by running a cell's step on what is known beforehand: constants, and "it varies"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsernn.structure.layer import Layer

WRITING = ("input", "forget", "candidate")
"""The gates of an LSTM by which its memory changes."""


class ConstantGate(NamedTuple):
    """One gate of one unit that has the same value at every step of every sequence."""

    gate: str
    unit: int
    value: float


class Partly:
    """Numbers of which some are known; NaN stands for one that varies. Zero times what varies is zero.

    Attributes:
        values: [unit]
        sources: for each of them the places from which it comes, a bit each: the gates of the cell, and one for all
            else, such as a state. [unit]
    """

    def __init__(self, values: np.ndarray, sources: np.ndarray | int = 0):
        self.values, self.sources = values, np.broadcast_to(np.asarray(sources), values.shape)

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
        return Partly(-self.values, self.sources)

    def __truediv__(self, other: float) -> Partly:
        return Partly(self.values / other, self.sources)

    def __mul__(self, other: Partly | float) -> Partly:
        product = self._with(other, np.multiply)
        factor = other.values if isinstance(other, Partly) else np.asarray(other)
        product.values[np.broadcast_to((self.values == 0) | (factor == 0), product.shape)] = 0
        return product

    __rmul__ = __mul__

    def _with(self, other: Partly | float, function: np.ufunc) -> Partly:
        if isinstance(other, Partly):
            return Partly(np.array(function(self.values, other.values)), self.sources | other.sources)
        return Partly(np.array(function(self.values, other)), self.sources)


class Folding:
    """Arithmetic on partly known numbers, which notes what is activated; see `cells.parts.arithmetic.Math`."""

    def __init__(self) -> None:
        self.activated: list[Partly] = []

    def split(self, vector: Partly, parts: int) -> list[Partly]:
        pieces = zip(np.split(vector.values, parts), np.split(vector.sources, parts), strict=True)
        return [Partly(values, sources) for values, sources in pieces]

    def join(self, vectors: Sequence[Partly]) -> Partly:
        values = np.concatenate([vector.values for vector in vectors])
        return Partly(values, np.concatenate([vector.sources for vector in vectors]))

    def take(self, vector: Partly, places: tuple[int, ...], fill: float) -> Partly:
        absent, index = np.asarray(places) < 0, np.maximum(places, 0)
        return Partly(np.where(absent, fill, vector.values[index]), np.where(absent, 0, vector.sources[index]))

    def choose(self, flags: tuple[bool, ...], yes: float, no: Partly) -> Partly:
        return Partly(np.where(flags, yes, no.values), no.sources)

    def constant(self, value: float, like: Partly) -> Partly:
        return Partly(np.array(value))

    def clamp(self, vector: Partly, low: float, high: float) -> Partly:
        return Partly(np.clip(vector.values, low, high), vector.sources)

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
        return Partly(np.where(vector.values == -math.inf, 0, vector.values), vector.sources)

    def _activated(self, vector: Partly, values: np.ndarray) -> Partly:
        self.activated.append(Partly(values, vector.sources))
        return self.activated[-1]


class RowsWithWeights:
    """Products of which a row is known where no weight comes in; see `cells.parts.arithmetic.Multiply`.

    Arguments:
        weights, kept: by local name; what is not in `kept` exists.
    """

    def __init__(self, layer: Layer, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor]):
        self.layer, self.weights, self.kept = layer, weights, kept
        self.bits = {gate: 1 << number for number, gate in enumerate(layer.cell.gates)}
        self.elsewhere = 1 << len(self.bits)

    def __call__(self, name: str, vector: Partly | None = None, gates: tuple[str, ...] | None = None) -> Partly | float:
        cell = self.layer.cell
        if name not in cell.axes or (name not in self.weights and vector is not None):
            return 0.0
        gated = "gate" in cell.axes[name].split()
        bits = [self.bits.get(gate, self.elsewhere) for gate in cell.gates_of(name)] if gated else [0]
        sources = np.repeat(bits, cell.shape(name, self.layer.sizes)[0] // len(bits))
        if name not in self.weights:
            return Partly(np.zeros(len(sources)), sources)
        if vector is None:
            return Partly(self.weights[name].detach().cpu().double().numpy().copy(), sources)
        part = cell.rows(name, gates, len(sources))
        return Partly(self.rows(name, None if cell.is_diagonal(name) else vector)[part], sources[part])

    def rows(self, name: str, vector: Partly | None = None) -> np.ndarray:
        """What is known of a product, NaN where a weight meets what varies; without a vector all of it does. [row]"""
        weight, kept, height = self.weights[name], self.kept.get(name), len(self.weights[name])
        present = (
            (torch.ones_like(weight, dtype=torch.bool) if kept is None else kept).reshape(height, -1).cpu().numpy()
        )
        rows, varies = np.zeros(height), present.any(1)
        if vector is not None:
            unknown = np.isnan(vector.values)
            varies = present[:, unknown].any(1)
            numbers = weight.detach().cpu().double().numpy() * present
            rows = numbers[:, ~unknown] @ vector.values[~unknown]
        local, places = self.layer.cell.bias_rows(name, height)
        if local in self.weights:
            rows[places] += self.weights[local].detach().cpu().double().numpy()
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
    multiply, arithmetic = _folded(layer, weights, kept)
    by_gate = _by_gate(arithmetic.activated, multiply.bits)
    stacked = cell.gates_of("weight_ih")
    for gate, rows in zip(stacked, np.split(multiply.rows("weight_ih"), len(stacked)), strict=True):
        by_gate.setdefault(gate, rows)
    return [
        ConstantGate(gate, int(unit), float(by_gate[gate][unit]))
        for gate in cell.gates
        if gate in by_gate
        for unit in np.flatnonzero(~np.isnan(by_gate[gate]))
    ]


def gates_by_unit(constants: Iterable[ConstantGate]) -> dict[int, dict[str, float]]:
    """Unit -> the gates of it that never change, with their values."""
    by_unit: dict[int, dict[str, float]] = {}
    for gate, unit, value in constants:
        by_unit.setdefault(unit, {})[gate] = value
    return by_unit


def activated_gates(layer: Layer, weights: Mapping[str, Tensor]) -> list[dict[str, np.ndarray]]:
    """Of each activation in a step, in order: the gates that go through it, with their places in its vector.

    Arguments:
        weights: local name -> tensor.
    """
    multiply, arithmetic = _folded(layer, weights, {})
    return _places(arithmetic.activated, multiply.bits)


def _folded(layer: Layer, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> tuple[RowsWithWeights, Folding]:
    """One step on inputs and states of which nothing is known."""
    cell = layer.cell
    multiply, arithmetic = RowsWithWeights(layer, weights, kept), Folding()
    unknown = {axis: np.full(layer.sizes[axis], math.nan) for axis in (*cell.state_axes, "input")}
    with np.errstate(all="ignore"):
        x = cell.project(Partly(unknown["input"]), multiply, arithmetic)
        state = tuple(Partly(unknown[axis], multiply.elsewhere) for axis in cell.state_axes)
        cell.step(x, state, multiply, arithmetic)
    return multiply, arithmetic


def _by_gate(activated: Sequence[Partly], bits: Mapping[str, int]) -> dict[str, np.ndarray]:
    """What each gate is; one that is activated again and again varies if any does."""
    by_gate: dict[str, np.ndarray] = {}
    for vector, gates in zip(activated, _places(activated, bits), strict=True):
        for gate, places in gates.items():
            values = vector.values[places]
            by_gate[gate] = np.where(np.isnan(values), math.nan, by_gate.get(gate, values))
    return by_gate


def _places(activated: Sequence[Partly], bits: Mapping[str, int]) -> list[dict[str, np.ndarray]]:
    """The places in each activated vector that belong to a gate.

    A vector of several gates belongs to the one that is not activated by itself, if there is only one such gate.
    """
    places = []
    for vector in activated:
        alone = {gate: np.flatnonzero(vector.sources == bit) for gate, bit in bits.items()}
        places.append({gate: index for gate, index in alone.items() if len(index)})
    by_themselves = {gate for gates in places for gate in gates}
    for vector, gates in zip(activated, places, strict=True):
        together = int(np.bitwise_or.reduce(vector.sources))
        others = [gate for gate, bit in bits.items() if together & bit and gate not in by_themselves]
        if len(others) == 1 and together < 1 << len(bits) and (vector.sources == together).all():
            gates[others[0]] = np.arange(len(vector.values))
    return places
