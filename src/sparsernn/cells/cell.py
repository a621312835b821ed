"""Recurrent cell: its gates, its states, the axes of its weights and one pure step; what every cell declares."""

from __future__ import annotations

import abc
import importlib
import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from sparsernn.cells.parts.arithmetic import Math, Multiply, State, Vector
from sparsernn.cells.parts.automata import Automata, ScanConstants
from sparsernn.typed import check_options

Sizes = Mapping[str, int]
PLAIN_AXES = {
    "weight_ih": "gate hidden <- input",
    "weight_hh": "gate hidden <- hidden",
    "bias_ih": "gate hidden",
    "bias_hh": "gate hidden",
}


@dataclass(frozen=True)
class Line:
    """Units that stand in line within a unit of another axis, such as the states of automata.

    A unit in line exists only with all before it, and with its owner; an owner only with its first unit.

    Attributes:
        units: axis of the units in line, those of one owner side by side.
        owners: axis of the owners.
        owner: for each unit in line, the number of its owner.
        reach: a unit is always zero if it writes nothing itself or if so many units before it are always zero; what
            stands before the first one never is.
        whole: whether an owner hears its last unit only, so that no line can be shortened.
    """

    units: str
    owners: str
    owner: tuple[int, ...]
    reach: int = 1
    whole: bool = False


class _OptionsAlone:
    """The signature of a cell to those who ask: its options, by name."""

    def __get__(self, cell: Cell | None, kind: type[Cell]) -> inspect.Signature:
        by_name = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature(
            [inspect.Parameter(field.name, by_name, default=field.default) for field in fields(kind)]
        )


@dataclass(frozen=True, kw_only=True)
class Cell(abc.ABC):
    """The declaration of one recurrent layer: options that change what a step computes, as a frozen dataclass.

    Called with sizes, as in ``GRU(32, 64, reset="before")``, a cell makes the torch module of `sparsernn.nn` that is
    built from it.

    Attributes:
        gates: names of the gates, in the order in which they are stacked along dimension 0.
        states: names of what is carried from step to step; the first is the output.
        state_axes: the axis of each state; the first is that of the output.
        axes: local name of every weight -> its layout, in a sentence such as "gate hidden <- input".
        own_gates: gates of a weight that has fewer than the cell.
        levels: granularity -> the axes whose indices are its groups: "hidden", all that belongs to a unit; "gate hidden
            <-", all that comes in to a gate, without biases; "<- hidden", all that reads a unit, in whatever module.
        groups_count_biases: whether the norm of a group counts its biases, which go with it in any case.
        silent: the gate that holds a unit at zero, from a zero state, when all of its own inputs are zero.
        mirrored: gates that some papers write as 1 - gate: what they add to such a gate is taken from this one.
        reads_all_states: whether gates see all states, not the output alone; a step Jacobian is then that of them all.
        known_as: other names of the cell.
        positional: options that torch's class of the same name takes in the midst of its sizes.
        choices: option -> the values that it may have.
        dropout_per: whether recurrent dropout draws a mask for a "forward" or for each "sequence" of it.
    """

    gates: ClassVar[tuple[str, ...]]
    states: ClassVar[tuple[str, ...]] = ("hidden",)
    levels: ClassVar[Mapping[str, str]] = {
        "neuron": "hidden",
        "gate": "gate hidden <-",
        "input": "input",
        "outgoing": "<- hidden",
        "read": "<- hidden input",
    }
    groups_count_biases: ClassVar[bool] = False
    silent: ClassVar[str] = "candidate"
    mirrored: ClassVar[tuple[str, ...]] = ()
    reads_all_states: ClassVar[bool] = False
    known_as: ClassVar[tuple[str, ...]] = ()
    positional: ClassVar[tuple[str, ...]] = ()
    choices: ClassVar[Mapping[str, Collection[object]]] = {}
    dropout_per: ClassVar[str] = "forward"

    def __new__(cls, *sizes: Any, **options: Any) -> Any:
        if sizes or "input_size" in options:
            modules = importlib.import_module("sparsernn.nn")
            return modules.module_of(cls)(*sizes, **options)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Raises: UserError for an option of another type or value than the cell declares."""
        check_options(self)

    @property
    def state_axes(self) -> tuple[str, ...]:
        return ("hidden",) * len(self.states)

    @property
    def inner_axes(self) -> tuple[str, ...]:
        """Axes of units that no state has, such as the rank of a matrix."""
        return ()

    @property
    def own_axes(self) -> tuple[str, ...]:
        """Axes of a layer's own units."""
        return (*self.state_axes, *self.inner_axes)

    @property
    def axes(self) -> Mapping[str, str]:
        return PLAIN_AXES

    @property
    def own_gates(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    @abc.abstractmethod
    def step(self, x: Vector, state: State, multiply: Multiply, math: Math) -> State:
        """The states after one step.

        Shapes: x, what `project` makes of the input, [.. gate*hidden]; states [.. hidden].
        """

    def project(self, x: Vector, multiply: Multiply, math: Math) -> Vector:
        """The part of the gates that the state does not enter. Shapes: [.. input] -> [.. gate*hidden]."""
        return multiply("weight_ih", x)

    def sizes(self, input_size: int, hidden_size: int) -> dict[str, int]:
        """Units along each axis of one layer."""
        return {"input": input_size, "hidden": hidden_size, "memory": hidden_size}

    def hidden_size(self, counts: Sizes) -> int:
        """The size from which `sizes` makes a layer whose weights have so many units along their axes."""
        return counts[self.axes["weight_ih"].split()[1]]

    def sized(self, sizes: Sizes) -> Self:
        """The cell of a layer of these sizes, where options follow from them."""
        return self

    def resized(self, kept: Mapping[str, Sequence[int]]) -> Self:
        """The cell of the same layer when only some units of each axis are left.

        Raises: ValueError if these units do not make a layer.
        """
        return self

    def gates_of(self, name: str) -> tuple[str, ...]:
        """Gate names along the gate axis of one weight."""
        return self.own_gates.get(name, self.gates)

    def rows(self, name: str, gates: Sequence[str] | None, height: int) -> slice:
        """The rows of some neighbouring gates of a weight that is so high; None: of all of them."""
        if gates is None:
            return slice(0, height)
        stacked = self.gates_of(name)
        width, first = height // len(stacked), stacked.index(gates[0])
        return slice(first * width, (first + len(gates)) * width)

    def bias_rows(self, name: str, height: int) -> tuple[str, slice]:
        """The local name of the bias that is added to a product, and the rows of the product to which it is."""
        local = "bias" + name.removeprefix("weight")
        gates = self.gates_of(local) if "gate" in self.axes.get(local, "").split() else None
        return local, self.rows(name, gates, height)

    def is_diagonal(self, name: str) -> bool:
        """Whether a weight multiplies every unit by numbers of its own."""
        return self.axes[name].endswith("<- self")

    def shape(self, name: str, sizes: Sizes) -> tuple[int, ...]:
        """The stored shape of one weight, gates stacked along dimension 0."""
        words = [word for word in self.axes[name].replace("<-", " ").split() if word not in ("gate", "self")]
        lengths = [sizes[word] for word in words]
        if "gate" in self.axes[name].split():
            lengths[0] *= len(self.gates_of(name))
        return tuple(lengths)

    def starting_values(self, sizes: Sizes) -> list[float]:
        """What each state holds before the first step where nothing else is said."""
        return [0.0] * len(self.states)

    def first_bounds(self, name: str, sizes: Sizes) -> float | Sequence[float] | None:
        """A weight begins uniform within this bound, or within one a row; None: it begins at 0."""
        return 1 / math.sqrt(sizes["hidden"])

    def first_biases(self) -> Mapping[str, Mapping[str, float]]:
        """Biases that begin at a fixed value: local name -> gate -> value."""
        return {}

    @property
    def lines(self) -> Line | None:
        """Units that stand in line, if any do."""
        return None

    @property
    def never_silent(self) -> bool:
        """Whether a unit without weights is not zero all the same."""
        return False

    @property
    def passes_input(self) -> bool:
        """Whether unit k of the output is unit k of the input, with something added."""
        return False

    @property
    def reads_state(self) -> bool:
        """Whether any weight multiplies the output of the step before."""
        return any(text.endswith(f"<- {self.state_axes[0]}") for text in self.axes.values())


Cell.__signature__ = _OptionsAlone()  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class ScannedCell(Cell):
    """A cell whose state never enters a gate: automata read the tokens, and what they hold is put out.

    All steps of such a layer can be projected at once and then scanned. The automata carry the last of the states.
    """

    @abc.abstractmethod
    def automata(self, sizes: Sizes) -> Automata:
        """The shape of the automata of one layer."""

    @abc.abstractmethod
    def tokens(self, x: Vector, math: Math) -> Vector:
        """What the automata read: main paths and then logits of self-loops. Shapes: as `step` -> [.. 2*state]."""

    @abc.abstractmethod
    def put_out(self, x: Vector, read: Vector, math: Math) -> Vector:
        """The output of a step, from what the automata give out. Shapes: as `step`, [.. pattern] -> [.. hidden]."""

    def constants(self, multiply: Multiply, math: Math) -> ScanConstants:
        """What does not depend on the token."""
        return ScanConstants(0.0, 1.0)

    def automata_for(self, width: int) -> Automata:
        """The automata of a layer whose last state has this width."""
        return self.automata({self.state_axes[-1]: width})

    def step(self, x: Vector, state: State, multiply: Multiply, math: Math) -> State:
        automata, constants = self.automata_for(state[-1].shape[-1]), self.constants(multiply, math)
        scores = automata.step(math, self.tokens(x, math), constants, state[-1])
        return self.put_out(x, automata.read(math, constants, scores), math), scores
