"""What is left of a sparse network: words, components, hidden units, gates and weights that still do something."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring


@dataclass(frozen=True)
class Alive:
    """Counts of what is alive; biases are in none of them.

    Attributes:
        words, components: of each embedding, by the name of its module: words, and numbers of their vectors.
        units, gates: of each recurrent layer, by its label: hidden units, and gates that are not constant.
        weights, all_weights: that are alive, and that the dense network has.
    """

    words: dict[str, int]
    components: dict[str, int]
    units: dict[str, int]
    gates: dict[str, int]
    weights: int
    all_weights: int

    @property
    def compression(self) -> float:
        """All weights for one that is alive."""
        return self.all_weights / self.weights if self.weights else float("inf")


def one_pass(wiring: Wiring, masks: Masks) -> Alive:
    """Counts as Lobacheva et al. 2020 and Chirkova et al. 2018 take them.

    A unit is alive if any weight that exists reads it, a component of an embedding only if it is also written; a gate
    if anything comes in to it and its unit is alive; a weight if all of its units are, its gate or not. What only dead
    units read is alive all the same.
    """
    kept = _kept(wiring, masks)
    return _counted(wiring, kept, _alive_units(wiring, kept))


def fixed_point(wiring: Wiring, masks: Masks) -> Alive:
    """The same, again and again without what was dead before, until nothing dies any more."""
    kept, left = _kept(wiring, masks), -1
    while True:
        units = _alive_units(wiring, kept)
        kept = _of_living(wiring, kept, units)
        before, left = left, sum(int(mask.count_nonzero()) for mask in kept.values())
        if left == before:
            return _counted(wiring, kept, units)


def _kept(wiring: Wiring, masks: Masks) -> dict[str, Tensor]:
    """The mask of every weight in names, biases left out; one that has none is whole."""
    kept = {}
    for name, weight in wiring.weights.items():
        if weight.layout.incoming:
            shape = [len(weight.layout.gates) if units is None else len(units) for units in weight.units_by_dimension]
            mask = masks.kept.get(name)
            kept[name] = torch.ones(shape, dtype=torch.bool) if mask is None else weight.layout.view(mask.cpu())
    return kept


def _along(mask: Tensor, place: int) -> Tensor:
    """Whether there is anything at each index of one dimension."""
    others = [other for other in range(mask.dim()) if other != place]
    return mask.any(others) if others else mask


def _alive_units(wiring: Wiring, kept: dict[str, Tensor]) -> Tensor:
    """Whether each unit is alive; what nothing reads by a weight is left alone. [unit]"""
    readable, read, written = torch.zeros(3, len(wiring.units.parent), dtype=torch.bool)
    embedded = torch.zeros_like(read)
    for use in wiring.uses:
        if use.name not in kept:
            continue
        for place, units in enumerate(use.units_by_dimension):
            if units is None:
                continue
            here = _along(kept[use.name], place)
            if place in use.layout.source_places:
                readable[units] = True
                read[units] |= here
            elif "word" in use.axes:
                embedded[units] = True
                written[units] |= here
    external = torch.tensor(sorted(wiring.external), dtype=torch.long)
    read[external[~_are_words(wiring)[external]]] = True
    alive = (read | ~readable) & (written | ~embedded)
    alive[OUTSIDE] = True
    return alive


def _are_words(wiring: Wiring) -> Tensor:
    words = torch.zeros(len(wiring.units.parent), dtype=torch.bool)
    for axes in wiring.axes.values():
        if "word" in axes:
            words[axes["word"]] = True
    return words


def _of_living(wiring: Wiring, kept: dict[str, Tensor], units: Tensor) -> dict[str, Tensor]:
    """The parts of the masks that belong to living units."""
    return {name: mask & wiring.weights[name].of_living(units, range(mask.dim())) for name, mask in kept.items()}


def _counted(wiring: Wiring, kept: dict[str, Tensor], units: Tensor) -> Alive:
    embeddings = {path: axes for path, axes in wiring.axes.items() if "word" in axes}
    living, gates = {}, {}
    for layer in wiring.layers:
        weights = {local: wiring.weights[name] for local, name in layer.weights.items()}
        axis = next(iter(wiring.weights[name].layout.destination[-1] for name in layer.weights.values()))
        numbers = next(weight.axes[axis] for weight in weights.values() if axis in weight.axes)
        living[layer.label] = int(units[numbers].count_nonzero())
        incoming = torch.zeros(len(layer.cell.gates), len(numbers), dtype=torch.bool)
        for local, weight in weights.items():
            if weight.name in kept and weight.layout.destination == ("gate", axis):
                rows = kept[weight.name].flatten(2).any(2) if kept[weight.name].dim() > 2 else kept[weight.name]
                incoming[[layer.cell.gates.index(gate) for gate in layer.cell.gates_of(local)]] |= rows
        gates[layer.label] = int((incoming & units[numbers]).count_nonzero())
    return Alive(
        {path: int(units[axes["word"]].count_nonzero()) for path, axes in embeddings.items()},
        {path: int(units[axes["unit"]].count_nonzero()) for path, axes in embeddings.items()},
        living,
        gates,
        sum(int(mask.count_nonzero()) for mask in _of_living(wiring, kept, units).values()),
        sum(mask.numel() for mask in kept.values()),
    )
