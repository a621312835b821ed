"""Simple recurrent unit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from sparsernn.cells.cell import ScannedCell, Sizes
from sparsernn.cells.parts.arithmetic import Math, Multiply, Vector
from sparsernn.cells.parts.automata import Automata, automata_of


@dataclass(frozen=True, kw_only=True)
class SRU(ScannedCell):
    """c' = f c + (1 - f) W x, h = r tanh(c') + (1 - r) x: automata of one state, and a highway around them.

    f = sigmoid(W_f x + b_f), r = sigmoid(W_r x + b_r). Where a layer's input has another width than its output,
    a matrix brings it to that width on the highway. There is no recurrent dropout.

    Arguments:
        straight: whether the highway has no matrix; None: where input and output have one width.
    Shapes: weight_ih [3*hidden input], gates candidate, forget, output; states h and c.
    Raises: none beyond those of `Cell`.
    Source: Lei & Zhang 2017, equations 3 to 7 (the first version); a rational recurrence after Peng et al. 2018.
    Deviations: gates do not see c, as they do in the version of 2018.
    """

    gates = ("candidate", "forget", "output")
    states = ("hidden", "memory")

    straight: bool | None = None

    @property
    def axes(self) -> Mapping[str, str]:
        axes = {"weight_ih": "gate hidden <- input", "bias_ih": "gate hidden"}
        return axes if self.straight else axes | {"weight_highway": "hidden <- input"}

    @property
    def own_gates(self) -> Mapping[str, tuple[str, ...]]:
        return {"bias_ih": ("forget", "output")}

    @property
    def passes_input(self) -> bool:
        return bool(self.straight)

    def sized(self, sizes: Sizes) -> Self:
        return replace(self, straight=sizes["input"] == sizes["hidden"]) if self.straight is None else self

    def project(self, x: Vector, multiply: Multiply, math: Math) -> Vector:
        """Candidates, logits of both gates, and what goes along the highway."""
        highway = x if self.straight else multiply("weight_highway", x)
        return math.join([multiply("weight_ih", x), highway])

    def automata(self, sizes: Sizes) -> Automata:
        return automata_of((1,) * sizes["hidden"])

    def tokens(self, x: Vector, math: Math) -> Vector:
        return math.join(math.split(x, 4)[:2])

    def put_out(self, x: Vector, read: Vector, math: Math) -> Vector:
        output, highway = math.split(x, 4)[2:]
        return math.sigmoid(output) * math.tanh(read) + math.sigmoid(-output) * highway
