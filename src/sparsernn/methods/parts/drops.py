"""Which weights are dropped when a network is rewired."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sparsernn.methods.run import Run
from sparsernn.structure.choice import count, top
from sparsernn.structure.groups import Family, Groups
from sparsernn.structure.zeroing import rule_out_

Rounding = Callable[[float], int]


def plain_weights(run: Run, groups: Groups) -> dict[str, Tensor]:
    """The tensors that groups are of, without their history."""
    return {name: run.model.get_parameter(name).detach() for name in groups.names}


def largest(run: Run, groups: Groups, family: Family, present: Tensor, number: int) -> Tensor:
    """The `number` groups of largest norm among those that are present. [family.size]"""
    norms = groups.family_norms(plain_weights(run, groups), family).float()
    return top(rule_out_(norms, present), number).logical_and_(present)


def all_but_smallest(
    run: Run, groups: Groups, family: Family, present: Tensor, rate: float, rounded: Rounding
) -> Tensor:
    """What stays when a fraction of the groups goes, the smallest. [family.size]"""
    number = count(present)
    return largest(run, groups, family, present, number - rounded(rate * number))


def all_but_smallest_of_either_sign(
    run: Run, groups: Groups, family: Family, present: Tensor, rate: float, rounded: Rounding
) -> Tensor:
    """What stays when the same fraction of positive and of negative weights goes, and all zeros. [family.size]"""
    return farthest_by_sign(groups.entries(plain_weights(run, groups), family), present, rate, rounded)


def farthest_by_sign(values: Tensor, present: Tensor, rate: float, rounded: Rounding = math.ceil) -> Tensor:
    """The weights farthest from zero of either sign: of n of a sign `rate` n are dropped, and all zeros. [size]"""
    stay = torch.zeros_like(present)
    for side in (values > 0, values < 0):
        number = count(side.logical_and_(present))
        stay |= top(rule_out_(values.abs(), side), number - rounded(rate * number)).logical_and_(side)
    return stay


DROPS = {"magnitude": all_but_smallest, "sign": all_but_smallest_of_either_sign}
