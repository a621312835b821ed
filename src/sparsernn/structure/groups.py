"""Weights that live or die together, across tensors: single weights, blocks, gates, neurons, words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsernn.errors import UserError
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Weight, Wiring, unwrap

Where = str | Sequence[str] | Callable[[str], bool] | tuple[type[nn.Module], str] | None
BLOCK = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True)
class Piece:
    """The part of one tensor that groups own.

    Attributes:
        name: parameter name.
        index: group numbers, broadcastable to the named view, -1 = no group; None = every weight is a group.
        start: the first group's number where index is None.
    """

    name: str
    index: Tensor | None
    start: int = 0


@dataclass(frozen=True)
class Family:
    """Groups that share a budget: a tensor, a gate of it, a layer. Numbers start to stop - 1.

    Attributes:
        fans: (fan-in, fan-out) of the dense tensor, for Erdős–Rényi budgets; (0, 0) where it means nothing.
        shape: of the dense tensor or gate; tensor: its name. Empty where a family is no part of one tensor.
    """

    label: str
    start: int
    stop: int
    fans: tuple[int, int] = (0, 0)
    shape: tuple[int, ...] = ()
    tensor: str = ""

    @property
    def size(self) -> int:
        """How many groups it has."""
        return self.stop - self.start


class Groups:
    """A numbering of groups, with the pieces that each owns in each tensor.

    Groups of one level never overlap, except that a unit's row and another unit's column cross: each weight
    then belongs to both, lives only if both live, and is counted once in a group's norm. Groups of units that
    stand in line, such as the states of an automaton, live only if all before them do.

    Arguments:
        previous: the group before each one in its line, -1 = none; None where no groups stand in line. [count]
    """

    def __init__(self, pieces: list[Piece], families: list[Family], wiring: Wiring, previous: Tensor | None = None):
        self.pieces, self.families, self.wiring, self.previous = pieces, families, wiring, previous
        self.count = families[-1].stop if families else 0
        self.names = list(dict.fromkeys(piece.name for piece in pieces))
        self.overlapping = len(pieces) > len(self.names)

    @classmethod
    def of(cls, wiring: Wiring, model: nn.Module, level: str, where: Where = None, per: str = "tensor") -> Groups:
        """Groups at a granularity: "weight", "gate", "neuron", "16x1", "input", "word", ...

        Arguments:
            where: the tensors in which groups start: a glob, several, a predicate on names, or (module type, suffix).
            per: what shares a budget at levels "weight" and blocks: a "tensor", a "gate" of it, or a "kernel": all
                matrices of a recurrent layer together.
        Raises: UserError if nothing is selected or no selected module has that level.
        """
        names = select(wiring, model, where)
        if level == "weight":
            return _entries(wiring, names, per)
        if match := BLOCK.fullmatch(level):
            return _tiles(wiring, names, int(match[1]), int(match[2]), per)
        return _levels(wiring, names, level)

    def to(self, device: torch.device) -> Groups:
        """Move the group numbers, in place."""
        self.pieces = [
            piece if piece.index is None else replace(piece, index=piece.index.to(device)) for piece in self.pieces
        ]
        self.previous = None if self.previous is None else self.previous.to(device)
        return self

    def measured(self, biases: bool | None = None) -> Groups:
        """The same groups made of what their norms count: with their biases or without; None: as each cell has it."""
        counted = {
            name for layer in self.wiring.layers for name in layer.weights.values() if layer.cell.groups_count_biases
        }
        weights = self.wiring.weights
        pieces = [
            piece
            for piece in self.pieces
            if weights[piece.name].layout.incoming or (piece.name in counted if biases is None else biases)
        ]
        return Groups(pieces, self.families, self.wiring, self.previous)

    def in_line(self, scores: Tensor) -> Tensor:
        """Scores by which no group stands above one before it in its line. Bools: who has all before it. [count]"""
        before = self.previous
        while before is not None and bool((before >= 0).any()):
            scores = torch.where(before < 0, scores, torch.minimum(scores, scores[before]))
            before = torch.where(before < 0, before, before[before])
        return scores

    def named(self, tensors: dict[str, Tensor], name: str) -> Tensor:
        """One of the tensors with a dimension for each name of its layout."""
        return self.wiring.weights[name].layout.view(tensors[name])

    def sums(self, tensors: dict[str, Tensor]) -> Tensor:
        """The sum of each group's entries, each entry once. Differentiable. [count]"""
        if all(piece.index is None for piece in self.pieces):
            return torch.cat([tensors[piece.name].reshape(-1) for piece in self.pieces])
        first = tensors[self.names[0]]
        total = first.new_zeros(self.count + 1)
        for name in self.names:
            own = [piece for piece in self.pieces if piece.name == name]
            named = self.named(tensors, name)
            for piece in own:
                if piece.index is None:
                    total = total + F.pad(
                        named.reshape(-1), (piece.start, self.count + 1 - piece.start - named.numel())
                    )
                else:
                    total = total.index_add(
                        0, _places(piece.index, self.count), _sum_to(named, piece.index.shape).reshape(-1)
                    )
            if len(own) == 2:
                crossing, numbers = self._crossing(own, named.shape)
                if len(numbers):
                    total = total.index_add(0, numbers, -named[crossing])
        return total[:-1]

    def _crossing(self, own: list[Piece], shape: torch.Size) -> tuple[tuple[Tensor, ...], Tensor]:
        """Entries that belong twice to the same group (a unit's weight to itself)."""
        first, second = (piece.index.expand(shape) for piece in own if piece.index is not None)
        both = ((first == second) & (first >= 0)).nonzero(as_tuple=True)
        return both, first[both]

    def norms(self, tensors: dict[str, Tensor]) -> Tensor:
        """L2 norm of each group; its gradient at zero is zero. [count]"""
        squares = self.sums({name: tensors[name].square() for name in self.names})
        return torch.where(
            squares <= 0, torch.zeros_like(squares), squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
        )

    def sizes(self, tensors: dict[str, Tensor]) -> Tensor:
        """How many weights each group has. [count]"""
        if all(piece.index is None for piece in self.pieces):
            return torch.ones(self.count)
        return self.sums({name: torch.ones_like(tensors[name], dtype=torch.float32) for name in self.names})

    def family_norms(self, tensors: dict[str, Tensor], family: Family) -> Tensor:
        """Norms of one family; single weights are read in place. [size of the family]"""
        if self._single(family) is None:
            return self.norms(tensors)[family.start : family.stop]
        return self.entries(tensors, family).abs()

    def entries(self, tensors: dict[str, Tensor], family: Family) -> Tensor:
        """The entries of a family of single weights, a view. [size of the family]"""
        piece = self._single(family)
        if piece is None:
            raise UserError(f"{family.label} is asked for its entries", "single weights", "use norms for larger groups")
        return tensors[piece.name].detach().reshape(-1)[family.start - piece.start : family.stop - piece.start]

    def kept(self, masks: Masks, family: Family | None = None) -> Tensor:
        """Which groups exist: those with at least one weight left. [count] or [size of the family]"""
        if family is not None and (piece := self._single(family)) is not None:
            return masks.kept[piece.name].reshape(-1)[family.start - piece.start : family.stop - piece.start].clone()
        counts = self.sums({name: masks.kept[name].float() for name in self.names})
        found = counts > 0
        return found if family is None else found[family.start : family.stop]

    def keep(self, masks: Masks, kept: Tensor, family: Family | None = None) -> None:
        """Write group decisions into the masks; who has lost one before it in line is lost too.

        Shapes: kept [count], or [size of the family].
        """
        if family is not None and (piece := self._single(family)) is not None:
            masks.kept[piece.name].view(-1)[family.start - piece.start : family.stop - piece.start] = kept
            return
        if family is not None:
            whole = self.kept(masks)
            whole[family.start : family.stop] = kept
            kept = whole
        kept = self.in_line(kept)
        extended = torch.cat([kept, kept.new_ones(1)])
        for name in self.names:
            named = self.wiring.weights[name].layout.view(masks.kept[name])
            alive = torch.ones_like(named)
            for piece in (piece for piece in self.pieces if piece.name == name):
                if piece.index is None:
                    alive &= kept[piece.start : piece.start + named.numel()].view(named.shape)
                else:
                    alive &= extended[piece.index]
            named.copy_(alive)

    @torch.no_grad()
    def scale_(self, tensors: dict[str, Tensor], factors: Tensor) -> None:
        """Multiply every weight by the factor of each of its groups, in place. factors: [count]"""
        extended = torch.cat([factors, factors.new_ones(1)])
        for name in self.names:
            named, done = self.named(tensors, name), None
            for piece in (piece for piece in self.pieces if piece.name == name):
                if piece.index is None:
                    named.mul_(factors[piece.start : piece.start + named.numel()].view(named.shape))
                    continue
                factor = extended[piece.index]
                named.mul_(
                    factor if done is None else torch.where(piece.index == done, torch.ones_like(factor), factor)
                )
                done = piece.index

    def _single(self, family: Family) -> Piece | None:
        """The piece of a family of single weights."""
        for piece in self.pieces:
            if (
                piece.index is None
                and piece.start <= family.start
                and family.stop <= piece.start + self._numel(piece.name)
            ):
                return piece
        return None

    def _numel(self, name: str) -> int:
        return self._sizes[name]

    @property
    def _sizes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        ordered = [piece for piece in self.pieces if piece.index is None]
        for piece, after in zip(ordered, [*(piece.start for piece in ordered[1:]), self.count], strict=True):
            found[piece.name] = after - piece.start
        return found


def select(wiring: Wiring, model: nn.Module, where: Where) -> list[str]:
    """Names of the tensors in which groups start; by default the weight matrices of recurrent layers.

    Raises: UserError if nothing matches.
    """
    candidates = [name for name, weight in wiring.weights.items() if weight.layout.incoming]
    recurrent = {name for layer in wiring.layers for name in layer.weights.values()}
    if where is None:
        chosen = [name for name in candidates if name in recurrent]
    elif callable(where) and not isinstance(where, type):
        chosen = [name for name in candidates if where(name)]
    elif isinstance(where, tuple) and len(where) == 2 and isinstance(where[0], type):
        kind, suffix = where
        chosen = [
            name
            for name in candidates
            if isinstance(unwrap(model).get_submodule(wiring.weights[name].module), kind)
            and name.rpartition(".")[2].startswith(suffix)
        ]
    else:
        patterns = [where] if isinstance(where, str) else list(where)
        chosen = [name for name in candidates if any(fnmatch(name, pattern) for pattern in patterns)]
    if not chosen:
        known = ", ".join(candidates) or "none: the model has no RNN, LSTM, GRU, Linear or Embedding"
        raise UserError(
            f"the selection {where!r} matches no weight" if where is not None else "the model has no recurrent layer",
            f"a selection of at least one of these weights: {known}",
            "pass where= with one of these names or a glob such as 'lstm.weight_*'",
        )
    return chosen


def _fans(weight: Weight, shape: Sequence[int]) -> tuple[int, int]:
    """Fan-in and fan-out of a named view: the product of its source sizes and of its destination sizes."""
    destinations = len(weight.layout.destination) if weight.layout.stored[:1] == weight.layout.destination[:1] else None
    sizes = list(shape)
    out = sizes[:destinations] if destinations is not None else sizes[len(weight.layout.source) :]
    into = sizes[destinations:] if destinations is not None else sizes[: len(weight.layout.source)]
    return int(torch.tensor(into).prod()) if into else 1, int(torch.tensor(out).prod())


def _shape(wiring: Wiring, name: str) -> list[int]:
    weight = wiring.weights[name]
    return [len(weight.layout.gates) if units is None else len(units) for units in weight.units_by_dimension]


def _families(wiring: Wiring, name: str, per: str, start: int, group_shape: Sequence[int]) -> list[Family]:
    """One family a tensor, or one a gate of it. group_shape: of the group numbers, gate first if there is one."""
    weight, shape = wiring.weights[name], _shape(wiring, name)
    total = int(torch.tensor(list(group_shape)).prod())
    if per != "gate" or "gate" not in weight.layout.stored:
        stored = shape if "gate" not in weight.layout.stored else [shape[0] * shape[1], *shape[2:]]
        return [Family(name, start, start + total, _fans(weight, shape), tuple(stored), name)]
    gates, each = weight.layout.gates, total // len(weight.layout.gates)
    fans = _fans(weight, [1, *shape[1:]])
    return [
        Family(f"{name}[{gate}]", start + place * each, start + (place + 1) * each, fans, tuple(shape[1:]), name)
        for place, gate in enumerate(gates)
    ]


def _check_per(per: str) -> None:
    if per not in ("tensor", "gate", "kernel"):
        raise UserError(f"per is {per!r}", '"tensor", "gate" or "kernel"', "choose what shares a budget")


def _entries(wiring: Wiring, names: list[str], per: str) -> Groups:
    _check_per(per)
    pieces, families, start = [], [], 0
    for name in names:
        shape = _shape(wiring, name)
        pieces.append(Piece(name, None, start))
        families += _families(wiring, name, per, start, shape)
        start = families[-1].stop
    return Groups(pieces, _fused(wiring, families) if per == "kernel" else families, wiring)


def _fused(wiring: Wiring, families: list[Family]) -> list[Family]:
    """One family for all matrices of a recurrent layer; others stay by themselves."""
    layers = {name: layer.label for layer in wiring.layers for name in layer.weights.values()}
    found: list[Family] = []
    for family in families:
        label = layers.get(family.tensor, family.tensor)
        if found and found[-1].label == label:
            into, out = found[-1].fans
            found[-1] = Family(label, found[-1].start, family.stop, (into + family.fans[0], out))
        else:
            found.append(replace(family, label=label))
    return found


def _tiles(wiring: Wiring, names: list[str], rows: int, columns: int, per: str) -> Groups:
    """Blocks of `rows` consecutive destination units of one gate by `columns` sources; smaller at the edges."""
    _check_per(per)
    if not rows or not columns:
        raise UserError(f"a block of {rows}x{columns}", "at least 1x1", 'pass a granularity such as "16x1"')
    pieces, families, start = [], [], 0
    for name in names:
        layout, shape = wiring.weights[name].layout, _shape(wiring, name)
        source = 0 if layout.stored[:1] == layout.source[:1] and layout.destination != layout.stored else len(shape) - 1
        steps = [
            1 if axis == "gate" else columns if layout.source and place == source else rows
            for place, axis in enumerate(layout.stored)
        ]
        grid = [-(-size // step) for size, step in zip(shape, steps, strict=True)]
        numbers = torch.arange(int(torch.tensor(grid).prod())).view(grid)
        for place, (size, step) in enumerate(zip(shape, steps, strict=True)):
            numbers = numbers.repeat_interleave(step, place).narrow(place, 0, size)
        pieces.append(Piece(name, numbers + start))
        families += _families(wiring, name, per, start, grid)
        start = families[-1].stop
    return Groups(pieces, _fused(wiring, families) if per == "kernel" else families, wiring)


def _levels(wiring: Wiring, names: list[str], level: str) -> Groups:
    """Groups that cells declare: indices of axes, wherever they occur."""
    owners = _owners(wiring, names)
    known = sorted({name for _, levels, _ in owners for name in levels} | {"weight", "16x1"})
    chosen = [(label, levels[level], own) for label, levels, own in owners if level in levels]
    if not chosen:
        raise UserError(
            f'no selected layer has the granularity "{level}"',
            f"one of {', '.join(known)} (or another block size)",
            "pass one of these",
        )
    pieces, families = [], []
    claimed = torch.full((len(wiring.units.parent),), -1)
    start = 0
    for label, spec, own in chosen:
        if "<-" in spec:
            size, found = _rows(wiring, spec.removesuffix("<-").split(), own, start)
            pieces += found
        else:
            units = _axis_units(wiring, spec, own)
            fresh = units.new_tensor(list(dict.fromkeys(units[(claimed[units] < 0) & (units > 0)].tolist())))
            claimed[fresh] = torch.arange(start, start + len(fresh))
            size = len(fresh)
        if size:
            families.append(Family(label, start, start + size))
        start += size
    for line in wiring.lines:
        claimed[line.units] = torch.where(claimed[line.owners] < 0, claimed[line.units], claimed[line.owners])
    pieces += _columns(wiring, claimed)
    return Groups(pieces, families, wiring, _previous(wiring, claimed, start))


def _previous(wiring: Wiring, claimed: Tensor, count: int) -> Tensor | None:
    """The group before each one, where units in line are groups of their own. [count]"""
    previous = torch.full((count,), -1)
    for line in wiring.lines:
        own, before = claimed[line.units], claimed[line.previous]
        behind = (own >= 0) & (before >= 0) & (own != before)
        previous[own[behind]] = before[behind]
    return previous if bool((previous >= 0).any()) else None


def _owners(wiring: Wiring, names: list[str]) -> list[tuple[str, dict[str, str], list[str]]]:
    """(label, levels, weight names) of every layer that owns a selected tensor."""
    found = [
        (layer.label or "cell", dict(layer.cell.levels), list(layer.weights.values()))
        for layer in wiring.layers
        if set(layer.weights.values()) & set(names)
    ]
    for path, description in wiring.descriptions.items():
        own = [name for name, weight in wiring.weights.items() if weight.module == path]
        if description.levels and set(own) & set(names):
            found.append((path, description.levels, own))
    return found


def _axis_units(wiring: Wiring, axis: str, own: list[str]) -> Tensor:
    found = [wiring.weights[name].axes[axis] for name in own if axis in wiring.weights[name].axes]
    written = {int(unit) for name in own for units in wiring.weights[name].axes.values() for unit in units}
    found += [line.owners for line in wiring.lines if line.axis == axis and written.issuperset(line.units.tolist())]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.long)


def _rows(wiring: Wiring, axes: list[str], own: list[str], start: int) -> tuple[int, list[Piece]]:
    """One group per index of the destination axes: everything that comes in there, biases excluded."""
    members = [
        name
        for name in own
        if wiring.weights[name].layout.incoming and list(wiring.weights[name].layout.destination) == axes
    ]
    shapes = {name: _shape(wiring, name)[: len(axes)] for name in members}
    if not members:
        return 0, []
    full = max(shapes.values())
    gates = max((wiring.weights[name].layout.gates for name in members), key=len)
    numbers = torch.arange(int(torch.tensor(full).prod())).view(full) + start
    pieces = []
    for name in members:
        layout = wiring.weights[name].layout
        rows = numbers[[gates.index(gate) for gate in layout.gates]] if layout.gates != gates else numbers
        pieces.append(Piece(name, rows.view(*rows.shape, *[1] * (len(layout.stored) - len(axes)))))
    return numbers.numel(), pieces


def _columns(wiring: Wiring, claimed: Tensor) -> list[Piece]:
    """Every slice of every weight that belongs to a claimed unit."""
    pieces = []
    for name, weight in wiring.weights.items():
        dimensions = weight.units_by_dimension
        for place, units in enumerate(dimensions):
            if units is not None and bool((claimed[units] >= 0).any()):
                shape = [1] * len(dimensions)
                shape[place] = len(units)
                pieces.append(Piece(name, claimed[units].view(shape)))
    return pieces


def _places(index: Tensor, count: int) -> Tensor:
    return torch.where(index < 0, count, index).reshape(-1)


def _sum_to(named: Tensor, shape: torch.Size) -> Tensor:
    dims = [place for place, size in enumerate(shape) if size == 1 and named.shape[place] != 1]
    return named.sum(dims, keepdim=True) if dims else named
