"""SNIP."""

from dataclasses import dataclass

from torch import Tensor

from sparsernn.methods.engines.initial_pruning import InitialPruning
from sparsernn.methods.parts.normalisers import check_normaliser, normalised, passes_for
from sparsernn.methods.parts.one_batch import batch_loss, gradients, scored_weights
from sparsernn.methods.parts.scores import mean_over
from sparsernn.methods.run import Run
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class SNIP(InitialPruning):
    """Before training, remove the weights whose absence would change the loss of one batch least: |w dL/dw|.

    A group's score is the mean over its weights. In rounds (SNIP-it) each round scores what the one before left.

    Arguments:
        normaliser: "none", or what scores are divided by: "released" or "equation_5", see `JacobianSpectrum`.
        floor: quantile at which the normaliser is clamped; None takes its own.
    Shapes: any weight. Needs `loss=` of the `Sparsifier`.
    Raises: UserError for an option out of range, no loss, or scores that are not finite.
    Source: Lee et al. 2019, equation 6; normalised: Zhang & Stadie 2020, "Evaluation"; rounds: Verdenius et al. 2020.
    Deviations: one ranking a layer unless scope="global"; biases are never scored. The code of Zhang & Stadie adds 0.1
        to all gates while it scores; here only the normaliser "released" does.
    """

    normaliser: str = "none"
    floor: float | None = None
    known_as = ("snip_it",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_normaliser(self.normaliser, self.floor)

    def score(self, run: Run, groups: Groups) -> Tensor:
        return mean_over(run, groups, self.importance(run))

    def importance(self, run: Run) -> dict[str, Tensor]:
        """The score of every weight of the selected tensors, by name."""
        passes, weights = passes_for(run, self.normaliser), scored_weights(run)
        slopes = gradients(batch_loss(run), weights)
        effects = {name: (weight.detach() * slopes[name]).abs() for name, weight in weights.items()}
        return normalised(run, effects, passes, self.normaliser, self.floor)
