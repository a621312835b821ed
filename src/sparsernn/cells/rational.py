"""Rational recurrent layers: a few weighted automata that read a text from left to right."""

import math as numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from sparsernn.cells.cell import Line, ScannedCell, Sizes
from sparsernn.cells.parts.arithmetic import Math, Multiply, Vector
from sparsernn.cells.parts.automata import Automata, ScanConstants, automata_of
from sparsernn.cells.parts.semirings import SEMIRINGS
from sparsernn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Rational(ScannedCell):
    """d patterns, each a weighted automaton that reads n tokens along its main path and any others on self-loops.

    In plus-times, with f_i = sigmoid(v_i x + b_i) and u_i = (1 - f_i) w_i x for state i of a pattern:
    c_i' = f_i c_i + u_i c_{i-1}, c_0 = 1, and the output is c_1 + ... + c_n. Elsewhere u_i = sigmoid(w_i x), and
    sum and product are those of the semiring; "log" takes logarithms of both scores. The hidden size of a module is
    its number of patterns.

    Arguments:
        lengths: n, for all patterns; or one number a pattern; or {n: how many patterns}.
        semiring: "plus_times", "max_times", "max_plus" or "log".
        last_loop: "learned", or "one": the last state keeps its score from token to token (plus-times only). A
            pattern that was shortened ends in a learned one.
        final: "all" states end a match, each with weight one; with a "learned" weight; or only the "last" one.
        epsilon: whether a pattern may pass over one state before each token, at a learned score.
        output_gate: whether a sigmoid of the token multiplies each pattern's output.
        input_dropout: rate of leaving out input features, one mask a sequence, held over time.
        loop_bias: b at first, the source's 0: a state begins by keeping half of its score from token to token. With
            2 it keeps 0.88, and what is far from the end of a long text is found sooner.
        fixed: for each pattern whether its last self-loop has the score one; follows from `last_loop` unless given.
    Shapes: weight_ih [2*states input], main paths and then self-loops, the states of a pattern side by side. States are
        the output and all c: (z_n, c_n) with c_n [layers*directions batch states].
    Raises: UserError for an option that is out of range.
    Source: Dodge et al. 2019, on rational recurrent networks; Peng et al. 2018.
    Deviations: no bias on main paths, where the authors' code stores one that it never uses; initial states of
        log and max_plus are -inf, not -100; where no path has ended the output is 0.
    """

    gates = ("main", "loop")
    states = ("pattern", "state")
    groups_count_biases = True
    silent = "main"
    levels = {
        "neuron": "pattern",
        "pattern": "pattern",
        "state": "state",
        "gate": "gate state <-",
        "edge": "gate state <-",
        "input": "input",
        "outgoing": "<- pattern",
        "read": "<- pattern input",
    }
    known_as = ("wfsa", "rational_rnn")
    choices = {
        "semiring": SEMIRINGS,
        "last_loop": ("learned", "one"),
        "final": ("all", "learned", "last"),
    }

    lengths: int | Sequence[int] | Mapping[Any, int] = 4
    semiring: str = "plus_times"
    last_loop: str = "learned"
    final: str = "all"
    epsilon: bool = False
    output_gate: bool = False
    input_dropout: float = field(default=0.0, compare=False)
    loop_bias: float = field(default=0.0, compare=False)
    fixed: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last_loop == "one" and self.semiring != "plus_times":
            raise UserError(
                f"a fixed last self-loop in {self.semiring}",
                "plus_times, where the self-loop's weights also enter the main path",
                'use last_loop="learned"',
            )
        if not 0 <= self.input_dropout < 1:
            raise UserError(f"input_dropout is {self.input_dropout!r}", "a number in [0, 1)", "pass a rate")
        if not numbers.isfinite(self.loop_bias):
            raise UserError(f"loop_bias is {self.loop_bias!r}", "a finite number", "pass 0, or 2 for long texts")
        object.__setattr__(self, "lengths", _plain(self.lengths))

    @property
    def state_axes(self) -> tuple[str, ...]:
        return self.states

    @property
    def axes(self) -> Mapping[str, str]:
        axes = {"weight_ih": "gate state <- input", "bias_loop": "gate state"}
        if self.final == "learned":
            axes["final_logit"] = "gate state"
        if self.epsilon:
            axes["epsilon_logit"] = "gate pattern"
        if self.output_gate:
            axes |= {"weight_output": "gate pattern <- input", "bias_output": "gate pattern"}
        return axes

    @property
    def own_gates(self) -> Mapping[str, tuple[str, ...]]:
        gates = {"bias_loop": "loop", "final_logit": "final", "epsilon_logit": "epsilon"}
        gates |= {"weight_output": "output", "bias_output": "output"}
        return {local: (gates[local],) for local in self.axes if local in gates}

    @property
    def patterns(self) -> tuple[int, ...]:
        """The length of each pattern of a cell that was sized."""
        return self.lengths if isinstance(self.lengths, tuple) else (int(self.lengths),)  # type: ignore[arg-type]

    @property
    def lines(self) -> Line:
        reach, whole = 2 if self.epsilon else 1, self.final == "last"
        return Line("state", "pattern", automata_of(self.patterns).owner, reach, whole)

    @property
    def never_silent(self) -> bool:
        return self.semiring != "plus_times"  # a state without weights has the score sigmoid(0) elsewhere

    def sizes(self, input_size: int, hidden_size: int) -> dict[str, int]:
        lengths = _lengths(self.lengths, hidden_size)
        return {"input": input_size, "hidden": hidden_size, "pattern": len(lengths), "state": sum(lengths)}

    def hidden_size(self, counts: Sizes) -> int:
        return len(self.patterns)

    def sized(self, sizes: Sizes) -> Self:
        return replace(self, lengths=_lengths(self.lengths, sizes["hidden"]))

    def resized(self, kept: Mapping[str, Sequence[int]]) -> Self:
        lengths, fixed = _shortened(self.automata({}), kept["pattern"], kept["state"])
        return replace(self, lengths=lengths, fixed=fixed)

    def automata(self, sizes: Sizes) -> Automata:
        fixed = self.fixed if self.fixed is not None else (self.last_loop == "one",) * len(self.patterns)
        return automata_of(self.patterns, self.semiring, fixed)

    def starting_values(self, sizes: Sizes) -> list[float]:
        return [0.0, SEMIRINGS[self.semiring].zero]

    def first_bounds(self, name: str, sizes: Sizes) -> Sequence[float] | None:
        """W ~ U(-r, r), r^2 = 6 / (inputs + patterns of the same length), times sqrt(1 - input_dropout)."""
        if not name.startswith("weight"):
            return None
        scale, many = numbers.sqrt(1 - self.input_dropout), Counter(self.patterns)
        bounds = [scale * numbers.sqrt(6 / (sizes["input"] + many[length])) for length in self.patterns]
        if name == "weight_output":
            return bounds
        return [bounds[pattern] for pattern in self.automata({}).owner] * 2

    def first_biases(self) -> Mapping[str, Mapping[str, float]]:
        return {"bias_loop": {"loop": float(self.loop_bias)}}

    def project(self, x: Vector, multiply: Multiply, math: Math) -> Vector:
        """Main paths and self-loops, without bias, and the output gate's logits where there is one."""
        tokens = multiply("weight_ih", x)
        return math.join([tokens, multiply("weight_output", x)]) if self.output_gate else tokens

    def tokens(self, x: Vector, math: Math) -> Vector:
        states = 2 * sum(self.patterns)
        return math.take(x, tuple(range(states)), 0.0) if self.output_gate else x

    def put_out(self, x: Vector, read: Vector, math: Math) -> Vector:
        if not self.output_gate:
            return read
        states = 2 * sum(self.patterns)
        gate = math.take(x, tuple(range(states, states + len(self.patterns))), 0.0)
        return read * math.sigmoid(gate)

    def constants(self, multiply: Multiply, math: Math) -> ScanConstants:
        automata, algebra = self.automata({}), SEMIRINGS[self.semiring]
        final = algebra.constant(math, multiply("final_logit")) if self.final == "learned" else algebra.one
        skip = None
        if self.epsilon:
            skip = math.take(algebra.constant(math, multiply("epsilon_logit")), automata.owner, 0.0)
        return ScanConstants(multiply("bias_loop"), final, skip, self.final == "last")

    def live_lengths(self, has_weights: Sequence[bool]) -> list[int]:
        """How many states of each pattern a path can reach.

        In plus-times no path gets past a state without weights on its main path. has_weights: of each state. [state]
        """
        if self.semiring != "plus_times":
            return list(self.patterns)
        live, start = [], 0
        for length in self.patterns:
            line = list(has_weights[start : start + length])
            live.append(line.index(False) if False in line else length)
            start += length
        return live


def _plain(lengths: Any) -> Any:
    """Lengths as a number or a tuple, which can be compared and hashed."""
    if isinstance(lengths, Mapping):
        return tuple(int(length) for length, count in sorted(lengths.items()) for _ in range(count))
    return tuple(lengths) if isinstance(lengths, Sequence) and not isinstance(lengths, str) else lengths


def _lengths(lengths: Any, patterns: int) -> tuple[int, ...]:
    """The length of each pattern. Raises: UserError unless there is a length of at least 1 for each."""
    is_count = isinstance(lengths, int) and not isinstance(lengths, bool)
    each: tuple[Any, ...] = (lengths,) * patterns if is_count else lengths if isinstance(lengths, tuple) else (lengths,)
    whole = all(isinstance(length, int) and not isinstance(length, bool) and length >= 1 for length in each)
    if not whole or len(each) != patterns:
        raise UserError(
            f"lengths are {lengths!r} for {patterns} patterns",
            f"a whole number of at least 1 for each of the {patterns} patterns",
            "pass lengths=4, or lengths={1: 6, 2: 6, 3: 6, 4: 6} for 24 patterns",
        )
    return each


def _shortened(
    automata: Automata, patterns: Sequence[int], states: Sequence[int]
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Lengths after a cut to some patterns and states, and which of them still end as they did.

    Raises: ValueError if a pattern would have a gap.
    """
    left = Counter(automata.owner[state] for state in states)
    lengths = tuple(left[pattern] for pattern in patterns)
    gaps = any(automata.place[state] >= left[automata.owner[state]] for state in states)
    if not lengths or min(lengths) < 1 or sum(lengths) != len(states) or gaps:
        raise ValueError("the states that are left do not form patterns")
    return lengths, tuple(automata.fixed[k] and left[k] == automata.sizes[k] for k in patterns)
