"""Results of the width before compaction: units that were cut stand in them as the zeros that they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

RESULTS = ">"  # the key of results among the cuts of modules


@dataclass(frozen=True)
class Filled:
    """How one tensor of a result gets its width back.

    Attributes:
        count: how many tensors the result has; place: the number of this one among them.
        dimension: the one that gets wider, from the end.
        positions: for each place of the wide tensor that of the narrow one, -1 where a unit was cut; as many dimensions
            as the tensor, of size 1 where the places are the same all along.
        left: how many places of the narrow tensor are read.
    """

    count: int
    place: int
    dimension: int
    positions: Tensor
    left: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "left", int(self.positions.max()) + 1)

    def fill(self, narrow: Tensor) -> Tensor:
        """The wide tensor; one that has another width is none of these."""
        at, left = self.dimension, self.left
        if narrow.dim() < -at or narrow.shape[at] != left:
            return narrow
        sides = list(narrow.shape)
        sides[at] = 1
        padded, index = torch.cat([narrow, narrow.new_zeros(sides)], at), self.positions.to(narrow.device)
        index = torch.where(index < 0, left, index)
        if index.dim() > narrow.dim() and index.shape[1] == 1:  # a state without a batch
            index = index.squeeze(1)
        if index.numel() == index.shape[at]:
            return padded.index_select(at, index.flatten())
        sides[at] = index.shape[at]
        return padded.gather(at, index.expand(sides))

    def then(self, later: Filled) -> Filled:
        """This one after a second cut."""
        first, second = self.positions, later.positions
        sides = [1 if place - first.dim() == self.dimension else -1 for place in range(first.dim())]
        gone = second.new_full([1 if side == 1 else size for side, size in zip(sides, second.shape, strict=True)], -1)
        padded, shape = torch.cat([second, gone], self.dimension), []
        for side, one, other in zip(sides, first.shape, second.shape, strict=True):
            shape.append(one if side == 1 else max(one, other))
        wide = [size if side != 1 else padded.shape[self.dimension] for side, size in zip(sides, shape, strict=True)]
        index = torch.where(first < 0, padded.shape[self.dimension] - 1, first).expand(shape)
        return Filled(self.count, self.place, self.dimension, padded.expand(wide).gather(self.dimension, index))

    def as_json(self) -> list[Any]:
        return [self.count, self.place, self.dimension, list(self.positions.shape), self.positions.flatten().tolist()]

    @classmethod
    def from_json(cls, saved: Any) -> Filled:
        """Raises: ValueError or TypeError for anything that `as_json` cannot have written."""
        count, place, dimension, shape, positions = saved
        numbers = [count, place, dimension, *shape, *positions]
        if not all(type(number) is int for number in numbers) or not -len(shape) <= dimension < 0 or not positions:
            raise ValueError("a result is filled in at no place")
        filled = torch.tensor(positions).view(shape)
        if not 0 <= place < count or int(filled.min()) < -1 or int(filled.max()) >= filled.shape[dimension]:
            raise ValueError("a result is filled in at no place")
        return cls(count, place, dimension, filled)


class FillResults:
    """A forward hook of a model or of one recurrent module: what it returns gets the width before compaction, cut units
    being zero."""

    def __init__(self, tensors: Iterable[Filled]):
        self.tensors = list(tensors)

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], result: Any) -> Any:
        leaves, tree = tree_flatten(result)
        places = [at for at, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        for filled in self.tensors:
            if len(places) == filled.count:
                leaves[places[filled.place]] = filled.fill(leaves[places[filled.place]])
        return tree_unflatten(leaves, tree)

    def as_json(self) -> dict[str, dict[str, Any]]:
        """An entry among the cuts of modules, or none."""
        return {RESULTS: {"tensors": [filled.as_json() for filled in self.tensors]}} if self.tensors else {}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> FillResults:
        """Raises: ValueError, KeyError or TypeError for anything that `as_json` cannot have written."""
        return cls(Filled.from_json(tensor) for tensor in saved["tensors"])

    def then(self, later: FillResults) -> FillResults:
        """The hook of this cut and a second one."""
        tensors = {(filled.count, filled.place): filled for filled in self.tensors}
        for filled in later.tensors:
            key = filled.count, filled.place
            tensors[key] = tensors[key].then(filled) if key in tensors else filled
        return FillResults(tensors.values())
