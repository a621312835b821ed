"""Fast gated recurrent neural network: one pair of matrices for both gates, each of which may have a low rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from sparsernn.cells.cell import Cell, Sizes
from sparsernn.cells.parts.activations import ACTIVATIONS, CHOICES, GATE_ACTIVATIONS
from sparsernn.cells.parts.arithmetic import Math, Multiply, State, Vector
from sparsernn.errors import UserError

FIRST = {"zeta": 1.0, "nu": -4.0}
"""Logits of zeta and nu before training: 0.73 and 0.02."""
FIRST_HARD = {"zeta": 1.0, "nu": -2.0}
"""The same where the sigmoid is hard, which has no slope at -4: 0.7 and 0.1."""


OWN_GATES = {
    "weight_ih": ("candidate",),
    "weight_hh": ("candidate",),
    "bias_update": ("update",),
    "bias_candidate": ("candidate",),
    "zeta": ("zeta",),
    "nu": ("nu",),
}
"""The gates of each weight."""


@dataclass(frozen=True, kw_only=True)
class FastGRNN(Cell):
    """h' = (zeta (1 - z) + nu) n + z h, with z = s(a + b_z), n = tanh(a + b_n) and a = W x + U h, s the sigmoid.

    zeta = s(zeta'), nu = s(nu'). Where ranks are given, W = W_1 W_2 and U = U_1 U_2; the units of a rank are units like
    others, which can be pruned and cut away.

    Arguments:
        input_rank, hidden_rank: of W and U; None: they are whole.
        zeta, nu: numbers in [0, 1] that are not trained; None: trained.
        gate_activation: "sigmoid", or "hard_sigmoid" = clip(0.2 x + 0.5, 0, 1), which small machines compute at once.
        activation: what takes tanh's place: a name in `cells.parts.activations`.
    Shapes: weight_ih [hidden input] or [hidden input_rank], weight_hh likewise; weight_iu [input_rank input], weight_hu
        [hidden_rank hidden]; zeta, nu [hidden].
    Raises: UserError for an option that is out of range.
    Source: Kusupati et al. 2018, equations 3 and 4, and section 3.2 for low rank, sparsity and 8 bits.
    Deviations: each unit has a zeta and a nu of its own, where the source has one pair for all.
    """

    gates = ("update", "candidate")
    levels = {**Cell.levels, "rank": "input_rank hidden_rank"}
    choices = CHOICES

    input_rank: int | None = None
    hidden_rank: int | None = None
    zeta: float | None = None
    nu: float | None = None
    gate_activation: str = "sigmoid"
    activation: str = "tanh"

    @property
    def own_gates(self) -> Mapping[str, tuple[str, ...]]:
        return OWN_GATES

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("input_rank", "hidden_rank"):
            rank = getattr(self, name)
            if rank is not None and rank < 1:
                raise UserError(f"{name} is {rank!r}", "a whole number of at least 1, or None", "pass another rank")
        for name in FIRST:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"{name} is {value!r}", "a number in [0, 1], or None", "leave it out to train it")

    @property
    def inner_axes(self) -> tuple[str, ...]:
        return tuple(name for name in ("input_rank", "hidden_rank") if getattr(self, name) is not None)

    @property
    def axes(self) -> Mapping[str, str]:
        axes = {"weight_ih": "gate hidden <- input", "weight_hh": "gate hidden <- hidden"}
        if self.input_rank is not None:
            axes |= {"weight_ih": "gate hidden <- input_rank", "weight_iu": "input_rank <- input"}
        if self.hidden_rank is not None:
            axes |= {"weight_hh": "gate hidden <- hidden_rank", "weight_hu": "hidden_rank <- hidden"}
        axes |= {"bias_update": "gate hidden", "bias_candidate": "gate hidden"}
        return axes | {name: "gate hidden" for name in FIRST if getattr(self, name) is None}

    def sizes(self, input_size: int, hidden_size: int) -> dict[str, int]:
        return super().sizes(input_size, hidden_size) | {axis: getattr(self, axis) for axis in self.inner_axes}

    def resized(self, kept: Mapping[str, Sequence[int]]) -> Self:
        return replace(self, **{axis: len(kept[axis]) for axis in self.inner_axes})

    def first_bounds(self, name: str, sizes: Sizes) -> float | Sequence[float] | None:
        return None if name in FIRST else super().first_bounds(name, sizes)

    def first_biases(self) -> Mapping[str, Mapping[str, float]]:
        first = FIRST if self.gate_activation == "sigmoid" else FIRST_HARD
        return {"bias_update": {"update": 1.0}, **{name: {name: value} for name, value in first.items()}}

    def project(self, x: Vector, multiply: Multiply, math: Math) -> Vector:
        return multiply("weight_ih", x if self.input_rank is None else multiply("weight_iu", x))

    def step(self, x: Vector, state: State, multiply: Multiply, math: Math) -> State:
        (hidden,) = state
        squash, activation = GATE_ACTIVATIONS[self.gate_activation], ACTIVATIONS[self.activation]
        both = x + multiply("weight_hh", hidden if self.hidden_rank is None else multiply("weight_hu", hidden))
        update = squash(math, both + multiply("bias_update"))
        candidate = activation(math, both + multiply("bias_candidate"))
        mixing = (("zeta", self.zeta), ("nu", self.nu))
        zeta, nu = (squash(math, multiply(name)) if value is None else value for name, value in mixing)
        return ((zeta * (1 - update) + nu) * candidate + update * hidden,)
