"""How the births of an event are shared out over tensors or gates."""

from collections.abc import Sequence

import torch

from sparsernn.methods.parts.averages import Averages
from sparsernn.methods.parts.growth import by_average
from sparsernn.methods.run import Run
from sparsernn.structure.budget import apportion
from sparsernn.structure.choice import count
from sparsernn.structure.groups import Groups
from sparsernn.structure.zeroing import zero_absent_

RULES = ("none", "momentum", "survivors")
FULLEST = 0.99  # of a family's free places, filled by importance


def importance(run: Run, averages: Averages, groups: Groups, rule: str) -> list[float]:
    """What a weight of each family is worth before the event: mean |averaged gradient|; nothing where not asked for."""
    if rule != "momentum":
        return []
    means = []
    for family in groups.families:
        present = groups.kept(run.masks, family)
        norms = by_average(run, averages, groups, family)
        zero_absent_(norms, present)
        means.append(float(norms.sum(dtype=torch.float64)) / max(count(present), 1))
    return means


def shares(
    run: Run, groups: Groups, rule: str, lost: Sequence[int], barred: bool, importance: Sequence[float]
) -> list[int]:
    """How many groups each family grows; together as many as were dropped.

    Arguments:
        lost: how many groups each family dropped; barred: whether none of them may grow again.
        importance: before the event, for the rule "momentum".
    """
    if rule == "none" or not sum(lost):
        return list(lost)
    survivors = [count(groups.kept(run.masks, family)) for family in groups.families]
    room = [
        family.size - left - number * barred
        for family, left, number in zip(groups.families, survivors, lost, strict=True)
    ]
    if rule == "survivors":
        return apportion(sum(lost), survivors, room, evenly=False)
    most = [int(FULLEST * places) for places in room]
    weights = importance if sum(importance) > 0 else lost
    return apportion(sum(lost), weights, most if sum(most) >= sum(lost) else room)
