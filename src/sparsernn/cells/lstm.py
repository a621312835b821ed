"""Long short-term memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sparsernn.cells.cell import PLAIN_AXES, Cell
from sparsernn.cells.parts.activations import ACTIVATIONS, CHOICES, GATE_ACTIVATIONS
from sparsernn.cells.parts.arithmetic import Math, Multiply, State, Vector


@dataclass(frozen=True, kw_only=True)
class LSTM(Cell):
    """c' = f c + i g, h' = o act(c'), with gates i, f, o squashed and g = act(..), act = tanh.

    Arguments:
        gate_activation: "sigmoid", or "hard_sigmoid" = clip(0.2 x + 0.5, 0, 1) as in Keras and Theano.
        activation: what takes tanh's place: a name in `cells.parts.activations`.
        projected: whether a matrix makes a narrower h' of o act(c'); modules set it from `proj_size`.
        forget_bias: initial value of the forget gate's bias_ih; None leaves torch's random one.
    Shapes: weight_ih [4*hidden input], gates in torch's order i, f, g, o; weight_hr [projection hidden].
    Raises: UserError for an option that is out of range.
    Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Sak et al. 2014 (projection).
    Deviations: none known; equal to torch.nn.LSTM with the default options.
    """

    gates = ("input", "forget", "candidate", "output")
    states = ("hidden", "memory")
    levels = {**Cell.levels, "projection": "projection"}
    choices = CHOICES

    gate_activation: str = "sigmoid"
    activation: str = "tanh"
    projected: bool = False
    forget_bias: float | None = field(default=None, compare=False)

    @property
    def axes(self) -> Mapping[str, str]:
        if not self.projected:
            return PLAIN_AXES
        return PLAIN_AXES | {"weight_hh": "gate hidden <- projection", "weight_hr": "projection <- hidden"}

    @property
    def state_axes(self) -> tuple[str, ...]:
        return ("projection" if self.projected else "hidden", "hidden")

    def first_biases(self) -> Mapping[str, Mapping[str, float]]:
        if self.forget_bias is None:
            return {}
        return {"bias_ih": {"forget": self.forget_bias}, "bias_hh": {"forget": 0.0}}

    def step(self, x: Vector, state: State, multiply: Multiply, math: Math) -> State:
        hidden, memory = state
        squash, activation = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        i, f, g, o = math.split(x + multiply("weight_hh", hidden), 4)
        memory = squash(math, f) * memory + squash(math, i) * activation(math, g)
        hidden = squash(math, o) * activation(math, memory)
        return (multiply("weight_hr", hidden) if self.projected else hidden), memory
