"""What is left after pruning to a sparsity: a budget for every tensor or layer, or one for all together."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsernn.methods.parts.scores import best
from sparsernn.methods.run import Run
from sparsernn.structure.budget import settle
from sparsernn.structure.choice import top
from sparsernn.structure.groups import Groups

SCOPES = ("uniform", "global")


def prune_to(run: Run, groups: Groups, scores: Tensor, sparsity: float | Sequence[float], scope: str) -> None:
    """Keep the best-scored groups so that exactly `sparsity` of them are absent; absent ones stay absent.

    Arguments:
        scores: larger is better. [groups.count]
        sparsity: of all families, or of each.
        scope: "uniform" gives every family (tensor, gate or layer) the same sparsity, "global" ranks them together.
    """
    present = groups.kept(run.masks)
    scores = torch.where(present, groups.in_line(scores), torch.full_like(scores, -torch.inf))
    sizes = [family.size for family in groups.families]
    shares = [1 - sparsity] * len(sizes) if isinstance(sparsity, float | int) else [1 - one for one in sparsity]
    budgets = [share * size for share, size in zip(shares, sizes, strict=True)]
    total = round(sum(budgets))
    if scope == "global":
        survivors = best(groups, scores, total)
    else:
        counts = settle(budgets, sizes, max(total, 1))
        parts = [
            top(scores[family.start : family.stop], max(count, 1))
            for family, count in zip(groups.families, counts, strict=True)
        ]
        survivors = torch.cat(parts)
    survivors &= present
    run.changed("prune", died=run.remove(groups, survivors))
