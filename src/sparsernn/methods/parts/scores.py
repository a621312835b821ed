"""What a weight or a group is worth."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.run import Run
from sparsernn.structure.choice import top
from sparsernn.structure.groups import Groups


@torch.no_grad()
def magnitude(run: Run, groups: Groups) -> Tensor:
    """Root mean square of each group's weights: |w| for single weights; smaller edge blocks compare fairly. [count]"""
    tensors = {name: parameter.detach() for name, parameter in run.weights.items() if name in groups.names}
    return groups.norms(tensors) / groups.sizes(tensors).to(run.weights[groups.names[0]].device).sqrt()


@torch.no_grad()
def mean_over(run: Run, groups: Groups, scores: Mapping[str, Tensor]) -> Tensor:
    """The mean score of each group's scored weights; the score itself for single weights. [count]

    Arguments:
        scores: name -> the score of every weight. Weights of other tensors (biases, readers) do not count.
    Raises: UserError naming a tensor whose scores are not all finite.
    """
    for name, score in scores.items():
        if not bool(score.isfinite().all()):
            raise UserError(
                f"{int((~score.isfinite()).sum())} of the {score.numel()} scores of {name} are not finite",
                "finite scores",
                "look for infinities or NaN in its weights or the loss; a normaliser that is 0 somewhere needs a floor",
            )
    shapes = {name: run.weights[name] for name in groups.names}
    kind = next(iter(scores.values())).dtype
    sums = groups.sums({name: scores.get(name, torch.zeros_like(like, dtype=kind)) for name, like in shapes.items()})
    if all(piece.index is None for piece in groups.pieces):
        return sums
    scored = {name: torch.full_like(like, float(name in scores), dtype=kind) for name, like in shapes.items()}
    return sums / groups.sums(scored).clamp_min(1)


def best(groups: Groups, scores: Tensor, keep: int) -> Tensor:
    """The `keep` best-scored groups of all, the best of every family among them, so that no layer dies. [count]"""
    leading = scores.clone()
    for family in groups.families:
        leading[family.start + int(scores[family.start : family.stop].argmax())] = torch.inf
    return top(torch.where(scores.isnan(), scores, leading), max(keep, len(groups.families)))
