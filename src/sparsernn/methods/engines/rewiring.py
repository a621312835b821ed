"""Engine: rewire. Sparse from the first step; some weights are dropped and as many grown, the count never changes."""

from __future__ import annotations

import abc
import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.parts import redistribution
from sparsernn.methods.parts.schedules import DECAYS, check_fires, choose, steps_between
from sparsernn.methods.parts.topology import Sparse, check_choice
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.budget import check_fraction
from sparsernn.structure.choice import count, pick, top
from sparsernn.structure.groups import BLOCK, Family, Groups
from sparsernn.structure.movement import pack, unpack
from sparsernn.structure.zeroing import rule_out_, zero_absent_

DROPS = ("magnitude", "sign")
BIRTHS = ("zero", "keep", "initial")
MOST_NOTES = 1000
SAMPLE = 4096


@dataclass(frozen=True)
class Rewiring(Sparse):
    """Shared by methods that drop and grow weights every so often. See its subclasses.

    An event happens in the first step after every `every` steps, so that what is validated and saved at the end of
    an epoch is the network before it; none follows the last step. It drops in every family (tensor or gate), shares
    out as many births, and grows. The number of weights is the same after it, in every family unless `redistribution`
    says otherwise.

    Arguments: those of `Sparse`, and
        every: steps between rewirings (int), or a fraction of training (float).
        rate: fraction of a family's weights that is dropped at the beginning; floor: at the end.
        decay: from rate to floor along a "cosine", "linear", or "constant" (floor is not used).
        stop: fraction of training after which the mask stays.
        drop: "magnitude" (the smallest), or "sign": the same fraction of the positive and of the negative weights,
            those closest to zero, and every weight that is exactly zero.
        regrow_dropped: whether what was just dropped may grow again.
        birth: "keep": a weight dropped and grown in one event keeps its value and the optimizer's memory, others start
            at 0; "zero": all grown weights start at 0; "initial": all start at a random one of the values that
            their tensor began with.
        redistribution: "none" (a family grows what it dropped), "momentum" (in proportion to the mean |averaged
            gradient| of its weights) or "survivors" (to the number of weights it has left). No family is emptied.
        momentum: of the averaged gradient, which is kept, 4 bytes a weight, only where it is needed.
    """

    every: int | float = 0.05
    _: KW_ONLY
    rate: float = 0.3
    decay: str = "cosine"
    floor: float = 0.0
    stop: float = 0.75
    drop: str = "magnitude"
    regrow_dropped: bool = True
    birth: str = "keep"
    redistribution: str = "none"
    momentum: float = 0.9
    replaces_update: ClassVar[bool] = False
    averages_gradients: ClassVar[bool] = False
    grows_at_random: ClassVar[bool] = False

    @property
    def reads_dense_gradient(self) -> bool:
        return not self.grows_at_random or self.averages_gradients or self.redistribution == "momentum"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rate", "floor", "stop", "momentum"):
            check_fraction(getattr(self, name), name)
        choose(DECAYS, self.decay, "decay")
        check_choice(self.drop, DROPS, "drop")
        check_choice(self.birth, BIRTHS, "birth")
        check_choice(self.redistribution, redistribution.RULES, "redistribution")
        steps_between(self.every, 100)
        if self.granularity != "weight" and (self.drop == "sign" or not BLOCK.fullmatch(str(self.granularity))):
            raise UserError(
                f'rewiring at granularity "{self.granularity}" with drop="{self.drop}"',
                '"weight", or a block such as "16x1" with drop="magnitude"',
                "rewire single weights; whole neurons and gates can be pruned",
            )

    def prepare(self, run: Sparsifier) -> None:
        first = steps_between(self.every, run.steps) + 1
        check_fires(first, round(self.stop * run.steps) + 1, run.steps, "rewiring")
        if self.birth == "initial":
            for name in run.groups(self.granularity, self.per).names:
                values = run.weights[name].detach().reshape(-1)
                run.memory[f"initial.{name}"] = values[:: -(-len(values) // SAMPLE)].clone()
        self.scatter(run)

    @abc.abstractmethod
    def grow_score(self, run: Sparsifier, groups: Groups, family: Family) -> Tensor | None:
        """What each absent group would be worth, larger is better, a tensor of its own; None: any, at random. [size]"""

    def stay(self, run: Sparsifier, groups: Groups, family: Family, kept: Tensor, rate: float) -> Tensor:
        """Which of the groups that exist are not dropped. kept: [family.size] -> [family.size]"""
        if self.drop == "sign":
            return farthest_by_sign(groups.entries(plain_weights(run, groups), family), kept, rate)
        present = count(kept)
        return _largest(run, groups, family, kept, present - math.ceil(rate * present))

    def rate_at(self, run: Sparsifier, step: int) -> float:
        """The fraction of present weights to drop after so many steps."""
        return DECAYS[self.decay](step, max(1, round(self.stop * run.steps)), self.rate, self.floor)

    def is_due(self, run: Sparsifier, step: int) -> bool:
        """Whether the step of this number, counted from 1, holds an event."""
        done = step - 1
        return done > 0 and done % steps_between(self.every, run.steps) == 0 and done <= round(self.stop * run.steps)

    def before_step(self, run: Sparsifier) -> bool:
        if self.averages_gradients or self.redistribution == "momentum":
            redistribution.average_gradients(run, run.groups(self.granularity, self.per).names, self.momentum)
        if not self.replaces_update or not self.is_due(run, run.step_count + 1):
            return True
        self.rewire(run, run.step_count + 1)
        return False

    def after_step(self, run: Sparsifier) -> None:
        if not self.replaces_update and self.is_due(run, run.step_count):
            self.rewire(run, run.step_count)

    @torch.no_grad()
    def rewire(self, run: Sparsifier, step: int) -> None:
        """The event of a step: drop in every family, share out the births, grow, and see to what is new."""
        groups = run.groups(self.granularity, self.per)
        before = {name: pack(run.masks.kept[name]) for name in groups.names}
        importance = redistribution.importance(run, groups, self.redistribution)
        dropped = [self._drop(run, groups, family, self.rate_at(run, step - 1)) for family in groups.families]
        lost = [number for number, _ in dropped]
        shares = redistribution.shares(run, groups, self.redistribution, lost, not self.regrow_dropped, importance)
        born = died = 0
        for name in groups.names:
            survived = run.masks.kept[name].clone()
            for family, share, (_, gone) in zip(groups.families, shares, dropped, strict=True):
                if family.tensor == name:
                    self._grow(run, groups, family, share, gone)
            moved = self._welcome(run, name, unpack(before.pop(name), survived), survived)
            born, died = born + moved[0], died + moved[1]
        self._note(run, step, born, died)

    def _drop(self, run: Sparsifier, groups: Groups, family: Family, rate: float) -> tuple[int, Tensor | None]:
        """Drop in one family: how many, and which, packed, where they may not come back."""
        kept = groups.kept(run.masks, family)
        present = count(kept)
        most = present if self.redistribution == "none" else present - 1
        if not self.regrow_dropped or (present == family.size and self.redistribution == "none"):
            most = min(most, family.size - present)
        stay = self.stay(run, groups, family, kept, rate).logical_and_(kept)
        if present - count(stay) > most:
            stay = stay | _largest(run, groups, family, kept & ~stay, present - most - count(stay))
        groups.keep(run.masks, stay, family)
        return present - count(stay), None if self.regrow_dropped else pack(kept & ~stay)

    def _grow(self, run: Sparsifier, groups: Groups, family: Family, share: int, gone: Tensor | None) -> None:
        survivors = groups.kept(run.masks, family)
        candidates = ~survivors if gone is None else ~survivors & ~unpack(gone, survivors)
        score = self.grow_score(run, groups, family)
        if score is None:
            grown = pick(candidates, share, run.generator)
        else:
            grown = top(rule_out_(score.float(), candidates), share).logical_and_(candidates)
        groups.keep(run.masks, survivors | grown, family)

    def _welcome(self, run: Sparsifier, name: str, was: Tensor, survived: Tensor) -> tuple[int, int]:
        """Give the new weights of a tensor their values; the optimizer forgets them and the dead. How many of each."""
        now, parameter = run.agree_(run.masks.kept[name]), run.model.get_parameter(name)
        born, died = now & ~was, was & ~now
        new = born if self.birth == "keep" else now & ~survived
        zero_absent_(parameter.data, ~new)
        if self.birth == "initial":
            sample = run.memory[f"initial.{name}"]
            chosen = torch.randint(len(sample), (count(new),), generator=run.generator)
            parameter.data[new] = sample[chosen.to(sample.device)].to(parameter.device)
        run.forget(name, new | died)
        return count(born), count(died)

    def _note(self, run: Sparsifier, step: int, born: int, died: int) -> None:
        """Note the event; of more than a thousand every so-manieth, with the births and deaths since the last note."""
        so_far = run.memory.get("unnoted", [0, 0, 0])
        number, born, died = so_far[0] + 1, so_far[1] + born, so_far[2] + died
        interval, last = steps_between(self.every, run.steps), min(round(self.stop * run.steps), run.steps - 1)
        if number * MOST_NOTES < last // interval and step - 1 + interval <= last:
            run.memory["unnoted"] = [number, born, died]
            run.enforce()
        else:
            run.memory["unnoted"] = [0, 0, 0]
            run.note("rewire", born, died, step)


def plain_weights(run: Sparsifier, groups: Groups) -> dict[str, Tensor]:
    """The tensors that groups are of, without their history."""
    return {name: run.model.get_parameter(name).detach() for name in groups.names}


def _largest(run: Sparsifier, groups: Groups, family: Family, kept: Tensor, number: int) -> Tensor:
    """The `number` groups of largest norm among those kept. [family.size]"""
    norms = groups.family_norms(plain_weights(run, groups), family).float()
    return top(rule_out_(norms, kept), number).logical_and_(kept)


def farthest_by_sign(values: Tensor, kept: Tensor, rate: float) -> Tensor:
    """The weights farthest from zero of either sign: of n of a sign ceil(rate n) are dropped, and all zeros. [size]"""
    stay = torch.zeros_like(kept)
    for side in (values > 0, values < 0):
        number = count(side.logical_and_(kept))
        stay |= top(rule_out_(values.abs(), side), number - math.ceil(rate * number)).logical_and_(side)
    return stay
