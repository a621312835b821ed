"""Pruning by what the loss would rise by."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.methods.engines.pruning import Pruning, PruningState
from sparsernn.methods.parts.occasions import Ramp
from sparsernn.methods.parts.one_batch import batch_loss, gradients, scored_weights
from sparsernn.methods.parts.scores import mean_over
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction
from sparsernn.structure.groups import Groups


@dataclass
class SquaresState(PruningState):
    """What is remembered: the running mean of each weight's squared `gradients`, by name of its tensor."""

    gradients: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimalBrainDamage(Pruning):
    """Remove, gradually while training, the weights without which the loss would rise least: w^2 mean(g^2) / 2.

    The mean of the squared gradients g stands for the curvature of the loss. So a large weight that hardly matters goes
    before a small one that does: most of all in a table of words, where those of rare words hardly matter. Sparsity
    follows the ramp of `Magnitude`; a group's score is the mean over its weights. A trained model without an optimizer
    is pruned at once, by the gradients of one batch.

    Arguments:
        scope: "global" (one ranking) or "uniform" (each tensor or layer alike).
        memory: how much of the mean a step keeps, in [0, 1).
    Shapes: any weight. A trained model needs `loss=` of the `Sparsifier`.
    Raises: UserError for a value out of range, if no event falls within training, or for gradients that are not finite.
    Source: LeCun et al. 1990, Optimal brain damage, equation 5, with the squared gradients of Theis et al. 2018, Faster
        gaze prediction with dense networks and Fisher pruning, for the second derivative.
    Deviations: gradients of whole batches, averaged while training goes on; the ramp of Zhu & Gupta 2018.
    """

    scope: str = "global"
    start: float = 0.1
    stop: float = 0.5
    every: int | float = 0.02
    schedule: str = "cubic"
    memory: float = 0.99
    explained_by = (Ramp,)
    reads_dense_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.memory, "memory")

    @property
    def when(self) -> Ramp:
        return Ramp(self.start, self.stop, self.every, self.schedule)

    def initial_state(self) -> SquaresState:
        return SquaresState()

    @torch.no_grad()
    def before_step(self, run: Run[SquaresState]) -> bool:
        squares = run.state.gradients
        for name in run.selected if run.state.last is None else ():
            gradient = run.gradient(name)
            if gradient is not None:
                mean = squares.setdefault(name, torch.zeros_like(gradient))
                mean.mul_(self.memory).addcmul_(gradient, gradient, value=1 - self.memory)
        return True

    def score(self, run: Run, groups: Groups) -> Tensor:
        weights, squares = scored_weights(run), run.state.gradients
        if run.steps == 0:
            squares = {name: slope.square() for name, slope in gradients(batch_loss(run), weights).items()}
        # Scaled by the largest: squares of small gradients are below what float32 holds.
        largest = max((float(mean.max()) for mean in squares.values()), default=0.0) or 1.0
        present = {name: weights[name].detach() for name in squares}
        return mean_over(
            run, groups, {name: weight.square() * (squares[name] / largest) for name, weight in present.items()}
        )
