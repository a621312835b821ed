"""Random pruning before training."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sparsernn.methods.engines.initial_pruning import InitialPruning
from sparsernn.methods.run import Run
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class RandomPruning(InitialPruning):
    """Remove groups at random before the first step: the baseline that every one-shot method has to beat.

    Arguments:
        sparsity: fraction of groups absent, in [0, 1); exact.
        scope: "uniform" (each tensor or layer alike) or "global".
        per: at levels "weight" and blocks, what has a budget: a "tensor", each "gate" of it, or a "kernel": all
            matrices of a layer together.
        rescale: what happens to the weights that are left. "none"; "variance": each gate of each matrix is scaled to
            the sum of squares that it had; "dense" or "one": the matrices that read the state are scaled so that the
            mean squared singular value of the step Jacobian dh_t/dh_{t-1}, over one batch (`loss=` of the
            `Sparsifier`), is what it was, or 1, or as near to it as one factor a layer brings it; "isometry": the
            weights that read the state are searched anew on their mask, gate by gate, so that they nearly keep lengths;
            "drive": each gate of the matrices that read the input is scaled so that what it makes of the batch has a
            root mean square of 1/2, whatever the input's own scale.
    Shapes: any weight; "dense", "one", "isometry" and "drive" take weights of recurrent layers only.
    Raises: UserError for an option out of range.
    Source: the random baseline of Zhang & Stadie 2020, "Evaluation"; isometry: Lee et al. 2020; drive:
        after the layer-sequential unit variance of Mishkin & Matas 2016, All you need is a good init.
    Deviations: none known; the other ways of rescaling are our own.
    """

    per: str = "tensor"
    rounds: int = field(default=1, init=False)
    known_as = ("random",)
    needs_loss = False

    def score(self, run: Run, groups: Groups) -> Tensor:
        return torch.rand(groups.count, generator=run.generator).to(next(iter(run.weights.values())).device)
