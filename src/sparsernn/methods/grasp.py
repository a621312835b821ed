"""GraSP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsernn.methods.engines.initial_pruning import NormalisedPruning
from sparsernn.methods.parts.one_batch import Passes, batch_loss, gradients, scored_weights
from sparsernn.running.passes import stepwise
from sparsernn.sparsifying.sparsifier import Sparsifier


@dataclass(frozen=True)
class GraSP(NormalisedPruning):
    """Before training, remove the weights whose absence would least reduce the gradient's norm: keep large w (H g).

    g is the gradient of one batch's loss in the scored weights and H its Hessian there, of the same batch. The score
    is signed; a group's is the mean over its weights.

    Arguments: as `SNIP`.
    Shapes: any weight. Needs `loss=` of the `Sparsifier`; the model must be differentiable twice.
    Raises: UserError for an option out of range, no loss, or scores that are not finite.
    Source: Wang et al. 2020, equation 8; normalised: Zhang & Stadie 2020, section 5.
    Deviations: no temperature, one batch instead of two halves, as Zhang & Stadie (whose code adds 0.1 to all gates
        while it scores); one ranking a layer unless scope="global"; biases are never scored.
    """

    def raw(self, run: Sparsifier, passes: Passes) -> dict[str, Tensor]:
        weights = scored_weights(run)
        with torch.enable_grad(), stepwise(run.model, run.wiring):
            slopes = gradients(batch_loss(run), weights, again=True)
            products = gradients(sum((slope * slope.detach()).sum() for slope in slopes.values()), weights)
        return {name: weight.detach() * products[name] for name, weight in weights.items()}
