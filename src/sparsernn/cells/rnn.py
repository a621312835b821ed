"""The plain recurrent layer."""

from dataclasses import dataclass

from sparsernn.cells.cell import Cell
from sparsernn.cells.parts.activations import ACTIVATIONS
from sparsernn.cells.parts.arithmetic import Math, Multiply, State, Vector


@dataclass(frozen=True, kw_only=True)
class RNN(Cell):
    """h' = act(W x + b + U h + b').

    Arguments:
        nonlinearity: act, "tanh", "relu" or another name in `cells.parts.activations`.
        activation: the same, as the other cells call it; takes the place of `nonlinearity` where it is given.
    Shapes: weight_ih [hidden input], weight_hh [hidden hidden].
    Raises: UserError for an option that is out of range.
    Source: Elman 1990.
    Deviations: none known; equal to torch.nn.RNN with tanh and relu.
    """

    gates = ("candidate",)
    positional = ("nonlinearity",)
    choices = {"nonlinearity": ACTIVATIONS, "activation": (None, *ACTIVATIONS)}

    nonlinearity: str = "tanh"
    activation: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation is not None:
            object.__setattr__(self, "nonlinearity", self.activation)
            object.__setattr__(self, "activation", None)

    def step(self, x: Vector, state: State, multiply: Multiply, math: Math) -> State:
        return (ACTIVATIONS[self.nonlinearity](math, x + multiply("weight_hh", state[0])),)
