"""States with which layers begin: their units are those of the layer, unless all of them have to stay anyway."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsernn.structure.axes import NOUGHT, OUTSIDE
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.numbers import units_in


class Starts:
    """The states that layers were given, until all forwards are over.

    Arguments:
        wiring: where they are joined with the layers.
    """

    def __init__(self, wiring: Wiring):
        self.wiring = wiring
        self._waiting: list[tuple[str, list[tuple[Tensor, Tensor]]]] = []

    def add(self, path: str, layers: list[Tensor], state: Tensor) -> None:
        """A module begins with a state.

        Arguments:
            layers: units of each of its layers and directions.
            state: the shadow of it. [layers*directions batch hidden]
        """
        pairs = []
        for units, rows in zip(layers, state, strict=True):
            for row in rows.unique(dim=0):
                pairs.append((units, row))
                self.wiring.started |= units_in(row[row < 0])
        if not all(torch.equal(units, row) for units, row in pairs):
            self._waiting.append((path, pairs))

    def join(self) -> None:
        """Join what was added; a state of which nothing can go comes in whole, and the layer takes what it keeps."""
        waiting = self._waiting
        while whole := [start for start in waiting if self._stays(start[1])]:
            done = {id(start) for start in whole}
            waiting = [start for start in waiting if id(start) not in done]
            for path, pairs in whole:
                self.wiring.fed[path] = False
                for _, row in pairs:
                    self.wiring.mark(row, f"{path} begins with it")
        for _, pairs in waiting:
            for units, row in pairs:
                self.wiring.join(units, row)

    def _stays(self, pairs: list[tuple[Tensor, Tensor]]) -> bool:
        """Whether none of the units in a state can go, and they are others than those of the layer itself."""
        find = self.wiring.units.find
        external = set(find(torch.tensor(sorted({OUTSIDE, *self.wiring.external}))).tolist())
        for units, row in pairs:
            sources, targets = find(row[row != NOUGHT].abs()), find(units)
            if not set(sources.tolist()) <= external or bool(torch.isin(sources, targets[targets != OUTSIDE]).any()):
                return False
        return True
