"""Deep R: rewiring as a random walk of connections with fixed signs."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.rewiring import Rewiring, plain_weights
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.budget import check_number
from sparsernn.structure.groups import Family, Groups
from sparsernn.structure.movement import pack, unpack
from sparsernn.structure.zeroing import zero_absent_


@dataclass(frozen=True)
class DeepR(Rewiring):
    """Rewire by sign: a connection that crosses zero goes dormant and a random dormant one takes its place.

    Every place has a sign for good, that of its first value. After each step a weight theta = |w| moves on by
    - lr strength + sqrt(2 lr temperature) noise, lr being the learning rate. At an event those whose sign is no
    longer theirs go dormant and as many of all dormant ones, these included, awake at 0, so the number is constant.

    Arguments: those of `Rewiring` but rate, floor, decay, drop; here
        sparsity: fraction of zeros, in [0, 1); or eps=.
        every: steps between events (the paper: 1, so every step), or a fraction of training.
        strength: of the L1 penalty; temperature: of the random walk.
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
    grows_at_random: ClassVar[bool] = True
    known_as: ClassVar[tuple[str, ...]] = ("deepr", "deep_rewiring")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.strength, "strength")
        check_number(self.temperature, "temperature")
        if self.granularity != "weight":
            raise UserError(f'Deep R at granularity "{self.granularity}"', '"weight"', "blocks have no sign")

    def prepare(self, run: Sparsifier) -> None:
        for name in run.groups(self.granularity, self.per).names:
            run.memory[f"positive.{name}"] = pack(run.weights[name].detach() >= 0)
        super().prepare(run)

    def grow_score(self, run: Sparsifier, groups: Groups, family: Family) -> None:
        return None

    def stay(self, run: Sparsifier, groups: Groups, family: Family, kept: Tensor, rate: float) -> Tensor:
        positive = unpack(run.memory[f"positive.{family.tensor}"], run.masks.kept[family.tensor])
        values = groups.entries(plain_weights(run, groups), family)
        return torch.where(groups.entries({family.tensor: positive}, family), values >= 0, values <= 0)

    def after_step(self, run: Sparsifier) -> None:
        for name in run.groups(self.granularity, self.per).names:
            self._walk(run, name)
        super().after_step(run)

    def _walk(self, run: Sparsifier, name: str) -> None:
        """Penalty and noise of one step."""
        parameter, rate = run.weights[name], run.learning_rate(name)
        kept = run.masks.kept[name]
        if self.strength:
            positive = unpack(run.memory[f"positive.{name}"], kept)
            parameter.data.sub_(torch.where(positive, 1.0, -1.0).to(parameter.dtype), alpha=rate * self.strength)
        if self.temperature:
            noise = torch.randn(kept.shape, generator=run.generator, dtype=torch.float32)
            parameter.data.add_(noise.to(parameter), alpha=math.sqrt(2 * rate * self.temperature))
        zero_absent_(parameter.data, kept)
