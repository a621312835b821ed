"""Group lasso on any level of structure."""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.removing import Removing
from sparsernn.methods.parts.removal import RemovalState, check_granularity, have_gone, keep_best_, levels_of, told
from sparsernn.methods.parts.scores import best, magnitude
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction, check_number, check_positive, check_sparsity
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class GroupLasso(Removing):
    """Penalise the norm of every group, so that whole neurons, gates or blocks shrink to nothing.

    The penalty is strength * sum_g ||w_g||_2 + l1 * sum |w| on top of a mean loss. At `stop` groups with a root mean
    square below `threshold` (or the smallest ones, where `sparsity` is given) are removed, with their biases; the rest
    is trained on without penalty.

    Intrinsic sparse structures (ISS) of Wen et al. are `granularity="neuron"` with `zero_below=1e-4, stop=None`; the
    weights, gates and neurons of Lobacheva et al. are `granularity=("gate", "outgoing")` with the same and an `l1`:
    four groups of what comes in at a unit's gates, and one of what reads the unit. Both sum their loss over the steps
    that a batch reads: their strengths, their L1 and their limit of the gradient's norm are divided by that number
    here, and their learning rate is multiplied by it.

    Arguments:
        strength: lambda, >= 0, for a loss that is a mean over the batch and its steps.
        granularity: "neuron", "gate", "outgoing", "weight", "16x1", another level of the cell, or a tuple of levels.
        threshold: root mean square of a group's weights below which it is removed; scale-free. By default that of Dodge
            et al., a norm of 0.1 of the 601 numbers of a state.
        sparsity: fraction of groups to remove instead of a threshold, in [0, 1), or None.
        proximal: shrink groups by a proximal step of size learning rate * strength after each update instead of
            adding a penalty, one level after the other; the groups of a level must not overlap.
        biases: whether biases count in a group's norm; None: as the cell has it, which for automata they do (Dodge et
            al. 2019), elsewhere not (Wen et al. 2018).
        l1: strength of an L1 penalty, >= 0, for a mean loss: on every tensor in which groups have a part, that of the
            reader of the last layer among them, as in the code of Wen et al. (there every parameter but the embedding).
            What a proximal step of it makes 0 is absent in the end.
        zero_below: magnitude below which a weight of any group is set to 0 after every step until groups are removed;
            it may come back. In the end what is 0 is absent, and groups of zeros alone are removed instead of those
            below `threshold`. None: weights are left as they are.
        counted_twice: a unit's weights to itself count twice in its norm, as in the code of Wen et al.
    Shapes: any weight.
    Raises: UserError for values out of range, or for a proximal step on overlapping groups.
    Source: Yuan & Lin 2006; Wen et al. 2018 (ISS: neurons of LSTMs); Lobacheva et al. 2020 (gates and neurons); Dodge
        et al. 2019 (states of automata).
    Deviations: a group's norm has the gradient 0 at 0, where Wen et al. add 1e-8 under the root. `zero_below` touches
        neither biases nor tensors without a group, such as an embedding, where they set every parameter to 0.
    """

    strength: float
    granularity: str | tuple[str, ...] = "neuron"
    _: KW_ONLY
    stop: float | None = 0.7
    threshold: float = 0.1 / 601**0.5
    sparsity: float | None = None
    proximal: bool = False
    biases: bool | None = None
    l1: float = 0.0
    zero_below: float | None = None
    counted_twice: bool = False
    reads_dense_gradient: ClassVar[bool] = False
    granularities: ClassVar[tuple[str, ...]] = ("weight", "gate", "neuron", "16x1")
    known_as: ClassVar[tuple[str, ...]] = ("iss", "intrinsic_sparse_structures")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.strength, "strength")
        check_granularity(self.granularity)
        check_fraction(self.threshold, "threshold")
        check_number(self.l1, "l1")
        if self.zero_below is not None:
            check_positive(self.zero_below, "zero_below")
        if self.sparsity is not None:
            check_sparsity(self.sparsity)

    @property
    def target(self) -> float | None:
        return self.sparsity

    def prepare(self, run: Run[RemovalState]) -> None:
        overlap = [level for level in levels_of(self.granularity) if run.groups(level).overlapping]
        if self.proximal and overlap:
            raise UserError(
                "a proximal step on groups that overlap (a unit's row crosses another unit's column)",
                'levels whose groups are disjoint, such as "gate", "outgoing" or "16x1"',
                "use proximal=False",
            )
        if self.proximal and run.optimizer is None and run.steps:
            raise UserError(
                "a proximal step without an optimizer",
                "an optimizer, whose learning rate is the step",
                "pass optimizer=",
            )
        if run.steps == 0:
            self.end(run)

    def penalty(self, run: Run[RemovalState]) -> Tensor | None:
        if have_gone(run) or self.proximal:
            return None
        total = torch.zeros((), device=run.device)
        for level in levels_of(self.granularity):
            total = total + self.strength * self._measured(run, level).norms(dict(run.weights)).sum()
        for weight in self._in_groups(run).values() if self.l1 else ():
            total = total + self.l1 * weight.abs().sum()
        return total

    def after_step(self, run: Run[RemovalState]) -> None:
        if not have_gone(run):
            if self.proximal and run.optimizer is not None:
                self._shrink(run, run.learning_rate(run.selected[0]))
            self._zero_small(run)
        super().after_step(run)

    @torch.no_grad()
    def _shrink(self, run: Run[RemovalState], rate: float) -> None:
        """The proximal maps: w_g <- w_g max(0, 1 - rate strength / ||w_g||), and w <- sign(w) max(0, |w| - rate l1)."""
        weights: dict[str, Tensor] = dict(run.weights)
        for level in levels_of(self.granularity):
            groups = self._measured(run, level)
            norms = groups.norms(weights)
            groups.scale_(weights, (1 - rate * self.strength / norms.clamp_min(1e-30)).clamp_min(0))
        for weight in self._in_groups(run).values() if self.l1 else ():
            weight.copy_(torch.nn.functional.softshrink(weight, rate * self.l1))

    @torch.no_grad()
    def _zero_small(self, run: Run[RemovalState]) -> None:
        if self.zero_below is None:
            return
        # What is at the limit stays.
        below = math.nextafter(self.zero_below, 0)
        for weight in self._in_groups(run).values():
            torch.hardshrink(weight.data, below, out=weight.data)

    def _in_groups(self, run: Run[RemovalState]) -> dict[str, Tensor]:
        """The weights that groups own, biases left out unless they count in a norm."""
        names = {name for level in levels_of(self.granularity) for name in self._measured(run, level).names}
        return {name: weight for name, weight in run.weights.items() if name in names}

    def _measured(self, run: Run[RemovalState], level: str) -> Groups:
        return run.groups(level).measured(self.biases, self.counted_twice)

    def survivors(self, run: Run[RemovalState]) -> Mapping[str, Tensor]:
        return {level: self._large(run, run.groups(level)) for level in levels_of(self.granularity)}

    def _large(self, run: Run[RemovalState], groups: Groups) -> Tensor:
        scores = groups.in_line(magnitude(run, groups.measured(self.biases, self.counted_twice)))
        if self.sparsity is not None:
            return best(groups, scores, round((1 - self.sparsity) * groups.count))
        kept = scores > (self.threshold if self.zero_below is None else 0)
        dead = keep_best_(kept, scores, groups.families)
        told(run, dead if self.zero_below is None else ())
        return kept

    @torch.no_grad()
    def end(self, run: Run[RemovalState]) -> None:
        self._zero_small(run)
        super().end(run)
        died: dict[str, Tensor] = {}
        shrinks = self.proximal and self.l1 > 0
        for name, weight in self._in_groups(run).items() if shrinks or self.zero_below is not None else ():
            died[name] = run.masks.kept[name] & (weight == 0)
            run.masks.kept[name] &= weight != 0
        if died:
            run.changed("remove", died=died)
            empty = [name for name in died if not bool(run.masks.kept[name].any())]
            if empty:
                run.warn(f"nothing is left of {', '.join(empty)}: strength or zero_below are too large")
