"""What becomes of units where tensors are combined entry by entry, and where entries are added up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.numbers import added, aligned, are_units, collapsed, units_in, varying
from sparsernn.tracing.parameters import LooseParameters, values_at


@dataclass
class Operand:
    """A tensor that is combined with others.

    Attributes:
        sizes: of its dimensions.
        labels: a name for each of its dimensions; dimensions of one name go together.
        shadow: its units; None where it carries none.
        tensor: the tensor itself, where it may be made of a parameter.
        counts: whether its values enter the result, as those of a condition do not.
    """

    sizes: Sequence[int]
    labels: Sequence[str]
    shadow: Tensor | None
    tensor: Tensor | None = None
    counts: bool = True

    def size(self, label: str) -> int:
        """How many entries stand along a label."""
        return self.sizes[self.labels.index(label)] if label in self.labels else 1


class Joining:
    """Joins of units that a forward asks for.

    Arguments:
        wiring: where joins, and reasons why units are external, are written.
        parameters: those that the forward reads by itself.
    """

    def __init__(self, wiring: Wiring, parameters: LooseParameters):
        self.wiring, self.parameters = wiring, parameters

    def together(
        self, name: str, operands: Sequence[Operand], order: Sequence[str], rule: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The shadow of what a function makes of its operands entry by entry, a dimension for each label of `order`.

        Arguments:
            rule: numbers of the entries that go together, along the last dimension -> the number of what comes out.
        """
        shadows = [self._aligned(operand, order) for operand in operands]
        for place in self._spread(operands, shadows, order):
            self.wiring.mark(shadows[place], f"{name} spreads it over others")
            shadows[place] = torch.full([1] * len(order), OUTSIDE)
        wide = {at for shadow in shadows if _carries(shadow) for at in varying(shadow)}
        for place, operand in enumerate(operands):
            if not bool((shadows[place] != OUTSIDE).all()) and not _carries(shadows[place]):
                shadows[place] = self._from_outside(name, operand, shadows, order, wide)
        for left, right in combinations([shadow for shadow in shadows if _carries(shadow)], 2):
            self._join(left, right)
        entering = [shadow for shadow, operand in zip(shadows, operands, strict=True) if operand.counts]
        return rule(torch.stack(torch.broadcast_tensors(*entering), -1))

    def read(self, name: str, operand: Operand, label: str, other: Operand, result: str) -> Tensor:
        """The shadow of a product with a matrix that is a parameter, a dimension for each label of `result`.

        Arguments:
            label: the dimension that the product runs over, of the matrix and of `other`.
        """
        tensor, parameters = operand.tensor, self.parameters
        part = parameters.of(tensor)
        if tensor is None or part is None:
            raise ValueError("the matrix is no parameter")
        source = operand.labels.index(label)
        units = parameters.numbers(tensor, source, weigh=False)
        parameters.reads(tensor, source)
        if units is None:
            parameters.leave(tensor, f"{name} reads part of it")
        elif other.shadow is None:
            self.wiring.mark(units, "it reads the model's input, or something that could not be followed")
        if units is None or other.shadow is None:
            parameters.leave(other.tensor, f"{name} reads it")
            self.mark(other, f"{name} reads it")
        else:
            rows = collapsed(other.shadow.movedim(other.labels.index(label), -1)).expand(
                *[-1] * (other.shadow.dim() - 1), len(units)
            )
            for row in rows.reshape(-1, len(units)).unique(dim=0):
                self.wiring.join(units, row)
            self.wiring.shifted.setdefault(part[0], set()).update(units_in(rows[rows < 0]))
        shadow = torch.full([1] * len(result), OUTSIDE)
        for written in set(operand.labels) & set(result) - set(other.labels):
            numbers = parameters.numbers(tensor, operand.labels.index(written), weigh=False)
            if numbers is not None:
                shadow = values_at(numbers, result.index(written), len(result))
        return shadow

    def total(self, name: str, shadow: Tensor, places: Sequence[int], rule: str = "sum") -> Tensor | None:
        """The shadow of a total over some dimensions, which stay with one place each.

        Units of one axis are added up; units at the same place of several axes, as of two directions, are joined.

        Arguments:
            rule: "product" where nothing is ever joined, "sum", or "mean" where zeros count.
        Returns: None where the total runs over units that zeros do count for; these are marked.
        """
        shadow = collapsed(shadow)
        over = [place for place in varying(shadow) if place in places]
        if not over:
            return shadow
        rows = shadow.movedim(over, list(range(-len(over), 0))).flatten(-len(over))
        if rule != "product" and varying(rows[..., 0]) and not self._within_rows(rows):
            for column in range(1, rows.shape[-1]):
                self._join(rows[..., :1], rows[..., column : column + 1])
            result = added(rows)
        elif rule != "mean":
            self.needs_zero(rows, f"{name} sums over its units")
            result = torch.full(rows.shape[:-1], OUTSIDE)
        else:
            self.wiring.mark(rows, f"{name} runs over its units")
            return None
        for place in sorted(over):
            result = result.unsqueeze(place)
        return result

    def needs_zero(self, shadow: Tensor, reason: str) -> None:
        """Something reads these units that zeros count for nothing in."""
        self.wiring.mark(shadow[shadow < 0], f"{reason}, and what it gets of a unit that is zero is not zero")
        self.wiring.summed |= dict.fromkeys(units_in(shadow), reason)

    def split_evenly(self, rows: Tensor) -> None:
        """Units that stand side by side in rows of one width have to stay so. rows: [rows units]"""
        if len(rows) > 1 and bool(are_units(rows).any()):
            self.wiring.even.append(torch.where(are_units(rows), rows.abs(), OUTSIDE))

    def mark(self, operand: Operand, reason: str) -> None:
        """Something unknown reads an operand."""
        if operand.shadow is not None:
            self.wiring.mark(collapsed(operand.shadow), reason)

    def _aligned(self, operand: Operand, order: Sequence[str]) -> Tensor:
        if operand.shadow is None:
            return torch.full([1] * len(order), OUTSIDE)
        return collapsed(aligned(operand.shadow, operand.labels, order))

    def _spread(self, operands: Sequence[Operand], shadows: Sequence[Tensor], order: Sequence[str]) -> list[int]:
        """Operands whose units are repeated along the units of others."""
        changes = [set(varying(shadow)) if _carries(shadow) else set() for shadow in shadows]
        spread = []
        for place, operand in enumerate(operands):
            if not _carries(shadows[place]):
                continue
            others = [set(other) for at, other in enumerate(changes) if at != place]
            aside = any(other - changes[place] and not (changes[place] and changes[place] < other) for other in others)
            last = order[-1] if order else ""
            narrow = not changes[place] and operand.size(last) < max(other.size(last) for other in operands)
            if aside or narrow:
                spread.append(place)
        return spread

    def _from_outside(
        self, name: str, operand: Operand, shadows: Sequence[Tensor], order: Sequence[str], wide: set[int]
    ) -> Tensor:
        """The shadow of an operand without units, beside others that have some along the dimensions `wide`."""
        outside = torch.full([1] * len(order), OUTSIDE)
        places = [place for place in wide if operand.size(order[place]) > 1 and not self._counts_rows(shadows, place)]
        if len(places) == 1 and operand.tensor is not None and self.parameters.of(operand.tensor) is not None:
            numbers = self.parameters.numbers(operand.tensor, operand.labels.index(order[places[0]]))
            if numbers is not None:
                return values_at(numbers, places[0], len(order))
        if places:
            self.parameters.leave(operand.tensor, f"{name} reads part of it")
            for shadow in shadows:
                if set(varying(shadow)) & set(places):
                    self.wiring.mark(shadow, f"{name} combines it with a tensor of its own width from outside")
        return outside

    def _join(self, left: Tensor, right: Tensor) -> None:
        left, right = torch.broadcast_tensors(left, right)
        pairs = torch.stack([left.reshape(-1), right.reshape(-1)], 1).unique(dim=0)
        self.wiring.join(pairs[:, 0], pairs[:, 1])

    def _counts_rows(self, shadows: Sequence[Tensor], place: int) -> bool:
        """Whether a dimension does not run over units but over layers, or over rows that a forward split."""
        for shadow in shadows:
            along = varying(shadow)
            if place in along and (len(along) < 2 or not self._within_rows(shadow.movedim(place, 0).flatten(1))):
                return False
        return True

    def _within_rows(self, rows: Tensor) -> bool:
        """Whether every total is over units of one axis, or of one row that a forward split off. rows: [.. units]"""
        split = [set(row) for block in self.wiring.even for row in block.tolist()]
        axes = [set(units.tolist()) for axes in self.wiring.axes.values() for units in axes.values()]
        for row in rows.reshape(-1, rows.shape[-1]):
            units = units_in(row)
            pieces = split if any(units & piece for piece in split) else axes
            if not any(units <= piece for piece in pieces):
                return False
        return True


def _carries(shadow: Tensor) -> bool:
    return bool(are_units(shadow).any())
