"""Numpy's form of the arithmetic that steps are written against; see `cells.parts.arithmetic.Math`."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sparsernn.cells.cell import Cell

Array = np.ndarray
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def split(vector: Array, parts: int) -> Sequence[Array]:
    return np.split(vector, parts, -1)


def join(vectors: Sequence[Array]) -> Array:
    return np.concatenate(list(vectors), -1)


def take(vector: Array, places: tuple[int, ...], fill: float) -> Array:
    index = np.asarray(places)
    return np.where(index < 0, vector.dtype.type(fill), vector[..., np.maximum(index, 0)])


def choose(flags: tuple[bool, ...], yes: float, no: Array) -> Array:
    return np.where(flags, no.dtype.type(yes), no)


def constant(value: float, like: Array) -> Array:
    return np.asarray(value, like.dtype)


def watch(vector: Array, activated: Array) -> Array:
    return activated


def sigmoid(vector: Array) -> Array:
    small = np.exp(-np.abs(vector))
    return np.where(vector >= 0, 1 / (1 + small), small / (1 + small))


def tanh(vector: Array) -> Array:
    return np.tanh(vector)


def relu(vector: Array) -> Array:
    return np.maximum(vector, 0)


def selu(vector: Array) -> Array:
    negative = SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(vector, 0))
    return np.where(vector > 0, SELU_SCALE * vector, negative).astype(vector.dtype)


def log_sigmoid(vector: Array) -> Array:
    return np.minimum(vector, 0) - np.log1p(np.exp(-np.abs(vector)))


def clamp(vector: Array, low: float, high: float) -> Array:
    return np.clip(vector, low, None if high == math.inf else high)


def larger(first: Array, second: Array) -> Array:
    return np.maximum(first, second)


def log_add_exp(first: Array, second: Array) -> Array:
    return np.logaddexp(first, second)


def finite(vector: Array) -> Array:
    return np.where(vector == -math.inf, vector.dtype.type(0), vector)


class Products:
    """Dense products of a layer's weights, handed to its step; see `cells.parts.arithmetic.Multiply`.

    Arguments:
        cell: what a step computes.
        weights: local name -> array.
    """

    def __init__(self, cell: Cell, weights: Mapping[str, Array]):
        self.cell, self.weights = cell, weights

    def __call__(self, name: str, vector: Array | None = None, gates: tuple[str, ...] | None = None) -> Array | float:
        weight = self.weights.get(name)
        if vector is None or weight is None:
            return 0.0 if weight is None else weight
        bias, rows = self.bias_of(name), self.cell.rows(name, gates, len(weight))
        weight, bias = weight[rows], bias[rows]
        if self.cell.is_diagonal(name):
            return np.tile(vector, len(weight) // vector.shape[-1]) * weight + bias
        return vector @ weight.T + bias

    def bias_of(self, name: str) -> Array:
        """The bias of a product, 0 for gates that have none. [row]"""
        weight = self.weights[name]
        bias = np.zeros(len(weight), weight.dtype)
        local, rows = self.cell.bias_rows(name, len(weight))
        if local in self.weights:
            bias[rows] = self.weights[local]
        return bias
