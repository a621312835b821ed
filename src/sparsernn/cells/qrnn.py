"""Quasi-recurrent layers."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsernn.cells.cell import ScannedCell, Sizes
from sparsernn.cells.parts.arithmetic import Math, Vector
from sparsernn.cells.parts.automata import Automata, automata_of


@dataclass(frozen=True, kw_only=True)
class QRNN(ScannedCell):
    """c' = f c + (1 - f) z with z = tanh(W_z x), f = sigmoid(W_f x); h = c', or h = o c' with o = sigmoid(W_o x).

    Arguments:
        pooling: "fo" with an output gate, "f" without.
    Shapes: weight_ih [3*hidden input], gates candidate, forget and (fo) output; states h and c.
    Raises: UserError for an option that is out of range.
    Source: Bradbury et al. 2017, equations 1 to 4; a rational recurrence after Peng et al. 2018.
    Deviations: filters of width 1 only, with a bias; no ifo-pooling, no zoneout.
    """

    gates = ("candidate", "forget", "output")
    states = ("hidden", "memory")
    choices = {"pooling": ("f", "fo")}

    pooling: str = "fo"

    @property
    def axes(self) -> Mapping[str, str]:
        return {"weight_ih": "gate hidden <- input", "bias_ih": "gate hidden"}

    @property
    def own_gates(self) -> Mapping[str, tuple[str, ...]]:
        return {} if self.pooling == "fo" else dict.fromkeys(self.axes, self.gates[:2])

    def automata(self, sizes: Sizes) -> Automata:
        return automata_of((1,) * sizes["hidden"])

    def tokens(self, x: Vector, math: Math) -> Vector:
        candidate, forget = math.split(x, len(self.gates_of("weight_ih")))[:2]
        return math.join([math.tanh(candidate), forget])

    def put_out(self, x: Vector, read: Vector, math: Math) -> Vector:
        output = math.split(x, len(self.gates_of("weight_ih")))[2:]
        return math.sigmoid(output[0]) * read if output else read
