"""What a weight or a group is worth."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsernn.methods.sparsifier import Sparsifier
from sparsernn.structure.groups import Groups


@torch.no_grad()
def magnitude(run: Sparsifier, groups: Groups) -> Tensor:
    """Root mean square of each group's weights: |w| for single weights; smaller edge blocks compare fairly. [count]"""
    tensors = {name: parameter.detach() for name, parameter in run.weights.items() if name in groups.names}
    return groups.norms(tensors) / groups.sizes(tensors).to(run.weights[groups.names[0]].device).sqrt()
