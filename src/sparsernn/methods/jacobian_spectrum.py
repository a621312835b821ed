"""Pruning by the spectrum of the recurrent Jacobian."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.initial_pruning import InitialPruning
from sparsernn.methods.parts.normalisers import check_normaliser, normalised
from sparsernn.methods.parts.one_batch import Passes, gradients, passes_of, scored_layers
from sparsernn.methods.parts.scores import mean_over
from sparsernn.methods.run import Run
from sparsernn.running.jacobians import FUNCTIONALS, PARTS, mean_square, product, unroll
from sparsernn.running.passes import Pass
from sparsernn.structure.groups import Groups
from sparsernn.typed import choose


class Reading(NamedTuple):
    """What the paper or its code take where an option is left out."""

    functional: str
    discount: float
    normaliser: str
    offset: float


READINGS = {"released": Reading("JT1", 0.9, "released", 0.1), "paper": Reading("J1", 1.0, "equation_5", 0.0)}


@dataclass(frozen=True)
class JacobianSpectrum(InitialPruning):
    """Before training, keep the weights that move the spectrum of the step Jacobian J = dh_t/dh_{t-1} most.

    score = sum over u = 0..horizon-1 of discount^u |d chi_u / d w| / |gamma|. chi_u, at the u-th step from the end of a
    sequence, is the mean square of the entries of J^T 1, of J 1, or of J^T s with random signs s ("frobenius": then it
    estimates the mean squared singular value). The derivative goes through the whole history of the layer, whose
    inputs are those of one batch. gamma, the normaliser, is how much the weight moves the layer's outputs on noise.
    A group's score is the mean over its weights.

    reading="released" is what the authors' code computes, "paper" what the paper says; each option that is given
    takes the place of the reading's.

    | option | released | paper |
    | --- | --- | --- |
    | functional | "JT1" | "J1" |
    | discount | 0.9 | 1 |
    | normaliser | "released": of the last of 5 steps from states of 1, all noisy | "equation_5": of all steps from 0 |
    | offset | 0.1 | 0 |

    Arguments:
        normaliser: "none", "released" or "equation_5".
        floor: quantile at which the normaliser is clamped; None takes its own: 0 if "released", 0.01 if "equation_5".
        reading: "released" or "paper".
        functional: "JT1", "J1" or "frobenius".
        horizon: steps from the end of each sequence.
        discount: weight of a step relative to the one after it.
        offset: added to all gates while scoring, and taken from one that the authors write the other way round: their
            update gate of a GRU opens towards the candidate.
        part: "hidden" takes the Jacobian of the output, other states held fixed; "state" that of all states together;
            None: the latter where gates read all states, as those of a peephole LSTM do, and the former elsewhere.
        first_order: score |w d chi| instead of |d chi|: the estimated change if the weight were removed.
    Shapes: weights of recurrent layers, each scored by its own layer's Jacobian. Needs `loss=` of the `Sparsifier`.
    Raises: UserError for an option out of range, no loss, weights of other layers, or scores that are not finite.
    Source: Zhang & Stadie 2020, equations 3 to 5, and the authors' code.
    Deviations: a bidirectional layer has two kernels; sequences of different lengths are aligned at their ends; a
        weight that moves neither chi nor the outputs has score 0 (0/0 in the code).
    """

    normaliser: str | None = None
    floor: float | None = None
    reading: str = "released"
    functional: str | None = None
    horizon: int = 4
    discount: float | None = None
    offset: float | None = None
    part: str | None = None
    first_order: bool = False
    choices = {**InitialPruning.choices, "reading": READINGS, "part": (None, *PARTS)}
    layers_only = True
    known_as = ("jacobian", "spectrum")

    def __post_init__(self) -> None:
        super().__post_init__()
        functional, discount, normaliser, _ = self.settings
        check_normaliser(normaliser, self.floor)
        choose("functional", functional, FUNCTIONALS)
        if self.horizon < 1:
            raise UserError(f"horizon is {self.horizon!r}", "a number of steps, at least 1", "pass horizon=4")
        if not 0 < discount <= 1:
            raise UserError(f"discount is {discount!r}", "a number in (0, 1]", "pass discount=1 for none")

    @property
    def settings(self) -> Reading:
        """The reading, with the options that are set in their places."""
        options = {name: getattr(self, name) for name in Reading._fields}
        return READINGS[self.reading]._replace(**{name: value for name, value in options.items() if value is not None})

    def score(self, run: Run, groups: Groups) -> Tensor:
        return mean_over(run, groups, self.importance(run))

    def importance(self, run: Run) -> dict[str, Tensor]:
        """The score of every weight of the selected tensors, by name."""
        passes = passes_of(run)
        return normalised(run, self._slopes(run, passes), passes, self.settings.normaliser, self.floor)

    def _slopes(self, run: Run, passes: Passes) -> dict[str, Tensor]:
        """|d chi / d w|, or |w d chi|, by name, the mean over all passes of a layer."""
        slopes = {}
        for layer, weights in scored_layers(run):
            scored = {local: name for local, name in layer.weights.items() if name in run.selected}
            totals = [self.moved(weights, one, list(scored), run.generator) for one in passes[layer.label]]
            for local, name in scored.items():
                total = sum(part[local] for part in totals) / len(totals)
                slopes[name] = total * weights[local].detach().abs() if self.first_order else total
        return slopes

    def moved(
        self, weights: Mapping[str, Tensor], one: Pass, locals_: list[str], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """sum over u of discount^u |d chi_u / d w| of one pass, by local name."""
        functional, discount, _, offset = self.settings
        part = self.part or ("state" if one.layer.cell.reads_all_states else "hidden")
        scored = {local: weights[local] for local in locals_}
        totals = {local: torch.zeros_like(weight) for local, weight in scored.items()}
        with torch.enable_grad():
            start = tuple(state.detach().clone().requires_grad_() for state in one.start)
            one = Pass(one.layer, one.inputs, start, one.lengths)
            states, running = unroll(weights, one, offset, self.horizon)
            for back in range(len(states) - 1):
                before, after = states[-2 - back], states[-1 - back]
                products = product(before, after, functional, part, generator)
                chi = mean_square(products, None if running is None else running[-1 - back])
                for local, slope in gradients(chi, scored).items():
                    totals[local] += discount**back * slope.abs()
        return totals
