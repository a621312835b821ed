"""Deep R: rewiring as a random walk of connections with fixed signs."""

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.rewiring import Rewiring, RewiringState
from sparsernn.methods.parts.drops import plain_weights
from sparsernn.methods.parts.growth import AT_RANDOM, Growth
from sparsernn.methods.parts.schedules import steps_between
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_number
from sparsernn.structure.groups import Family, Groups
from sparsernn.structure.movement import pack, unpack
from sparsernn.structure.zeroing import zero_absent_


@dataclass
class DeepRState(RewiringState):
    """What is remembered: where signs are `positive`, packed, by name."""

    positive: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class DeepR(Rewiring):
    """Rewire by sign: a connection that crosses zero goes dormant and a random dormant one takes its place.

    Every place has a sign for good, that of its first value. After each step a weight theta = |w| moves on by
    - lr strength + sqrt(2 lr temperature) noise, lr being the learning rate. At an event those whose sign is no
    longer theirs go dormant and as many of all dormant ones, these included, awake at 0, so the number is constant.
    With every=1 each step ends in an event, the first one too.

    Arguments:
        every: steps between events (the paper: 1, so every step), or a fraction of training.
        granularity: "weight".
        rate: not used, nor are decay, floor and drop: signs decide what goes.
        decay: not used.
        floor: not used.
        drop: not used.
        strength: of the L1 penalty.
        temperature: of the random walk.
    Shapes: single weights; acts on each tensor (or gate) by itself, unless redistribution says otherwise.
    Raises: UserError if a value is out of range or no event falls within training.
    Source: Bellec et al. 2018, algorithm 1 (DEEP R).
    Deviations: signs are those of the initial weights, not drawn anew; L1 and noise follow the optimizer's update,
        whatever the optimizer; the number is constant in each tensor, not only in all together.
    """

    every: int | float = 1
    _: KW_ONLY
    strength: float = 1e-5
    temperature: float = 1e-12
    stop: float = 1.0
    birth: str = "zero"
    known_as = ("deepr", "deep_rewiring")
    granularities = ("weight",)
    growth: ClassVar[Growth] = AT_RANDOM

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.strength, "strength")
        check_number(self.temperature, "temperature")
        if self.granularity != "weight":
            raise UserError(f'Deep R at granularity "{self.granularity}"', '"weight"', "blocks have no sign")

    def initial_state(self) -> DeepRState:
        return DeepRState()

    def prepare(self, run: Run[DeepRState]) -> None:
        for name in run.groups(self.granularity, self.per).names:
            run.state.positive[name] = pack(run.weights[name].detach() >= 0)
        super().prepare(run)

    def is_due(self, run: Run[DeepRState], step: int) -> bool:
        every = steps_between(self.every, run.steps)
        return super().is_due(run, step) if every > 1 else step <= round(self.stop * run.steps)

    def stay(self, run: Run[DeepRState], groups: Groups, family: Family, present: Tensor, rate: float) -> Tensor:
        positive = unpack(run.state.positive[family.tensor], run.masks.kept[family.tensor])
        values = groups.entries(plain_weights(run, groups), family)
        return torch.where(groups.entries({family.tensor: positive}, family), values >= 0, values <= 0)

    def after_step(self, run: Run[DeepRState]) -> None:
        for name in run.groups(self.granularity, self.per).names:
            self._walk(run, name)
        super().after_step(run)

    def rewire(self, run: Run[DeepRState], step: int) -> int:
        """The event; what had to go and could not, for want of free places, starts at 0 where it is."""
        dropped = super().rewire(run, step)
        for name in run.groups(self.granularity, self.per).names:
            positive = unpack(run.state.positive[name], run.masks.kept[name])
            values = run.weights[name].data
            rightful = torch.where(positive, values >= 0, values <= 0)
            if not bool(rightful.all()):
                zero_absent_(values, rightful)
                run.forget(name, ~rightful)
        return dropped

    def _walk(self, run: Run[DeepRState], name: str) -> None:
        """Penalty and noise of one step."""
        parameter, rate = run.weights[name], run.learning_rate(name)
        kept = run.masks.kept[name]
        if self.strength:
            positive = unpack(run.state.positive[name], kept)
            parameter.data.sub_(torch.where(positive, 1.0, -1.0).to(parameter.dtype), alpha=rate * self.strength)
        if self.temperature:
            noise = torch.randn(kept.shape, generator=run.generator, dtype=torch.float32)
            parameter.data.add_(noise.to(parameter), alpha=math.sqrt(2 * rate * self.temperature))
        zero_absent_(parameter.data, kept)
