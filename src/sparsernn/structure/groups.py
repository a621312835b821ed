"""Weights that live or die together, across tensors: single weights, blocks, gates, neurons, words."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sparsernn.errors import UserError
from sparsernn.structure.families import Family, Numbering, Piece, entries, tiles
from sparsernn.structure.levels import units_at
from sparsernn.structure.masks import Masks
from sparsernn.structure.selection import Where, select
from sparsernn.structure.wiring import Wiring

BLOCK = re.compile(r"(\d+)x(\d+)")


class Groups:
    """A numbering of groups, with the pieces that each owns in each tensor.

    Groups of one level never overlap, except that a unit's row and another unit's column cross: each weight
    then belongs to both, lives only if both live, and is counted once in a group's norm. Groups of units that
    stand in line, such as the states of an automaton, live only if all before them do.

    Attributes:
        pieces, families, previous, units: see `structure.families.Numbering`.
        earlier: of each group the number that it had before readers were known; None where nothing was renumbered.
        names: of the tensors in which groups have weights.
        overlapping: whether a weight can belong to two groups.
        counted_twice: whether a unit's weight to itself counts twice in its sum.
    """

    def __init__(self, wiring: Wiring, numbering: Numbering, counted_twice: bool = False):
        self.wiring = wiring
        self.pieces, self.families, self.previous, self.units = numbering
        self.earlier: Tensor | None = None
        self.count = self.families[-1].stop if self.families else 0
        self.names = list(dict.fromkeys(piece.name for piece in self.pieces))
        self.overlapping = len(self.pieces) > len(self.names)
        self.counted_twice = counted_twice

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
            return cls(wiring, entries(wiring, names, per))
        if block := BLOCK.fullmatch(level):
            return cls(wiring, tiles(wiring, names, int(block[1]), int(block[2]), per))
        return cls(wiring, units_at(wiring, names, level))

    def to(self, device: torch.device) -> Groups:
        """Move the group numbers, in place."""
        self.pieces = [
            piece if piece.index is None else replace(piece, index=piece.index.to(device)) for piece in self.pieces
        ]
        self.previous = None if self.previous is None else self.previous.to(device)
        return self

    def measured(self, biases: bool | None = None, counted_twice: bool = False) -> Groups:
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
        return Groups(self.wiring, Numbering(pieces, self.families, self.previous, self.units), counted_twice)

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
        """The sum of each group's entries, each entry once unless `counted_twice`. Differentiable. [count]"""
        if all(piece.index is None for piece in self.pieces):
            return torch.cat([tensors[piece.name].reshape(-1) for piece in self.pieces])
        kind = functools.reduce(torch.promote_types, (tensors[name].dtype for name in self.names))
        total = tensors[self.names[0]].new_zeros(self.count + 1, dtype=kind)
        for name in self.names:
            named = self.named(tensors, name).to(kind)
            numbers = [piece.index for piece in self._pieces_of(name) if piece.index is not None]
            for index in numbers:
                total = total.index_add(0, _places(index, self.count), _sum_to(named, index.shape).reshape(-1))
            if (
                len(numbers) == 2 and not self.counted_twice
            ):  # a unit's weight to itself belongs twice to the same group
                first, second = (index.expand(named.shape) for index in numbers)
                both = ((first == second) & (first >= 0)).nonzero(as_tuple=True)
                if len(both[0]):
                    total = total.index_add(0, first[both], -named[both])
        return total[:-1]

    def _pieces_of(self, name: str) -> list[Piece]:
        return [piece for piece in self.pieces if piece.name == name]

    def norms(self, tensors: dict[str, Tensor]) -> Tensor:
        """L2 norm of each group; its gradient at zero is zero. [count]"""
        return _Norms.apply(self, *(tensors[name] for name in self.names))

    def spread(self, values: Tensor, name: str, shape: torch.Size) -> Tensor:
        """For each entry of a named view the sum of its groups' values, broadcastable. values: [count]"""
        extended, total, crossed = torch.cat([values, values.new_zeros(1)]), None, None
        for piece in self._pieces_of(name):
            if piece.index is None:
                part = values[piece.start : piece.stop].view(shape)
            else:
                part = extended[piece.index]
                if crossed is not None and not self.counted_twice:
                    part = torch.where(piece.index == crossed, torch.zeros_like(part), part)
                crossed = piece.index
            total = part if total is None else total + part
        return values.new_zeros(()) if total is None else total

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
        return counts > 0 if family is None else counts[family.start : family.stop] > 0

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
            named = self.named(masks.kept, name)
            alive = torch.ones_like(named)
            for piece in self._pieces_of(name):
                if piece.index is None:
                    alive &= kept[piece.start : piece.stop].view(named.shape)
                else:
                    alive &= extended[piece.index]
            named.copy_(alive)

    @torch.no_grad()
    def scale_(self, tensors: dict[str, Tensor], factors: Tensor) -> None:
        """Multiply every weight by the factor of each of its groups, in place. factors: [count]"""
        for name in self.names:
            named = self.named(tensors, name)
            for factor in self._factors(name, named.shape, factors):
                named.mul_(factor)

    def scaled(self, tensors: dict[str, Tensor], factors: Tensor) -> dict[str, Tensor]:
        """Those of the tensors that have groups, multiplied as by `scale_`. Differentiable. factors: [count]"""
        scaled = {}
        for name in filter(tensors.__contains__, self.names):
            named = self.named(tensors, name)
            for factor in self._factors(name, named.shape, factors):
                named = named * factor
            scaled[name] = named.view(tensors[name].shape).to(tensors[name].dtype)
        return scaled

    def _factors(self, name: str, shape: torch.Size, factors: Tensor) -> Iterator[Tensor]:
        """What a named view is multiplied with, a factor of each piece; a group that crosses itself counts once."""
        extended, crossed = torch.cat([factors, factors.new_ones(1)]), None
        for piece in self._pieces_of(name):
            if piece.index is None:
                yield factors[piece.start : piece.stop].view(shape)
                continue
            factor = extended[piece.index]
            if crossed is not None:
                factor = torch.where(piece.index == crossed, torch.ones_like(factor), factor)
            crossed = piece.index
            yield factor

    def _single(self, family: Family) -> Piece | None:
        """The piece of a family of single weights."""
        for piece in self.pieces:
            if piece.index is None and piece.start <= family.start and family.stop <= piece.stop:
                return piece
        return None


class _Norms(torch.autograd.Function):
    """Norms of groups; the gradient of a weight is the weight times the sum of outer / norm over its groups."""

    @staticmethod
    def forward(ctx: Any, groups: Groups, *tensors: Tensor) -> Tensor:
        squares = groups.sums(dict(zip(groups.names, (tensor.abs().square() for tensor in tensors), strict=True)))
        norms = squares.clamp_min(0).sqrt()
        ctx.groups = groups
        ctx.save_for_backward(norms, *tensors)
        return norms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        norms, *tensors = ctx.saved_tensors
        factors, gradients = torch.where(norms > 0, outer / norms, torch.zeros_like(outer)), []
        for name, tensor, needed in zip(ctx.groups.names, tensors, ctx.needs_input_grad[1:], strict=True):
            named = ctx.groups.wiring.weights[name].layout.view(tensor)
            gradient = named * ctx.groups.spread(factors, name, named.shape) if needed else None
            gradients.append(None if gradient is None else gradient.view(tensor.shape).to(tensor.dtype))
        return None, *gradients


def _places(index: Tensor, count: int) -> Tensor:
    return torch.where(index < 0, count, index).reshape(-1)


def _sum_to(named: Tensor, shape: torch.Size) -> Tensor:
    dims = [place for place, size in enumerate(shape) if size == 1 and named.shape[place] != 1]
    return named.sum(dims, keepdim=True) if dims else named
