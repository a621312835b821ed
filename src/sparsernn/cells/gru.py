"""Gated recurrent unit, in both of its forms."""

from dataclasses import dataclass

from sparsernn.cells.cell import Cell
from sparsernn.cells.parts.activations import ACTIVATIONS, CHOICES, GATE_ACTIVATIONS
from sparsernn.cells.parts.arithmetic import Math, Multiply, State, Vector


@dataclass(frozen=True, kw_only=True)
class GRU(Cell):
    """h' = (1 - z) n + z h, with a candidate n that sees the state through the reset gate r.

    reset="after" (torch, cuDNN): n = tanh(W x + b + r (U h + b')). reset="before" (the original):
    n = tanh(W x + b + U (r h) + b').

    Arguments:
        reset: where the reset gate acts, "after" or "before" the recurrent product.
        gate_activation: "sigmoid" or "hard_sigmoid".
        activation: what takes tanh's place: a name in `cells.parts.activations`.
    Shapes: weight_ih [3*hidden input], gates in torch's order r, z, n.
    Raises: UserError for an option that is out of range.
    Source: Cho et al. 2014; the "after" form is that of cuDNN.
    Deviations: none known. Chung et al. 2014 and others write h' = (1 - z) h + z n, with 1 - z for z.
    """

    gates = ("reset", "update", "candidate")
    mirrored = ("update",)
    choices = {"reset": ("after", "before"), **CHOICES}

    reset: str = "after"
    gate_activation: str = "sigmoid"
    activation: str = "tanh"

    def step(self, x: Vector, state: State, multiply: Multiply, math: Math) -> State:
        (hidden,) = state
        squash, activation = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        r, z, n = math.split(x, 3)
        if self.reset == "after":
            u_r, u_z, u_n = math.split(multiply("weight_hh", hidden), 3)
            update = squash(math, z + u_z)
            candidate = activation(math, n + squash(math, r + u_r) * u_n)
        else:
            u_r, u_z = math.split(multiply("weight_hh", hidden, ("reset", "update")), 2)
            update = squash(math, z + u_z)
            seen = squash(math, r + u_r) * hidden
            candidate = activation(math, n + multiply("weight_hh", seen, ("candidate",)))
        return ((1 - update) * candidate + update * hidden,)
