"""Sparse variational dropout of weights, gates, neurons and words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.methods.draw import Change, Draw
from sparsernn.methods.engines.removing import Removing
from sparsernn.methods.parts.divergences import DIVERGENCES, by_mean, divergence, log_alpha
from sparsernn.methods.parts.noise import Normal, of_outputs, of_words
from sparsernn.methods.parts.removal import RemovalState, have_gone, levels_of, remove_all_but, told
from sparsernn.methods.parts.schedules import choose
from sparsernn.methods.run import Run
from sparsernn.running.scaling import SequenceFactors
from sparsernn.structure.budget import check_fraction, check_number, check_positive
from sparsernn.structure.groups import Groups

LEVELS = ("weight", "gate", "neuron")
GROUPS = {"gate": "gate", "neuron": "read", "word": "word"}
"""What a variable multiplies: all that comes in to a gate, all that reads a unit, the vector of a word."""


@dataclass(frozen=True)
class SparseVariationalDropout(Removing):
    """Every weight is normal around the model's parameter; what is noise rather than signal goes in the end.

    w ~ N(mu, sigma^2), with a log-uniform prior; so are the variables that multiply whole groups, with mean 1 at first:
    gate = act(((z^x x) W + (z^h h) U) z^gate + b). The loss, a mean over examples, is to be joined by the divergence of
    all of them divided by `examples`. Kept is what has log(sigma^2 / mu^2) < `threshold`; in evaluation and in the
    end it counts with its mean, weights times those of their groups. Biases and starting states are not random.

    Arguments:
        levels: "weight", and perhaps "gate" (a variable for each gate of each unit) and "neuron" (one for each hidden
            unit and each input component of recurrent layers).
        vocabulary: whether each word of a selected embedding has a variable.
        examples: over how many examples the loss is a mean in the end: documents, or predicted tokens, of training.
        sampled: "sequence", variables of groups drawn for each sequence and held over time; or "minibatch", drawn once
            a forward and multiplied into the weights, so that torch's own kernels compute.
        divergence: "molchanov2017", or "chirkova2018", whose older constants make it smaller by 0.67 a weight.
        warm_up: fraction of training over which the weight of the divergence rises from 0; 0: it is whole at once.
        temperature: what the divergence is multiplied with at last.
        clipped: whether the divergence's gradient of the means is part of the loss, hence of gradient clipping; if not,
            it is added after that, before the optimizer's step, and `penalty()` moves only what the method owns.
        threshold: of log alpha, above which something goes: 3 is a ratio of signal to noise, mu^2 / sigma^2, of 0.05.
            With `stop` a lower one costs little.
        local: names of linear layers, such as ("head",), of whose output noise is drawn instead of their weights, once
            a sequence and output: for classification. A language model over all words is better without.
        learning_rate: of log sigma of weights, by Adam; it does not decay.
        group_learning_rate: of the variables of groups, by Adam.
        decayed: whether `group_learning_rate` falls as the optimizer's learning rate does.
        log_sigma: of everything at first.
    Shapes: any weight.
    Raises: UserError for values out of range; for a level that no selected layer has; for words without a selected
        embedding; for variables of groups where an embedding and an output layer share a weight, of gates where two
        layers do; in a forward, where such a factor of each sequence cannot reach what it is to multiply.
    Source: Molchanov et al. 2017; Lobacheva et al. 2018, 2020 (groups); Chirkova et al. 2018 (words).
    Deviations: weights are drawn once a minibatch, as in the source's code, not once a sequence, as in its algorithm 1.
        A starting state counts as multiplied already, and a final hidden state is returned multiplied; where a cell
        carries its hidden state on by itself (GRU), only what is read is multiplied. Hidden units that something
        without weights reads too (attention, a residual sum, the model's caller) are multiplied by the weights that
        read them alone, so that training, evaluation and the end agree; their states are not. A layer
        never dies: the best that it has stays.
    """

    levels: tuple[str, ...] = LEVELS
    vocabulary: bool = False
    examples: int | None = None
    sampled: str = "sequence"
    divergence: str = "molchanov2017"
    warm_up: float = 0.0
    temperature: float = 1.0
    clipped: bool = True
    threshold: float = 3.0
    local: tuple[str, ...] = ()
    learning_rate: float = 0.002
    group_learning_rate: float = 0.002
    decayed: bool = True
    log_sigma: float = -3.0
    granularities: ClassVar[tuple[str, ...]] = LEVELS
    known_as: ClassVar[tuple[str, ...]] = ("sparse_vd", "svd", "bayesian")

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", levels_of(self.levels))
        object.__setattr__(self, "local", levels_of(self.local))
        super().__post_init__()
        self._check_levels()
        if self.examples is None or self.examples < 1:
            raise UserError(
                f"examples is {self.examples!r}",
                "how many documents, or predicted tokens, there are in training",
                "pass examples=, a whole number of at least 1",
            )
        choose({"sequence": 0, "minibatch": 0}, self.sampled, "sampled")
        choose(DIVERGENCES, self.divergence, "divergence")
        check_fraction(self.warm_up, "warm_up")
        check_number(self.temperature, "temperature")
        check_positive(self.learning_rate, "learning_rate")
        check_positive(self.group_learning_rate, "group_learning_rate")

    def _check_levels(self) -> None:
        unknown = [level for level in self.levels if level not in LEVELS]
        if unknown or "weight" not in self.levels or len(set(self.levels)) < len(self.levels):
            raise UserError(
                f"levels are {', '.join(map(str, self.levels)) or 'none'}",
                '"weight", and perhaps "gate" and "neuron"',
                'pass levels=("weight", "gate", "neuron") or fewer',
            )

    @property
    def variables(self) -> tuple[str, ...]:
        """The kinds of groups that have variables."""
        return tuple(level for level in GROUPS if level in self.levels or (level == "word" and self.vocabulary))

    @property
    def needs_readers(self) -> bool:
        return bool(self.variables or self.local)

    def prepare(self, run: Run[RemovalState]) -> None:
        sigmas = {f"log_sigma.{name}": torch.full_like(run.weights[name], self.log_sigma) for name in run.selected}
        run.own(sigmas, self.learning_rate)
        for level in self.variables:
            self._refuse_tied(run, level)
            ones = run.weights[run.selected[0]].new_ones(self._groups(run, level).count)
            both = {f"group_mean.{level}": ones, f"group_log_sigma.{level}": torch.full_like(ones, self.log_sigma)}
            run.own(both, self.group_learning_rate, self.decayed)
        run.groups("weight")
        for path in self.local:
            module = dict(run.model.named_modules()).get(path)
            if not isinstance(module, nn.Linear) or f"{path}.weight" not in run.selected:
                raise UserError(
                    f"local names {path!r}",
                    "a linear layer whose weight is selected",
                    "pass the name of such a module, and where= with its weight",
                )

    def _refuse_tied(self, run: Run[RemovalState], level: str) -> None:
        weights, what = run.wiring.weights, "is an embedding and an output layer at once"
        tied = [use.name for use in run.wiring.uses if use.layout.text != weights[use.name].layout.text]
        if level == "gate":
            names, what = [piece.name for piece in self._groups(run, level).pieces], "belongs to gates of two layers"
            tied = [name for name in names if names.count(name) > 1]
        if tied:
            raise UserError(
                f"variables of {level}s where {tied[0]} {what}",
                "weights that are not tied",
                'leave the tie out, or pass levels=("weight",) and vocabulary=False',
            )

    def _groups(self, run: Run[RemovalState], level: str) -> Groups:
        """Raises: UserError if no selected layer has the level."""
        try:
            return run.groups(GROUPS[level])
        except UserError:
            raise UserError(
                f"no selected layer has {level}s",
                "an embedding among the selected tensors" if level == "word" else "recurrent layers that have them",
                "pass where= with such a weight, or leave the level out",
            ) from None

    def _weight(self, run: Run[RemovalState], name: str) -> Normal:
        return Normal(run.weights[name], run.owned[f"log_sigma.{name}"])

    def _variables(self, run: Run[RemovalState], level: str) -> Normal:
        """The variables of the groups as these are numbered now. [groups.count]"""
        mean, log_sigma = run.owned[f"group_mean.{level}"], run.owned[f"group_log_sigma.{level}"]
        numbers = self._groups(run, level).earlier
        return Normal(mean, log_sigma) if numbers is None else Normal(mean[numbers], log_sigma[numbers])

    def before_forward(self, run: Run[RemovalState]) -> Draw | None:
        if have_gone(run):
            return None
        local = {f"{path}.weight": path for path in self.local}
        drawn = {
            name: run.weights[name] if name in local else self._weight(run, name).sample(run.generator)
            for name in run.selected
        }
        sigmas = {name: run.owned[f"log_sigma.{name}"].exp().to(run.weights[name].dtype) for name in local}
        factors: list[SequenceFactors] = []
        outputs: dict[str, Change] = {}
        for level in self.variables:
            groups, variables = self._groups(run, level), self._variables(run, level)
            if self.sampled == "minibatch":
                sample = variables.sample(run.generator)
                drawn |= groups.scaled({name: drawn.get(name, run.weights[name]) for name in groups.names}, sample)
                sigmas |= groups.scaled(sigmas, sample)
            elif level == "word":
                outputs |= self._words(run, groups, variables)
            else:
                factors.append(_for_sequences(groups, variables, run.generator, drawn[run.selected[0]].dtype))
        outputs |= {path: of_outputs(sigmas[name], run.generator) for name, path in local.items()}
        return Draw(drawn, factors, outputs)

    def _words(self, run: Run[RemovalState], groups: Groups, variables: Normal) -> dict[str, Change]:
        """What becomes of the output of each embedding whose words have variables."""
        changes: dict[str, Change] = {}
        for path, axes in run.wiring.axes.items():
            if "word" in axes and groups.units is not None and bool((groups.units[axes["word"]] >= 0).all()):
                words = groups.units[axes["word"]].to(run.device)
                changes[path] = of_words(Normal(variables.mean[words], variables.log_sigma[words]), run.generator)
        return changes

    def penalty(self, run: Run[RemovalState]) -> Tensor | None:
        weight, approximation = self._weight_of_divergence(run), DIVERGENCES[self.divergence]
        if not weight:
            return None
        posteriors = [self._weight(run, name) for name in run.selected]
        if not self.clipped:
            posteriors = [Normal(mean.detach(), log_sigma) for mean, log_sigma in posteriors]
        posteriors += [self._variables(run, level) for level in self.variables]
        total = torch.zeros((), device=run.device)
        for mean, log_sigma in posteriors:
            total = total + divergence(mean, log_sigma, approximation)
        return weight * total

    def _weight_of_divergence(self, run: Run[RemovalState]) -> float:
        """What the sum of all divergences is multiplied with in this step."""
        if have_gone(run) or not self.examples:
            return 0.0
        ramp = self.warm_up * run.steps
        return self.temperature / self.examples * (min(run.step_count / ramp, 1.0) if ramp else 1.0)

    def before_step(self, run: Run[RemovalState]) -> bool:
        weight = self._weight_of_divergence(run)
        for name in run.selected if weight and not self.clipped else ():
            mean, log_sigma = self._weight(run, name)
            slope = by_mean(mean, log_sigma, DIVERGENCES[self.divergence]).mul_(weight)
            mean.grad = slope if mean.grad is None else mean.grad.add_(slope)
        return True

    def before_evaluation(self, run: Run[RemovalState]) -> Mapping[str, Tensor] | None:
        if have_gone(run):
            return None
        stay, certain, _ = self._survivors(run)
        weights = {name: run.weights[name] * certain[name] for name in run.selected}
        for level in self.variables:
            groups, factors = self._groups(run, level), self._variables(run, level).mean * stay[level]
            weights |= groups.scaled({name: weights.get(name, run.weights[name]) for name in groups.names}, factors)
        return weights

    @torch.no_grad()
    def _survivors(self, run: Run[RemovalState]) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
        """Which groups stay, by level, and which weights, by name; and where nothing did, so that the best does."""
        stay, certain, dead = {}, {}, []
        possible = {name: torch.ones_like(run.weights[name]) for name in run.selected}
        for level in self.variables:
            groups, ratios = self._groups(run, level), log_alpha(*self._variables(run, level))
            stay[level] = torch.zeros_like(ratios, dtype=torch.bool)
            for family in groups.families:
                part = slice(family.start, family.stop)
                stay[level][part], lived = self._certain(ratios[part])
                dead += [] if lived else [f"the {level}s of {family.label}"]
            possible |= groups.scaled(possible, stay[level].to(ratios))
        for name in run.selected:
            ratios = log_alpha(*self._weight(run, name)).masked_fill_(possible[name] == 0, torch.inf)
            certain[name], lived = self._certain(ratios)
            dead += [] if lived else [name]
        return stay, certain, dead

    def _certain(self, ratios: Tensor) -> tuple[Tensor, bool]:
        """Which log alphas are below the threshold, or the lowest, if none is; and whether any was."""
        certain = ratios < self.threshold
        if bool(certain.any()) or not ratios.numel():
            return certain, True
        certain.view(-1)[ratios.argmin()] = True
        return certain, False

    def survivors(self, run: Run[RemovalState]) -> Mapping[str, Tensor]:
        stay, certain, dead = self._survivors(run)
        told(run, dead)
        weights = torch.cat([certain[name].reshape(-1) for name in run.groups("weight").names])
        return {GROUPS[level]: kept for level, kept in stay.items()} | {"weight": weights}

    @torch.no_grad()
    def end(self, run: Run[RemovalState]) -> None:
        survivors = self.survivors(run)
        for level in self.variables:
            groups = self._groups(run, level)
            groups.scale_({name: run.weights[name].data for name in groups.names}, self._variables(run, level).mean)
        remove_all_but(run, survivors)


def _for_sequences(groups: Groups, variables: Normal, generator: torch.Generator, kind: torch.dtype) -> SequenceFactors:
    return SequenceFactors(groups, lambda batch: variables.sample(generator, (batch,)).to(kind))
