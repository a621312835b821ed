"""Choice of what goes next from a model: the groups of weights that the loss would miss least, by weight."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsernn.own_model.batches import Loss
from sparsernn.own_model.sensitivity import follow, sensitivities
from sparsernn.structure.groups import Groups, Where
from sparsernn.structure.levels import levels_of
from sparsernn.structure.masks import Masks
from sparsernn.structure.selection import select
from sparsernn.structure.wiring import Wiring

USUAL = ("neuron", "word")


class Chooser:
    """The groups of a model at some levels.

    Arguments:
        model: whose groups they are; copies of it may be handed to `prune`.
        batches: on which sensitivities are measured.
        loss: (model, batch) -> a number.
        levels: granularities, each of which some selected layer has; none: those of `USUAL` that one has.
        where: the tensors in which groups start; None: those of recurrent layers and of embeddings.
    Attributes:
        names: of the levels.
        full: masks with everything.
    Raises: UserError if nothing is selected, or nothing selected has one of the levels.
    """

    def __init__(self, model: nn.Module, batches: Sequence[object], loss: Loss, levels: Sequence[str], where: Where):
        self.batches, self.loss = batches, loss
        self.wiring = follow(model, batches[0], loss)
        selection = _recurrent_or_embedding(self.wiring) if where is None else where
        declared = levels_of(self.wiring, select(self.wiring, model, selection))
        self.names = list(levels) or [level for level in USUAL if level in declared]
        self.levels = [Groups.of(self.wiring, model, level, selection) for level in self.names]
        names = {name for groups in self.levels for name in groups.names}
        self.full = Masks.full(self.wiring, model, names)

    def prune(self, model: nn.Module, masks: Masks, weights: int) -> Masks:
        """Masks with about so many weights fewer than these, of the groups with the least sensitivity a weight.

        Every layer keeps at least one group at each level; where no other is left, these masks themselves come back.
        """
        ranks = []
        for groups, rank in zip(self.levels, self._ranks(model), strict=True):
            alive = groups.kept(masks)
            for family in groups.families:
                part = rank[family.start : family.stop]
                part[part.masked_fill(~alive[family.start : family.stop], -1).argmax()] = torch.inf
            ranks.append(torch.where(alive, rank, -1))
        limits = torch.cat(ranks)
        limits = limits[(limits >= 0) & limits.isfinite()].unique()
        target, low, high = _count(masks) - weights, 0, len(limits)
        while low < high:
            middle = (low + high) // 2
            if _count(self._above(masks, ranks, limits[middle])) <= target:
                high = middle
            else:
                low = middle + 1
        if not len(limits):
            return masks
        return self._above(masks, ranks, limits[min(low, len(limits) - 1)])

    def _ranks(self, model: nn.Module) -> list[Tensor]:
        """Sensitivity by weight; where it is zero, as of words that no batch holds, less than any, by size. [count]"""
        tensors: dict[str, Tensor] = dict(model.named_parameters())
        sizes = [groups.sizes(tensors).clamp_min(1).double() for groups in self.levels]
        squares = [groups.norms(tensors).detach().cpu().double().square() for groups in self.levels]
        scores = sensitivities(model, self.batches, self.loss, self.levels)
        ranks = [score / size for score, size in zip(scores, sizes, strict=True)]
        energies = [square / size for square, size in zip(squares, sizes, strict=True)]
        positive = torch.cat([rank[rank > 0] for rank in ranks])
        least = positive.min() / 2 if len(positive) else 1.0
        largest = max(float(energy.max()) for energy in energies) or 1.0
        pairs = zip(ranks, energies, strict=True)
        return [torch.where(rank > 0, rank, energy / largest * least) for rank, energy in pairs]

    def _above(self, masks: Masks, ranks: Sequence[Tensor], limit: Tensor) -> Masks:
        """The masks without the groups whose rank is not above a limit."""
        left = {name: kept.clone() for name, kept in masks.kept.items()}
        for groups, rank in zip(self.levels, ranks, strict=True):
            of_level = Masks({name: torch.ones_like(kept) for name, kept in left.items()})
            groups.keep(of_level, rank > limit)
            for name, kept in left.items():
                kept &= of_level.kept[name]
        return Masks(left, masks.layouts, masks.selected)


def _count(masks: Masks) -> int:
    return sum(int(kept.count_nonzero()) for kept in masks.kept.values())


def _recurrent_or_embedding(wiring: Wiring) -> Where:
    names = {name for layer in wiring.layers for name in layer.weights.values()}
    names |= (
        {name for name, weight in wiring.weights.items() if "word" in wiring.descriptions[weight.module].levels}
        if wiring.descriptions
        else set()
    )
    return names.__contains__ if names else None
