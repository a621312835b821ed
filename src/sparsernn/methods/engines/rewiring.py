"""Engine: rewire. Sparse from the first step; some weights are dropped and as many grown, the count never changes."""

import abc
import math
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.methods.parts import redistribution
from sparsernn.methods.parts.averages import follow_gradients
from sparsernn.methods.parts.births import BIRTHS, samples_of, welcome
from sparsernn.methods.parts.drops import DROPS, Rounding, largest
from sparsernn.methods.parts.growth import Growth
from sparsernn.methods.parts.rescaling import RESCALINGS, Rescaling
from sparsernn.methods.parts.schedules import DECAYS, check_fires, steps_between
from sparsernn.methods.parts.topology import RandomTopology
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction
from sparsernn.structure.choice import count, pick, top
from sparsernn.structure.groups import BLOCK, Family, Groups
from sparsernn.structure.movement import pack, unpack
from sparsernn.structure.zeroing import rule_out_

MOST_NOTES = 1000


@dataclass
class RewiringState:
    """What is remembered.

    Arguments:
        initial: some of the values that tensors began with, by name, where births take them.
        averages: averaged gradients by name, where somebody looks at them.
        unnoted: how many events are not told yet, and their births and deaths.
    """

    initial: dict[str, Tensor] = field(default_factory=dict)
    averages: dict[str, Tensor] = field(default_factory=dict)
    unnoted: list[int] = field(default_factory=lambda: [0, 0, 0])


@dataclass(frozen=True)
class Rewiring(Method[RewiringState]):
    """What is dropped, where weights grow, how births are shared out, and what value they have.

    An event happens in the first step after every `every` steps, so that what is validated and saved at the end of
    an epoch is the network before it; none follows the last step, and none happens where the rate has come to 0. It
    drops in every family (tensor or gate), shares out as many births, and grows. The number of weights is the same
    after it, in every family unless `redistribution` says otherwise.

    Arguments:
        every: steps between rewirings (int), or a fraction of training (float).
        granularity: "weight" or a block such as "16x1".
        per: whether a "tensor" or each "gate" of it is a matrix of its own.
        rescale: what happens to the first weights that are left: see `RandomPruning`.
        rate: fraction of a tensor's weights that is dropped at the beginning.
        decay: how the rate falls to `floor`: "cosine", "linear" or "constant" (floor is not used).
        floor: fraction that is dropped at the end.
        stop: fraction of training after which the mask stays.
        drop: "magnitude" (the smallest) or "sign" (the same fraction of either sign, and every zero).
        regrow_dropped: whether what was just dropped may grow again.
        birth: "keep" (a weight dropped and grown at once keeps its value, others start at 0), "zero" or "initial" (a
            random one of the values that its tensor began with).
        redistribution: how births are shared out: "none" (a tensor grows what it dropped), "momentum" (in proportion to
            the mean |averaged gradient| of its weights) or "survivors" (to the number of weights it has left).
        momentum: of the averaged gradient, which is kept only where it is needed.
    Attributes:
        replaces_update: whether an event that moves anything takes the place of its step's update.
        rounded: how many weights a fraction of them is.
    """

    explained_by = (RandomTopology,)
    choices = {
        "rescale": RESCALINGS,
        "decay": DECAYS,
        "drop": DROPS,
        "birth": BIRTHS,
        "redistribution": redistribution.RULES,
    }
    sparsity: float | None = None
    every: int | float = 0.05
    _: KW_ONLY
    eps: float | None = None
    granularity: str = "weight"
    distribution: str = "uniform"
    power: float = 1.0
    per: str = "tensor"
    counts: str = "exact"
    rescale: str = "none"
    rate: float = 0.3
    decay: str = "cosine"
    floor: float = 0.0
    stop: float = 0.75
    drop: str = "magnitude"
    regrow_dropped: bool = True
    birth: str = "keep"
    redistribution: str = "none"
    momentum: float = 0.9
    granularities = ("weight", "16x1")
    replaces_update: ClassVar[bool] = False
    rounded: ClassVar[Rounding] = math.ceil

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.topology  # made once, so that its options are checked
        for name in ("rate", "floor", "stop", "momentum"):
            check_fraction(getattr(self, name), name)
        steps_between(self.every, 100)
        if self.granularity != "weight" and (self.drop == "sign" or not BLOCK.fullmatch(str(self.granularity))):
            raise UserError(
                f'rewiring at granularity "{self.granularity}" with drop="{self.drop}"',
                '"weight", or a block such as "16x1" with drop="magnitude"',
                "rewire single weights; whole neurons and gates can be pruned",
            )

    @property
    def topology(self) -> RandomTopology:
        """The first masks."""
        return RandomTopology(self.sparsity, self.eps, self.distribution, self.power, self.counts)

    @property
    def target(self) -> float | None:
        return self.topology.target

    @property
    @abc.abstractmethod
    def growth(self) -> Growth:
        """Where weights grow."""

    @property
    def averages_gradients(self) -> bool:
        """Whether averaged gradients are needed."""
        return self.growth.averages or self.redistribution == "momentum"

    @property
    def reads_dense_gradient(self) -> bool:
        return self.growth.worth is not None or self.averages_gradients

    def reads_next_gradient(self, run: Run[RewiringState]) -> bool:
        return self.averages_gradients or (self.reads_dense_gradient and self.is_due(run, run.step_count + 1))

    def initial_state(self) -> RewiringState:
        return RewiringState()

    def prepare(self, run: Run[RewiringState]) -> None:
        check_fires(steps_between(self.every, run.steps) + 1, self.last(run), run.steps, "rewiring")
        groups = run.groups(self.granularity, self.per)
        run.state.initial = samples_of(run, self.birth, groups.names)
        rescaling = Rescaling(run, self.rescale)
        self.topology.scatter(run, groups)
        rescaling.apply_()

    def stay(self, run: Run[RewiringState], groups: Groups, family: Family, present: Tensor, rate: float) -> Tensor:
        """Which of the groups that exist are not dropped. present: [family.size] -> [family.size]"""
        return DROPS[self.drop](run, groups, family, present, rate, type(self).rounded)

    def rate_at(self, run: Run[RewiringState], step: int) -> float:
        """The fraction of present weights to drop after so many steps."""
        return DECAYS[self.decay](step, max(1, round(self.stop * run.steps)), self.rate, self.floor)

    def is_due(self, run: Run[RewiringState], step: int) -> bool:
        """Whether the step of this number, counted from 1, holds an event."""
        done = step - 1
        return done > 0 and done % steps_between(self.every, run.steps) == 0 and step <= self.last(run)

    def last(self, run: Run[RewiringState]) -> int:
        """The last step that may hold an event."""
        end = round(self.stop * run.steps)
        return min(end + (self.rate_at(run, end) > 0), run.steps)

    def before_step(self, run: Run[RewiringState]) -> bool:
        if self.averages_gradients:
            names = run.groups(self.granularity, self.per).names
            follow_gradients(run, run.state.averages, names, self.momentum)
        if not self.replaces_update or not self.is_due(run, run.step_count + 1):
            return True
        return not self.rewire(run, run.step_count + 1)

    def after_step(self, run: Run[RewiringState]) -> None:
        if not self.replaces_update and self.is_due(run, run.step_count):
            self.rewire(run, run.step_count)

    def finalize(self, run: Run[RewiringState]) -> None:
        if run.steps and not any(self.is_due(run, step) for step in range(1, run.steps_seen + 1)):
            first = next(step for step in range(1, run.steps + 1) if self.is_due(run, step))
            run.warn(
                f"nothing was ever rewired: the first event would have come in step {first}, and {run.steps_seen} of "
                f"{run.steps} steps were counted"
            )

    @torch.no_grad()
    def rewire(self, run: Run[RewiringState], step: int) -> int:
        """The event of a step: drop in every family, share out the births, grow, and see to what is new.

        Returns: how many groups were dropped, those that grew again included.
        """
        groups, state = run.groups(self.granularity, self.per), run.state
        before = {name: pack(run.masks.kept[name]) for name in groups.names}
        importance = redistribution.importance(run, state.averages, groups, self.redistribution)
        dropped = [self._drop(run, groups, family, self.rate_at(run, step - 1)) for family in groups.families]
        lost = [number for number, _ in dropped]
        shares = redistribution.shares(run, groups, self.redistribution, lost, not self.regrow_dropped, importance)
        born = died = 0
        for name in groups.names:
            survived = run.masks.kept[name].clone()
            for family, share, (_, gone) in zip(groups.families, shares, dropped, strict=True):
                if family.tensor == name:
                    self._grow(run, groups, family, share, gone)
            was = unpack(before.pop(name), survived)
            moved = welcome(run, name, self.birth, state.initial, was, survived)
            born, died = born + moved[0], died + moved[1]
        self._note(run, step, born, died)
        return sum(lost)

    def _drop(self, run: Run[RewiringState], groups: Groups, family: Family, rate: float) -> tuple[int, Tensor | None]:
        """Drop in one family: how many, and which, packed, where they may not come back."""
        present = groups.kept(run.masks, family)
        number = count(present)
        most = number if self.redistribution == "none" else number - 1
        if not self.regrow_dropped or (number == family.size and self.redistribution == "none"):
            most = min(most, family.size - number)
        stay = self.stay(run, groups, family, present, rate).logical_and_(present)
        if number - count(stay) > most:
            stay = stay | largest(run, groups, family, present & ~stay, number - most - count(stay))
        groups.keep(run.masks, stay, family)
        return number - count(stay), None if self.regrow_dropped else pack(present & ~stay)

    def _grow(self, run: Run[RewiringState], groups: Groups, family: Family, share: int, gone: Tensor | None) -> None:
        survivors = groups.kept(run.masks, family)
        candidates = ~survivors if gone is None else ~survivors & ~unpack(gone, survivors)
        if self.growth.worth is None:
            grown = pick(candidates, share, run.generator)
        else:
            worth = self.growth.worth(run, run.state.averages, groups, family)
            grown = top(rule_out_(worth.float(), candidates), share).logical_and_(candidates)
        groups.keep(run.masks, survivors | grown, family)

    def _note(self, run: Run[RewiringState], step: int, born: int, died: int) -> None:
        """Note the event; of more than a thousand every so-manieth, with the births and deaths since the last note."""
        so_far = run.state.unnoted
        number, born, died = so_far[0] + 1, so_far[1] + born, so_far[2] + died
        interval = steps_between(self.every, run.steps)
        if number * MOST_NOTES < (self.last(run) - 1) // interval and self.is_due(run, step + interval):
            run.state.unnoted = [number, born, died]
            run.enforce()
        else:
            run.state.unnoted = [0, 0, 0]
            run.note("rewire", born, died, step)
