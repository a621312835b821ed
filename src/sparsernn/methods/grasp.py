"""GraSP."""

from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from sparsernn.methods.engines.initial_pruning import InitialPruning
from sparsernn.methods.parts.normalisers import check_normaliser, normalised, passes_for
from sparsernn.methods.parts.one_batch import batch_loss, gradients, scored_weights
from sparsernn.methods.parts.scores import mean_over
from sparsernn.methods.run import Run
from sparsernn.running.passes import stepwise
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class GraSP(InitialPruning):
    """Before training, remove the weights whose absence would least reduce the gradient's norm: keep large w (H g).

    g is the gradient of one batch's loss in the scored weights and H its Hessian there, of the same batch. The score
    is signed; a group's is the mean over its weights.

    Arguments:
        normaliser: "none", or what scores are divided by: "released" or "equation_5", see `JacobianSpectrum`.
        floor: quantile at which the normaliser is clamped; None takes its own.
    Shapes: any weight. Needs `loss=` of the `Sparsifier`; the model must be differentiable twice.
    Raises: UserError for an option out of range, no loss, or scores that are not finite.
    Source: Wang et al. 2020, equation 8; normalised: Zhang & Stadie 2020, "Evaluation".
    Deviations: no temperature, one batch instead of two halves, as Zhang & Stadie (whose code adds 0.1 to all gates
        while it scores); one ranking a layer unless scope="global"; biases are never scored.
    """

    normaliser: str = "none"
    floor: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_normaliser(self.normaliser, self.floor)

    def score(self, run: Run, groups: Groups) -> Tensor:
        return mean_over(run, groups, self.importance(run))

    def importance(self, run: Run) -> dict[str, Tensor]:
        """The score of every weight of the selected tensors, by name."""
        passes, weights = passes_for(run, self.normaliser), scored_weights(run)
        with torch.enable_grad(), stepwise(run.model, run.wiring):
            slopes = gradients(batch_loss(run), weights, again=True)
            along = reduce(add, [(slope * slope.detach()).sum() for slope in slopes.values()])
            products = gradients(along, weights)
        effects = {name: weight.detach() * products[name] for name, weight in weights.items()}
        return normalised(run, effects, passes, self.normaliser, self.floor)
