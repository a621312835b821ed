"""Rational recurrent layers: a few weighted automata that read a text from left to right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsernn.cells.cell import Cell
from sparsernn.cells.scanning import finish, scan
from sparsernn.errors import UserError
from sparsernn.kernels.scan.automata import Automata, automata_of
from sparsernn.kernels.scan.semirings import SEMIRINGS
from sparsernn.running import passes as stepwise
from sparsernn.structure.description import Description, Lines, describe_layers
from sparsernn.structure.layer import State, Weights

FINALS = ("all", "learned", "last")
LAST_LOOPS = ("learned", "one")


class Rational(Cell):
    """d patterns, each a weighted automaton that reads n tokens along its main path and any others on self-loops.

    In plus-times, with f_i = sigmoid(v_i x + b_i) and u_i = (1 - f_i) w_i x for state i of a pattern:
    c_i' = f_i c_i + u_i c_{i-1}, c_0 = 1, and the output is c_1 + ... + c_n. Elsewhere u_i = sigmoid(w_i x), and
    sum and product are those of the semiring; "log" takes logarithms of both scores.

    Arguments: as `torch.nn.RNN` without nonlinearity, hidden_size being the number of patterns, and
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
    Shapes: see `Cell.forward`; weight_ih [2*states input], main paths and then self-loops, the states of a pattern
        side by side. States are the output and all c: (z_n, c_n) with c_n [layers*directions batch states].
    Raises: UserError for a size or an option that is out of range.
    Source: Dodge et al. 2019, section 2; Peng et al. 2018.
    Deviations: no bias on main paths, where the authors' code stores one that it never uses; initial states of
        log and max_plus are -inf, not -100; where no path has ended the output is 0.
    """

    gates: ClassVar = ("main", "loop")
    states: ClassVar = ("pattern", "state")
    silent: ClassVar = "main"
    levels: ClassVar = {
        "neuron": "pattern",
        "pattern": "pattern",
        "state": "state",
        "gate": "gate state <-",
        "edge": "gate state <-",
        "input": "input",
    }
    known_as: ClassVar = ("wfsa", "rational_rnn")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        lengths: int | Sequence[int] | Mapping[Any, int] = 4,
        semiring: str = "plus_times",
        last_loop: str = "learned",
        final: str = "all",
        epsilon: bool = False,
        output_gate: bool = False,
        input_dropout: float = 0.0,
        loop_bias: float = 0.0,
        **options: Any,
    ):
        self._check_options(semiring, last_loop, final, input_dropout, loop_bias)
        self.semiring, self.last_loop, self.final = semiring, last_loop, final
        self.epsilon, self.output_gate, self.input_dropout = epsilon, output_gate, float(input_dropout)
        self.loop_bias = float(loop_bias)
        self.lengths: list[tuple[int, ...]] = [_lengths(lengths, hidden_size)]
        self.held = [(last_loop == "one",) * len(self.lengths[0])]
        self.axes = {"weight_ih": "gate state <- input", "bias_loop": "gate state"}
        self.own_gates = {"bias_loop": ("loop",)}
        if final == "learned":
            self._declare("final", final_logit="gate state")
        if epsilon:
            self._declare("epsilon", epsilon_logit="gate pattern")
        if output_gate:
            self._declare("output", weight_output="gate pattern <- input", bias_output="gate pattern")
        super().__init__(input_size, hidden_size, num_layers, **options)

    def sizes(self, position: int) -> dict[str, int]:
        lengths = self.lengths[min(position, len(self.lengths) - 1)]
        return super().sizes(position) | {"pattern": len(lengths), "state": sum(lengths)}

    def automata(self, position: int = 0) -> Automata:
        """The shape of one layer's patterns."""
        return automata_of(self.lengths[position], self.semiring, self.held[position])

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """W ~ U(-r, r), r^2 = 6 / (inputs + patterns of the same length), times sqrt(1 - input_dropout).

        Self-loops have the bias `loop_bias`; the rest is 0.
        """
        for position, names in enumerate(self.names):
            inputs, lengths = self.sizes(position)["input"], self.lengths[position]
            scale = math.sqrt(1 - self.input_dropout)
            bounds = torch.tensor([scale * math.sqrt(6 / (inputs + lengths.count(n))) for n in lengths], device="cpu")
            owner = self.automata(position).owner
            for local, name in names.items():
                parameter = self.get_parameter(name)
                if not local.startswith("weight"):
                    nn.init.constant_(parameter, self.loop_bias if local == "bias_loop" else 0)
                    continue
                rows = bounds[owner].repeat(2) if local == "weight_ih" else bounds
                parameter.uniform_(-1, 1).mul_(rows.to(parameter).unsqueeze(1))

    @torch.no_grad()
    def figures(self) -> dict[str, int]:
        """Patterns, and transitions on their main paths.

        In plus-times those behind a state without weights are left out, as no path gets past it.
        """
        lengths = [length for position in range(len(self.widths)) for length in self.live_lengths(position)]
        return {"transitions": sum(lengths), "patterns": sum(length > 0 for length in lengths)}

    def live_lengths(self, position: int = 0) -> list[int]:
        """How many states of each pattern a path can reach."""
        if self.semiring != "plus_times":
            return list(self.lengths[position])
        main = self.get_parameter(self.names[position]["weight_ih"]).chunk(2)[0]
        lines = main.ne(0).any(1).split(self.lengths[position])
        return [int(line.long().cumprod(0).sum()) for line in lines]

    def project(self, weights: Weights, x: Tensor) -> Tensor:
        """Main paths and self-loops, without bias, and the output gate's logits where there is one."""
        projected = F.linear(x, weights["weight_ih"])
        if not self.output_gate:
            return projected
        return torch.cat([projected, F.linear(x, weights["weight_output"], weights.get("bias_output"))], -1)

    def token_scores(self, x: Tensor, position: int = 0) -> tuple[Tensor, Tensor]:
        """Scores of main paths and self-loops of one layer and direction, token by token, in its semiring.

        Shapes: x [... input] -> two of [... state]
        """
        automata, names = self.automata(position), self.names[position]
        bias, _, _ = self._constants(position, {local: getattr(self, name) for local, name in names.items()}, x)
        main, logit = F.linear(x, self.get_parameter(names["weight_ih"])).chunk(2, -1)
        loop = automata.algebra.constant(logit + bias)
        held = automata.last & torch.tensor(automata.held, device="cpu")[automata.owner]
        return automata.algebra.main(main, logit + bias), loop.masked_fill(held.to(x.device), automata.algebra.one)

    def final_weights(self, position: int = 0) -> Tensor:
        """With what weight each state of one layer and direction ends a match, in its semiring. [state]"""
        weights = {local: getattr(self, name) for local, name in self.names[position].items()}
        return self._constants(position, weights, weights["weight_ih"])[1]

    def advance(self, weights: Weights, projected: Tensor, state: State) -> State:
        return self._advance(0, weights, projected, state)

    def describe(self) -> Description:
        found = describe_layers(
            self.kind,
            input_size=self.input_size,
            widths=self.widths,
            directions=self.directions,
            names=self.names,
            outputs={f"state_{position}": sum(lengths) for position, lengths in enumerate(self.lengths)},
            state_axes=self.states,
        )
        writers = [producer for producer in found.producers if producer.axis.startswith("state")]
        if self.semiring != "plus_times":  # a state without weights has the score sigmoid(0) there
            writers = [replace(producer, pieces=()) for producer in writers]
        reach, whole = 2 if self.epsilon else 1, self.final == "last"
        owners = [tuple(self.automata(position).owner.tolist()) for position in range(len(self.widths))]
        lines = [Lines(f"state_{place}", f"pattern_{place}", own, reach, whole) for place, own in enumerate(owners)]
        layers = [
            replace(recurrence, advance=partial(self._advance, position))
            for position, recurrence in enumerate(found.recurrences)
        ]
        return replace(found, producers=tuple(writers), lines=tuple(lines), recurrences=tuple(layers))

    def resized(self, cut: Any, tensors: dict[str, nn.Parameter]) -> Cell:
        for name, parameter in tensors.items():
            setattr(self, name, parameter)
        self.input_size = len(cut.kept["input"])
        for position in range(len(self.widths)):
            patterns, states = cut.kept[f"pattern_{position}"], cut.kept[f"state_{position}"]
            self.lengths[position], self.held[position] = _shortened(self.automata(position), patterns, states)
        self.widths = [len(lengths) for lengths in self.lengths]
        self.hidden_size, self.state_widths = max(self.widths), cut.state_widths
        return self

    def _declare(self, gate: str, **axes: str) -> None:
        self.axes |= axes
        self.own_gates |= dict.fromkeys(axes, (gate,))

    def _allocate(self) -> None:
        self.lengths, self.held = self.lengths * len(self.widths), self.held * len(self.widths)
        super()._allocate()

    def _start(self, x: Tensor, given: list[Tensor], position: int) -> State:
        output, scores = super()._start(x, given, position)
        return output, scores if given else scores.fill_(self.automata(position).algebra.zero)

    def _layer(self, x: Tensor, state: State, lengths: Tensor | None, position: int) -> tuple[Tensor, State]:
        if self.training and self.input_dropout:
            x = x * F.dropout(torch.ones_like(x[:1]), self.input_dropout)
        weights = {local: getattr(self, name) for local, name in self.names[position].items()}
        stepwise.note(self, self.names[position]["weight_ih"], x, state, lengths)
        constants = self._constants(position, weights, x)
        output, scores = scan(self.automata(position), F.linear(x, weights["weight_ih"]), constants, state[1], lengths)
        if self.output_gate:
            output = output * torch.sigmoid(F.linear(x, weights["weight_output"], weights.get("bias_output")))
        output, last = finish(output, lengths)
        return output, (last, scores)

    def _constants(self, position: int, weights: Weights, like: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What does not depend on the token: biases of the self-loops, final weights, epsilon scores. [state] each"""
        automata = self.automata(position)
        algebra, bias = automata.algebra, weights.get("bias_loop")
        final = like.new_full((automata.states,), algebra.one)
        if self.final == "learned":
            final = algebra.constant(weights["final_logit"])
        elif self.final == "last":
            final = final.masked_fill(~automata.last.to(like.device), algebra.zero)
        skip = None
        if self.epsilon:
            skip = algebra.constant(weights["epsilon_logit"])[automata.owner.to(like.device)]
        return like.new_zeros(automata.states) if bias is None else bias, final, skip

    def _advance(self, position: int, weights: Weights, projected: Tensor, state: State) -> State:
        """One step of one layer and direction."""
        automata = self.automata(position)
        bias, final, skip = self._constants(position, weights, projected)
        tokens, gate = projected.split([2 * automata.states, projected.shape[-1] - 2 * automata.states], -1)
        scores = automata.step(tokens, bias, skip, state[1])
        output = automata.read(final, scores)
        return output * torch.sigmoid(gate) if self.output_gate else output, scores

    @staticmethod
    def _check_options(semiring: str, last_loop: str, final: str, input_dropout: float, loop_bias: float) -> None:
        choices = (("semiring", semiring, SEMIRINGS), ("last_loop", last_loop, LAST_LOOPS), ("final", final, FINALS))
        for name, value, known in choices:
            if value not in known:
                raise UserError(f"{name} is {value!r}", f"one of {', '.join(known)}", "choose one of them")
        if last_loop == "one" and semiring != "plus_times":
            raise UserError(
                f"a fixed last self-loop in {semiring}",
                "plus_times, where the self-loop's weights also enter the main path",
                'use last_loop="learned"',
            )
        if not 0 <= input_dropout < 1:
            raise UserError(f"input_dropout is {input_dropout!r}", "a number in [0, 1)", "pass a rate")
        if not isinstance(loop_bias, int | float) or not math.isfinite(loop_bias):
            raise UserError(f"loop_bias is {loop_bias!r}", "a finite number", "pass 0, or 2 for long texts")

    def extra_repr(self) -> str:
        shown = [",".join(str(lengths.count(n)) for n in range(1, max(lengths) + 1)) for lengths in self.lengths]
        return f"{super().extra_repr()}, patterns of 1, 2, ... states: {' | '.join(shown)}"


def _lengths(given: int | Sequence[int] | Mapping[Any, int], patterns: int) -> tuple[int, ...]:
    """The length of each pattern. Raises: UserError unless there is a length of at least 1 for each."""
    if isinstance(given, int) and not isinstance(given, bool):
        found: tuple[Any, ...] = (given,) * (patterns if isinstance(patterns, int) else 1)
    elif isinstance(given, Mapping):
        found = tuple(int(length) for length, count in sorted(given.items()) for _ in range(count))
    else:
        found = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    whole = all(isinstance(length, int) and not isinstance(length, bool) and length >= 1 for length in found)
    if not whole or isinstance(patterns, int) and patterns > 0 and len(found) != patterns:
        raise UserError(
            f"lengths are {given!r} for {patterns} patterns",
            f"a whole number of at least 1 for each of the {patterns} patterns",
            "pass lengths=4, or lengths={1: 6, 2: 6, 3: 6, 4: 6} for 24 patterns",
        )
    return found


def _shortened(automata: Automata, patterns: Tensor, states: Tensor) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Lengths after a cut to some patterns and states, and which of them still end as they did.

    Raises: ValueError if a pattern would have a gap.
    """
    left = torch.bincount(automata.owner[states], minlength=len(automata.sizes)).tolist()
    lengths = tuple(left[pattern] for pattern in patterns.tolist())
    gaps = automata.place[states] >= torch.tensor(left)[automata.owner[states]]
    if min(lengths) < 1 or sum(lengths) != len(states) or bool(gaps.any()):
        raise ValueError("the states that are left do not form patterns")
    return lengths, tuple(automata.held[k] and left[k] == automata.sizes[k] for k in patterns.tolist())
