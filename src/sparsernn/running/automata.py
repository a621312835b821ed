"""Automata of a rational layer with their present weights: scores of tokens, final weights, live lengths."""

import torch
from torch import Tensor

from sparsernn.cells.rational import Rational
from sparsernn.kernels import torch_math
from sparsernn.kernels.product import Products
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Problem
from sparsernn.running.modules import Built


class LayerAutomata:
    """The automata of one layer and direction of a module built from `Rational`.

    Attributes:
        automata: their shape.
        table: state numbers by pattern and place; where there is none, the number of states. [pattern place]
    """

    def __init__(self, module: Built, position: int = 0):
        part = module.parts()[position]
        if not isinstance(part.cell, Rational):
            raise TypeError(f"{type(part.cell).__name__} has no automata to read")
        self.cell, self.weights = part.cell, part.weights
        problem = Problem(part.cell, part.weights, part.weights["weight_ih"], ())
        self.multiply = Products(problem, lambda matrix: dense.product)
        self.automata = part.cell.automata(part.sizes)
        table = torch.tensor(self.automata.table).t()
        self.table = torch.where(table < 0, self.automata.states, table)

    def token_scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of main paths and self-loops, token by token. Shapes: [.. input] -> two [.. state]."""
        automata, algebra = self.automata, self.automata.algebra
        main, logit = torch_math.split(self.multiply("weight_ih", x), 2)  # type: ignore[arg-type]
        logit = logit + self.multiply("bias_loop")
        loop = torch_math.choose(automata.fixed_loops, algebra.one, algebra.constant(torch_math, logit))
        return algebra.main(torch_math, main, logit), loop

    def final_weights(self) -> Tensor:
        """With what weight each state ends a match, in the semiring. [state]"""
        constants = self.cell.constants(self.multiply, torch_math)
        final = self.weights["weight_ih"].new_ones(self.automata.states) * constants.final
        if constants.last_only:
            ends = tuple(not last for last in self.automata.last)
            final = torch_math.choose(ends, self.automata.algebra.zero, final)
        return final

    def live_lengths(self) -> list[int]:
        """How many states of each pattern a path can reach; see `Rational.live_lengths`."""
        main = self.weights["weight_ih"].detach().chunk(2)[0]
        return self.cell.live_lengths(main.ne(0).any(1).tolist())


def automata_figures(module: Built) -> dict[str, int]:
    """Transitions on the main paths of a module's automata, and patterns, as far as a path can reach them."""
    if not isinstance(module.cell, Rational):
        return {}
    lengths = [length for at in range(len(module.cells)) for length in LayerAutomata(module, at).live_lengths()]
    return {"transitions": sum(lengths), "patterns": sum(length > 0 for length in lengths)}
