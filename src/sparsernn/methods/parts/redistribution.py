"""How the births of an event are shared out over tensors or gates, and the averaged gradients that may decide it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.budget import apportion
from sparsernn.structure.choice import count
from sparsernn.structure.groups import Family, Groups
from sparsernn.structure.zeroing import zero_absent_

RULES = ("none", "momentum", "survivors")
FULLEST = 0.99  # of a family's free places, filled by importance


def average_gradients(run: Sparsifier, names: Sequence[str], momentum: float) -> None:
    """Follow the gradients, those of absent weights included: average = momentum average + (1 - momentum) gradient."""
    for name in names:
        gradient = run.model.get_parameter(name).grad
        if gradient is not None:
            averaged(run, name).lerp_(gradient, 1 - momentum)


def averaged(run: Sparsifier, name: str) -> Tensor:
    """The averaged gradient of a tensor, zeros before the first step."""
    parameter, key = run.model.get_parameter(name), f"average.{name}"
    found = run.memory.get(key)
    if found is None or found.device != parameter.device:
        run.memory[key] = torch.zeros_like(parameter.data) if found is None else found.to(parameter.device)
    return run.memory[key]


def averaged_norms(run: Sparsifier, groups: Groups, family: Family) -> Tensor:
    """Magnitude of the averaged gradient of each group, a tensor of its own. [family.size]"""
    return groups.family_norms({name: averaged(run, name) for name in groups.names}, family)


def importance(run: Sparsifier, groups: Groups, rule: str) -> list[float]:
    """What a weight of each family is worth before the event: mean |averaged gradient|; nothing where not asked for."""
    if rule != "momentum":
        return []
    found = []
    for family in groups.families:
        kept = groups.kept(run.masks, family)
        norms = averaged_norms(run, groups, family)
        zero_absent_(norms, kept)
        found.append(float(norms.sum(dtype=torch.float64)) / max(count(kept), 1))
    return found


def shares(
    run: Sparsifier, groups: Groups, rule: str, lost: Sequence[int], barred: bool, importance: Sequence[float]
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
