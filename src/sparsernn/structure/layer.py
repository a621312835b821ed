"""What a method may know of a recurrent cell: its gates, its states, its axes and one pure step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional as F

from sparsernn.structure.axes import Layout

Weights = Mapping[str, Tensor]
State = tuple[Tensor, ...]


def project(weights: Weights, x: Tensor) -> Tensor:
    """The part of all gates that does not depend on the state: x W^T + b.

    Shapes: x [... input] -> [... gates*hidden], for any number of leading dimensions (time included).
    """
    return F.linear(x, weights["weight_ih"], weights.get("bias_ih"))


@dataclass(frozen=True)
class Recurrence:
    """One layer of a recurrent network, in one direction, as names and a pure function.

    Attributes:
        gates: gate names in storage order.
        states: state names; the first is the output.
        axes: layout text of every weight, by its local name ("weight_ih").
        levels: granularity name -> the axes whose indices are its groups.
        silent: the gate that holds a unit at zero, from a zero state, when all of its own inputs are zero.
        advance: (weights, projected [batch gates*hidden], state) -> next state.
        own_gates: gate names of a weight that has fewer gates than the cell.
        modulated: (gate, local name of a bias, other gate): that gate's part of the bias is multiplied by the other.
        weights: local name -> name in the model; filled by `describe_layers`.
        where: the module's name and the layer's suffix in the model; filled by `describe_layers`.
        project: (weights, x [... input]) -> the part of the gates that the state does not enter.
        advance_all: (weights, x [time batch input], state) -> the state after all steps, quicker than step by step and
            differentiable once; it gives None for what it cannot compute.
    """

    gates: tuple[str, ...]
    states: tuple[str, ...]
    axes: Mapping[str, str]
    levels: Mapping[str, str]
    silent: str
    advance: Callable[[Weights, Tensor, State], State]
    own_gates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    modulated: tuple[tuple[str, str, str], ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    where: tuple[str, str] = ("", "")
    project: Callable[[Weights, Tensor], Tensor] = project
    advance_all: Callable[[Weights, Tensor, State], State | None] | None = None

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        """One time step. Shapes: x [batch input], each state [batch hidden]."""
        return self.advance(weights, self.project(weights, x), state)

    def gates_of(self, name: str) -> tuple[str, ...]:
        """Gate names along one weight's gate axis."""
        return self.own_gates.get(name, self.gates)

    def layout(self, name: str) -> Layout:
        """The layout of one weight, by its local name."""
        return Layout.parse(self.axes[name], self.gates_of(name))

    @property
    def label(self) -> str:
        """ "lstm.l0_reverse": the module's name and the layer's suffix."""
        module, suffix = self.where
        return ".".join(part for part in (module, suffix) if part)
