"""What a weight or a group is worth."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsernn.methods.sparsifier import Sparsifier
from sparsernn.structure.budget import top
from sparsernn.structure.groups import Groups


@torch.no_grad()
def magnitude(run: Sparsifier, groups: Groups) -> Tensor:
    """Root mean square of each group's weights: |w| for single weights; smaller edge blocks compare fairly. [count]"""
    tensors = {name: parameter.detach() for name, parameter in run.weights.items() if name in groups.names}
    return groups.norms(tensors) / groups.sizes(tensors).to(run.weights[groups.names[0]].device).sqrt()


def best(groups: Groups, scores: Tensor, keep: int) -> Tensor:
    """The `keep` best-scored groups of all, the best of every family among them, so that no layer dies. [count]"""
    leading = scores.clone()
    for family in groups.families:
        leading[family.start + int(scores[family.start : family.stop].argmax())] = torch.inf
    return top(torch.where(scores.isnan(), scores, leading), max(keep, len(groups.families)))
