"""Recurrent highway network: several highway steps at each time step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sparsernn.cells.cell import Cell
from sparsernn.cells.parts.activations import ACTIVATIONS
from sparsernn.cells.parts.arithmetic import Math, Multiply, State, Vector
from sparsernn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RecurrentHighwayNetwork(Cell):
    """s_l = (h_l - s_{l-1}) t_l + s_{l-1} for l = 1..depth, h = tanh, t = sigmoid, coupled carry 1 - t.

    The input enters the first of the `depth` micro-steps; the state after the last one is the output.
    Recurrent dropout draws one mask a sequence and forward, held over time and depth, on what the products read.

    Arguments:
        depth: micro-steps a time step.
        activation: what takes tanh's place: a name in `cells.parts.activations`.
        transform_bias: initial bias of every transform gate; None leaves it random (-2 in the authors' code).
    Shapes: weight_ih [2*hidden input], weight_hh_d<l> [2*hidden hidden]; candidate, transform.
    Raises: UserError for an option that is out of range.
    Source: Zilly et al. 2017, equations 7 to 9.
    Deviations: none known.
    """

    gates = ("candidate", "transform")
    known_as = ("rhn", "recurrent_highway_network")
    choices = {"activation": ACTIVATIONS}
    dropout_per = "sequence"

    depth: int = 3
    activation: str = "tanh"
    transform_bias: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 1:
            raise UserError(f"depth is {self.depth}", "a whole number of at least 1", "pass the number of micro-steps")

    @property
    def axes(self) -> Mapping[str, str]:
        axes = {"weight_ih": "gate hidden <- input", "bias_ih": "gate hidden"}
        axes |= {f"weight_hh_d{level}": "gate hidden <- hidden" for level in range(self.depth)}
        return axes | {f"bias_hh_d{level}": "gate hidden" for level in range(self.depth)}

    def first_biases(self) -> Mapping[str, Mapping[str, float]]:
        if self.transform_bias is None:
            return {}
        levels = {f"bias_hh_d{level}": {"transform": self.transform_bias} for level in range(self.depth)}
        return {"bias_ih": {"transform": 0.0}, **levels}

    def step(self, x: Vector, state: State, multiply: Multiply, math: Math) -> State:
        (hidden,) = state
        activation = ACTIVATIONS[self.activation]
        for level in range(self.depth):
            gates = multiply(f"weight_hh_d{level}", hidden)
            candidate, transform = math.split(gates + x if level == 0 else gates, 2)
            transform = math.sigmoid(transform)
            hidden = (activation(math, candidate) - hidden) * transform + hidden
        return (hidden,)
