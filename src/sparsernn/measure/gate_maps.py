"""Map of a layer's gates: which of each living unit's gates vary, the kinds of units, and how alike two maps are."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from sparsernn.errors import UserError

Kind = tuple[str, ...]  # the gates of a unit that vary


@dataclass(frozen=True)
class GateMap:
    """The gates of one recurrent layer, in one direction.

    Arguments:
        label: of the layer; cell: its class; gates: their names.
        alive: of each unit.
        constant: gate -> of each unit the value that it always has, or None where it varies.
    """

    label: str
    cell: str
    gates: tuple[str, ...]
    alive: tuple[bool, ...]
    constant: Mapping[str, tuple[float | None, ...]]

    @classmethod
    def from_json(cls, layer: Mapping[str, Any]) -> Self:
        """One entry of "layers" in structure.json. Raises: ValueError, KeyError or TypeError for anything else."""
        gates, alive = tuple(map(str, layer["gates"])), tuple(map(bool, layer["alive"]))
        constant = {}
        for gate in gates:
            values = layer["constant"][gate]
            constant[gate] = tuple(None if value is None else float(value) for value in values)
        if not gates or any(len(values) != len(alive) for values in constant.values()):
            raise ValueError("a gate has not one value a unit")
        return cls(str(layer["label"]), str(layer["cell"]), gates, alive, constant)

    def kind(self, unit: int) -> Kind:
        """The gates of a unit that vary."""
        return tuple(gate for gate in self.gates if self.constant[gate][unit] is None)

    def kinds(self) -> dict[Kind, list[int]]:
        """Living units by kind: those with most varying gates first, then in the order of the gates."""
        units: dict[Kind, list[int]] = {}
        for unit, lives in enumerate(self.alive):
            if lives:
                units.setdefault(self.kind(unit), []).append(unit)
        return dict(sorted(units.items(), key=lambda item: (-len(item[0]), [self.gates.index(g) for g in item[0]])))

    def varying(self) -> dict[str, int]:
        """How many living units each gate varies in."""
        counts = dict.fromkeys(self.gates, 0)
        for kind, units in self.kinds().items():
            for gate in kind:
                counts[gate] += len(units)
        return counts

    @property
    def living(self) -> int:
        """How many units live."""
        return sum(self.alive)


class Agreement(NamedTuple):
    """How alike the gates of two networks are.

    Attributes:
        correlation: Pearson's, over the gates of all layers, of the share of living units in which each gate varies;
            None where these shares are all equal in one of the networks.
        distance: total variation between the shares of the kinds of units, 0 to 1, a mean over layers.
    """

    correlation: float | None
    distance: float


def agreement(first: Sequence[GateMap], second: Sequence[GateMap]) -> Agreement:
    """How alike the maps of two networks with the same layers are.

    Raises: UserError if the layers or their gates are others.
    """
    if not first or not comparable(first, second):
        raise UserError(
            "the maps are not of the same layers and gates",
            "two networks of one architecture and cell, with at least one layer",
            "compare networks that only differ in how they were pruned",
        )
    shares = [_shares(maps) for maps in (first, second)]
    distances = []
    for one, other in zip(first, second, strict=True):
        ours, theirs = _kind_shares(one), _kind_shares(other)
        gaps = (abs(ours.get(kind, 0.0) - theirs.get(kind, 0.0)) for kind in ours.keys() | theirs.keys())
        distances.append(sum(gaps) / 2)
    constant = any(max(values) == min(values) for values in shares)
    return Agreement(None if constant else statistics.correlation(*shares), statistics.mean(distances))


def comparable(first: Sequence[GateMap], second: Sequence[GateMap]) -> bool:
    """Whether two networks have layers of the same names, cells and gates."""
    return [(one.label, one.cell, one.gates) for one in first] == [(one.label, one.cell, one.gates) for one in second]


def _shares(maps: Sequence[GateMap]) -> list[float]:
    return [count / max(one.living, 1) for one in maps for count in one.varying().values()]


def _kind_shares(one: GateMap) -> dict[Kind, float]:
    return {kind: len(units) / one.living for kind, units in one.kinds().items()}
