"""Arithmetic that a step is written against: one source for torch, numpy, C, and for what is known beforehand."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

Vector: TypeAlias = Any
"""Numbers along the last dimension: a tensor, an array, a name in C. It has the operators of arithmetic."""

State: TypeAlias = tuple[Vector, ...]


class Math(Protocol):
    """Functions of vectors, number by number unless said otherwise."""

    def split(self, vector: Vector, parts: int, /) -> Sequence[Vector]:
        """Equal parts along the last dimension."""
        ...

    def join(self, vectors: Sequence[Vector], /) -> Vector:
        """The inverse of `split`."""

    def take(self, vector: Vector, places: tuple[int, ...], fill: float, /) -> Vector:
        """The numbers at these places of the last dimension, and `fill` where a place is negative."""

    def choose(self, flags: tuple[bool, ...], yes: float, no: Vector, /) -> Vector:
        """`yes` at the places of the last dimension whose flag is set, the vector elsewhere."""

    def constant(self, value: float, like: Vector, /) -> Vector:
        """One number, of the precision of a vector."""

    def watch(self, vector: Vector, activated: Vector, /) -> Vector:
        """The activated vector; a place from which to look at what goes through an activation by name."""

    def sigmoid(self, vector: Vector, /) -> Vector: ...
    def tanh(self, vector: Vector, /) -> Vector: ...
    def relu(self, vector: Vector, /) -> Vector: ...
    def selu(self, vector: Vector, /) -> Vector: ...
    def log_sigmoid(self, vector: Vector, /) -> Vector: ...

    def clamp(self, vector: Vector, low: float, high: float, /) -> Vector:
        """The vector within bounds, either of which may be infinite."""

    def larger(self, first: Vector, second: Vector, /) -> Vector:
        """The larger of two; where they are equal, derivatives go to the second."""

    def log_add_exp(self, first: Vector, second: Vector, /) -> Vector:
        """log(exp(first) + exp(second)), right also where one or both are minus infinity."""

    def finite(self, vector: Vector, /) -> Vector:
        """The vector with 0 in the place of minus infinity."""


class Multiply(Protocol):
    """The product with a weight, handed to a step: W vector + b, with the bias b of the same name, if there is one.

    A weight whose layout names no source multiplies nothing: it is asked for without a vector and comes as it is. The
    gates name the rows of a stacked weight that are wanted, neighbours in the weight's own order; None asks for all.
    """

    def __call__(self, name: str, vector: Vector = None, gates: tuple[str, ...] | None = None) -> Vector: ...
