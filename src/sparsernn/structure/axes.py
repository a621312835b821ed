"""Dimensions have names: the layout of one weight, and the units that a model's weights share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsernn.errors import UserError

OUTSIDE = 0  # the unit number of everything that is no unit: inputs, constants, padding
NOUGHT = 2**62  # the unit number of zeros that a forward makes itself: they go with any unit


@dataclass(frozen=True)
class Layout:
    """The names of a weight's dimensions, from a string that reads like a sentence.

    ``"gate hidden <- input"``: stored destination first, the gates stacked along dimension 0.
    ``"word -> unit"``: stored source first (an embedding). ``"gate hidden"``: one number a unit (a bias).
    ``"gate hidden <- self"``: one number a unit, read from the unit itself (a diagonal matrix).

    Attributes:
        stored: the axis names in storage order, the gate axis being a view.
        destination: axes that the weight writes to.
        source: axes that the weight reads from.
        incoming: whether there is an arrow, so whether zeros here disconnect something.
        gates: names along the axis "gate".
    """

    text: str
    stored: tuple[str, ...]
    destination: tuple[str, ...]
    source: tuple[str, ...]
    incoming: bool
    gates: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, gates: tuple[str, ...] = ()) -> Layout:
        """Raises: UserError for a text without names."""
        if "<-" in text:
            left, right = (tuple(side.split()) for side in text.split("<-"))
            source = () if right == ("self",) else right
            return cls(text, left + source, left, source, True, gates)
        if "->" in text:
            left, right = (tuple(side.split()) for side in text.split("->"))
            return cls(text, left + right, right, left, True, gates)
        names = tuple(text.split())
        if not names:
            raise UserError("a layout names no dimension", "for example 'gate hidden <- input'", "name every dimension")
        return cls(text, names, names, (), False, gates)

    @property
    def source_places(self) -> range:
        """The dimensions of the named view that the weight reads from."""
        count = len(self.source)
        return range(count) if "->" in self.text else range(len(self.stored) - count, len(self.stored))

    def view(self, tensor: Tensor) -> Tensor:
        """The tensor with one dimension a name: [gates*hidden input] becomes [gate hidden input]; no copy."""
        if tensor.dim() == len(self.stored):
            return tensor
        return tensor.unflatten(0, (len(self.gates), -1))

    def stack(self, named: Tensor) -> Tensor:
        """The inverse of `view`."""
        return named.flatten(0, 1) if "gate" in self.stored[:1] and len(self.gates) else named


class Units:
    """Numbers for the units of a model, and which of them turned out to be the same (union-find).

    A unit is one index of one axis: hidden unit 17 of layer 0. Readers and writers of a unit hold its number;
    whatever couples two axes (a residual sum, a tied weight) joins their numbers.
    """

    def __init__(self) -> None:
        self.parent = torch.zeros(1, dtype=torch.long)

    def fresh(self, count: int) -> Tensor:
        """`count` new units. [count]"""
        start = len(self.parent)
        numbers = torch.arange(start, start + count)
        self.parent = torch.cat([self.parent, numbers])
        return numbers

    def find(self, numbers: Tensor) -> Tensor:
        """The representative of each unit, any shape."""
        roots = self.parent[numbers]
        while True:
            further = self.parent[roots]
            if torch.equal(further, roots):
                return roots
            roots = further

    def join(self, left: Tensor, right: Tensor) -> set[int]:
        """Declare units equal, position by position (shapes broadcast); returns units that met the outside."""
        left, right = torch.broadcast_tensors(self.find(left), self.find(right))
        pairs = torch.stack([left.reshape(-1), right.reshape(-1)], 1).unique(dim=0)
        stranded = set()
        for a, b in pairs[pairs[:, 0] != pairs[:, 1]].tolist():
            a, b = self._root(a), self._root(b)
            if OUTSIDE in (a, b):
                stranded.add(max(a, b))
            elif a != b:
                self.parent[max(a, b)] = min(a, b)
        return stranded - {OUTSIDE}

    def _root(self, number: int) -> int:
        while (parent := int(self.parent[number])) != number:
            number = parent
        return number
