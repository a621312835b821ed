"""LSTM whose gates also see the memory."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparsernn.cells.cell import PLAIN_AXES, Cell
from sparsernn.cells.parts.activations import ACTIVATIONS
from sparsernn.cells.parts.arithmetic import Math, Multiply, State, Vector


@dataclass(frozen=True, kw_only=True)
class PeepholeLSTM(Cell):
    """An LSTM with connections from the memory to the gates.

    peephole="diagonal": i and f see their own unit's old memory, o its new memory:
    i = s(.. + p_i c), f = s(.. + p_f c), o = s(.. + p_o c'). peephole="full": all four gates see all old
    memories through a matrix, .. + V c.

    Arguments:
        peephole: "diagonal" or "full".
        activation: what takes tanh's place: a name in `cells.parts.activations`.
    Shapes: weight_ih [4*hidden input]; weight_ch [3*hidden] (diagonal) or [4*hidden hidden] (full).
    Raises: UserError for an option that is out of range.
    Source: Gers & Schmidhuber 2000; the full form is that of Zhang & Stadie 2020 (1.32 million weights at 400 units).
    Deviations: none known.
    """

    gates = ("input", "forget", "candidate", "output")
    states = ("hidden", "memory")
    reads_all_states = True
    known_as = ("peephole",)
    choices = {"peephole": ("diagonal", "full"), "activation": ACTIVATIONS}

    peephole: str = "diagonal"
    activation: str = "tanh"

    @property
    def axes(self) -> Mapping[str, str]:
        source = "memory" if self.peephole == "full" else "self"
        return PLAIN_AXES | {"weight_ch": f"gate hidden <- {source}"}

    @property
    def own_gates(self) -> Mapping[str, tuple[str, ...]]:
        return {"weight_ch": ("input", "forget", "output")} if self.peephole == "diagonal" else {}

    def step(self, x: Vector, state: State, multiply: Multiply, math: Math) -> State:
        hidden, memory = state
        activation = ACTIVATIONS[self.activation]
        gates = x + multiply("weight_hh", hidden)
        if self.peephole == "full":
            i, f, g, o = math.split(gates + multiply("weight_ch", memory), 4)
            memory = math.sigmoid(f) * memory + math.sigmoid(i) * activation(math, g)
            return math.sigmoid(o) * activation(math, memory), memory
        i, f, g, o = math.split(gates, 4)
        p_i = multiply("weight_ch", memory, ("input",))
        p_f = multiply("weight_ch", memory, ("forget",))
        memory = math.sigmoid(f + p_f) * memory + math.sigmoid(i + p_i) * activation(math, g)
        return math.sigmoid(o + multiply("weight_ch", memory, ("output",))) * activation(math, memory), memory
