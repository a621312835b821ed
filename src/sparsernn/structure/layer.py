"""Recurrent layer of a model: a cell, the names of its weights in the model, and its place there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor, nn

from sparsernn.cells.cell import Cell
from sparsernn.structure.axes import Layout

Weights = Mapping[str, Tensor]
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of a recurrent network, in one direction.

    Attributes:
        cell: what a step computes.
        weights: local name -> name in the model.
        sizes: units along each axis.
        module: the module's name in the model.
        suffix: of the layer within the module, such as "l0_reverse"; "" where there is only one.
    """

    cell: Cell
    weights: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    module: str = ""
    suffix: str = ""

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """Local name -> layout of every weight."""
        return {local: layout_of(self.cell, local) for local in self.weights}

    def weights_in(self, model: nn.Module) -> dict[str, Tensor]:
        """The layer's weights in a model, unwrapped, without gradients: local name -> tensor."""
        return {local: model.get_parameter(name).detach() for local, name in self.weights.items()}

    @property
    def label(self) -> str:
        """ "lstm.l0_reverse": the module's name and the layer's suffix."""
        return ".".join(part for part in (self.module, self.suffix) if part)


def layout_of(cell: Cell, local: str) -> Layout:
    """The layout of one weight of a cell."""
    return Layout.parse(cell.axes[local], cell.gates_of(local))


def layer_suffixes(count: int, directions: int) -> list[str]:
    """ "l0", "l0_reverse", "l1", ...: layer by layer, the reverse direction second."""
    return [f"l{place // directions}" + ("_reverse" if place % directions else "") for place in range(count)]


def parameter_names(cells: Sequence[Cell], directions: int, bias: bool) -> list[dict[str, str]]:
    """Torch's parameter names, layer by layer, the reverse direction second: local weight name -> parameter name."""
    return [
        {local: f"{local}_{suffix}" for local in cell.axes if bias or "bias" not in local}
        for cell, suffix in zip(cells, layer_suffixes(len(cells), directions), strict=True)
    ]
