"""Shrinking: prune what the loss misses least, train on, check, until a budget is met or quality falls."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from sparsernn.compaction.compact import compact
from sparsernn.compaction.files import SMALLER, as_stored, file_of
from sparsernn.errors import UserError
from sparsernn.measure.latency import latency
from sparsernn.methods.static import Static
from sparsernn.own_model.batches import Loss, ask, batches_of, evaluating, inputs_of, number_of, passes
from sparsernn.own_model.checks import checked
from sparsernn.own_model.choosing import Chooser
from sparsernn.own_model.fine_tuning import Start, fine_tune
from sparsernn.own_model.rounds import Rounds, State, fingerprint
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.budget import check_number, check_positive
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import unwrap
from sparsernn.tracing.copying import copy_of
from sparsernn.typed import check_options

Train = Callable[[nn.Module, Start], object]
LOWER = 0.01
TRIES, TRIES_FOR_A_BUDGET, LONGEST = 3, 6, 3
"""Rounds below the floor in a row that end it, without and with a budget, and how many times as long they train."""
SHORTEST = 0.0004
"""Seconds that are timed at once, so that most of them fall between those of other programs."""


@dataclass(frozen=True)
class Budget:
    """What a model may cost; None: any.

    Arguments:
        weights: numbers that are not absent, in all parameters.
        bytes: of the file that `save_compact` writes.
        microseconds: of one call, on one thread; what a call is, `How.timed` says.
        faster: how many times as fast as that of the model as it was given a call has to be, both timed in turns.
    """

    weights: int | None = None
    bytes: int | None = None
    microseconds: float | None = None
    faster: float | None = None

    @classmethod
    def of(cls, budget: Budget | Mapping[str, float] | float | None, weights: int) -> Budget:
        """A budget as it may be written: by name, or as the fraction of all weights that may stay."""
        if budget is None or isinstance(budget, Budget):
            return budget or cls()
        names = [field.name for field in fields(cls)]
        if isinstance(budget, Mapping):
            if unknown := set(budget) - set(names):
                raise UserError(f"the budget names {sorted(unknown)}", f"of {', '.join(names)}", "pass one of these")
            return cls(**budget)  # type: ignore[arg-type]
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget <= 1:
            raise UserError(f"the budget is {budget!r}", "a fraction of the weights in (0, 1], or a Budget", "pass one")
        return cls(weights=int(budget * weights))

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            if limit is not None and not (isinstance(limit, int | float) and limit > 0):
                raise UserError(f"the budget has {name}={limit!r}", "a number above 0", "pass one")

    @property
    def of_bytes(self) -> bool:
        """Whether fewer bytes are asked for, as they are where there is no limit."""
        return self.bytes is not None or self == Budget()

    def admits(self, point: Point) -> bool:
        """Whether a model costs no more than this; one without limits is never met."""
        limits = {name: limit for name, limit in asdict(self).items() if limit is not None}
        if limits.pop("faster", 0.0) > point.faster:
            return False
        return self != Budget() and all(getattr(point, name) <= limit for name, limit in limits.items())


@dataclass(frozen=True)
class Point:
    """One model on the way: its size, its time and its quality.

    Attributes:
        weights: that are not absent; bytes: of its file; microseconds: of a call; faster: how many times as fast as
            that of the model as it was given, in the same run.
        quality: of the compacted model as its file gives it back; accepted: whether it is not below the floor.
        note: why nothing was cut out of its tensors, if nothing was.
        dtype: in which its matrices are stored; None: as they are.
    """

    weights: int
    bytes: int
    microseconds: float
    faster: float
    quality: float
    accepted: bool
    note: str = ""
    dtype: str | None = None


@dataclass(frozen=True)
class How:
    """How a model is pruned and trained on.

    Arguments:
        levels: what goes at once: "neuron", "gate", "word" (of an embedding), "weight", a block such as "16x1", ...;
            default: neurons and words, where there are any.
        where: the tensors in which groups start, as for `Sparsifier`; default: every weight matrix that is known.
        share: of the weights that are left, that goes in each round.
        steps: of training in each round, twice and three times as many after one and two that fell below the floor;
            None: one pass over the data.
        learning_rate: with which Adam begins a round, in the loop that is used where there is no `train`; it falls to
            0 along a cosine.
        weight_decay: of its matrices in that loop, as AdamW has it, but at most what takes 30 % off in a round; without
            it a network that is trained on again and again learns its examples by heart.
        train: a loop of one's own, train(model, start): it calls ``sparsifier = start(optimizer, steps)`` once and then
            trains, adding ``sparsifier.penalty()`` to its loss.
        batches: on how many the sensitivity is measured.
        rounds: at most.
        dtypes: smaller types in which matrices may be stored, as for `save_compact`, where that is good enough and the
            budget is one of bytes or none.
        timed: model -> a function without arguments, each call of which is what has to be fast, such as a step of a
            stream; None: a call of the model with the first batch.
    """

    levels: tuple[str, ...] = ()
    where: Any = None
    share: float = 0.3
    steps: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    train: Train | None = None
    batches: int = 64
    rounds: int = 30
    dtypes: tuple[str, ...] = SMALLER
    timed: Callable[[nn.Module], Callable[[], object]] | None = None

    def __post_init__(self) -> None:
        for name in ("levels", "dtypes"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, (value,))
        check_options(self)
        if unknown := set(self.dtypes) - set(SMALLER):
            raise UserError(f"dtypes names {sorted(unknown)}", f"of {', '.join(SMALLER)}", "pass these, or ()")
        for name in ("steps", "batches", "rounds"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise UserError(f"{name} is {number}", "a number of at least 1", f"leave {name} out for the usual one")
        check_positive(self.learning_rate, "learning_rate")
        check_number(self.weight_decay, "weight_decay")
        if not 0 < self.share < 1:
            raise UserError(f"share is {self.share}", "a fraction in (0, 1)", "pass one, such as 0.3")


@dataclass
class Shrunk:
    """What `shrink` found.

    Attributes:
        model, masks: the smallest model that was good enough, compacted where that is possible; the model as it was
            given if none was.
        best: its point; None if no round was good enough.
        points: all of them, the model as it was given first.
        floor: the lowest quality that was accepted.
    """

    model: nn.Module
    masks: Masks
    best: Point | None
    points: list[Point]
    floor: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        best = None if self.best is None else asdict(self.best)
        return {"floor": self.floor, "best": best, "points": [asdict(point) for point in self.points]}

    def __str__(self) -> str:
        lines = [f"{'weights':>12}{'bytes':>12}{'faster':>9}{'quality':>12}"]
        for point in self.points:
            mark = "" if point.accepted else "  below the floor"
            mark = "  taken" if point is self.best else mark
            lines.append(f"{point.weights:>12,}{point.bytes:>12,}{point.faster:>8.2f}x{point.quality:>12.5g}{mark}")
        return "\n".join([*lines, f"floor: {self.floor:.5g}"])


def shrink(
    model: nn.Module,
    data: Any,
    loss: Loss,
    quality: Callable[[nn.Module], float],
    budget: Budget | Mapping[str, float] | float | None = None,
    floor: float | None = None,
    how: How | None = None,
    folder: Path | str | None = None,
) -> Shrunk:
    """The smallest network that is as good as asked: prune a share, train on, compact, measure, again and again.

    In each round the groups that the loss would miss least, a weight, go from the last good model; what is left is
    trained on with fixed masks, compacted, and measured. A round that falls below the floor is thrown away, and the
    next takes half the share and trains longer, until one is good enough and the share grows again; it ends after three
    such rounds, six where a budget is asked for, or as soon as that is met. The model itself is left as it was.

    Arguments:
        model: any trained module.
        data: batches to train on, read anew in each round.
        loss: (model, batch) -> what to minimise; it calls the model.
        quality: model -> a number, the higher the better, measured on examples that are not trained on.
        budget: a `Budget`, a dict with its names, or the fraction of all weights that may stay; None: as small as the
            floor allows.
        floor: the lowest quality that is good enough; None: one hundredth below that of the model as it is.
        how: levels, shares and the training; see `How`.
        folder: where each round is written, so that the same call goes on where it was stopped.
    Returns: Shrunk; `print` it for the trade-off.
    Raises: UserError for a budget, levels or a folder that do not fit, or data that cannot be read again.
    Source: Molchanov et al. 2019 (iterative pruning by squared first-order sensitivity).
    """
    how, inner = how or How(), unwrap(model)
    data = checked(inner, data, loss, quality, floor, how, How)
    batches = batches_of(data, how.batches)
    shrinking = _Shrinking(inner, data, loss, quality, how, Chooser(inner, batches, loss, how.levels, how.where))
    limits = Budget.of(budget, _weights(inner, None))
    lowest = shrinking.first.quality - LOWER * abs(shrinking.first.quality) if floor is None else float(floor)
    about = {"model": fingerprint(inner), "levels": shrinking.chooser.names, "floor": lowest}
    return shrinking.run(limits, lowest, Rounds(folder, about))


class _Shrinking:
    """One call of `shrink`."""

    def __init__(
        self, model: nn.Module, data: Any, loss: Loss, quality: Callable[[nn.Module], float], how: How, chooser: Chooser
    ):
        self.model, self.data, self.loss, self.quality, self.how, self.chooser = (
            model,
            data,
            loss,
            quality,
            how,
            chooser,
        )
        self.example = inputs_of(model, chooser.batches[0], loss)
        self.first = self._measured(model, chooser.full)
        if math.isnan(self.first.quality):
            raise UserError("the quality of the model as it is is nan", "a number", "look for NaN in its weights")

    def run(self, budget: Budget, floor: float, rounds: Rounds) -> Shrunk:
        """All rounds, those on disk included."""
        model, masks = copy_of(self.model), copy.deepcopy(self.chooser.full)
        state = rounds.resume(model, masks) or State([], self.how.share)
        points = [self.first, *(Point(**point) for point in state.points)]
        number = max((place for place, point in enumerate(points) if place and point.accepted), default=None)
        dtypes = self.how.dtypes if budget.of_bytes else ()
        while not self._ends(budget, points, state):
            left = self._pruned(model, masks, state.share, budget)
            if left is masks:
                break
            trained, left = self._trained(model, left, min(1 + state.failures, LONGEST))
            point = self._measured(trained, left, floor, _last(points), dtypes)
            points.append(point)
            state.points.append(asdict(point))
            if point.accepted:
                model, masks, number, state.failures = trained, left, len(points) - 1, 0
                state.share = min(self.how.share, 2 * state.share)
            else:
                state.failures, state.share = state.failures + 1, state.share / 2
            rounds.save(state, model, masks, number)
        if sentence := _unmet(budget, points):
            warnings.warn(sentence, stacklevel=3)
        if number is None:
            return Shrunk(self.model, self.chooser.full, None, points, floor)
        small, left, _ = self._compacted(model, masks)
        return Shrunk(as_stored(small, left, points[number].dtype), left, points[number], points, floor)

    def _ends(self, budget: Budget, points: list[Point], state: State) -> bool:
        tries = TRIES if budget == Budget() else TRIES_FOR_A_BUDGET
        return budget.admits(_last(points)) or state.failures >= tries or len(state.points) >= self.how.rounds

    def _pruned(self, model: nn.Module, masks: Masks, share: float, budget: Budget) -> Masks:
        """The masks of the next round."""
        going = int(share * _weights(model, masks))
        if budget.weights is not None:
            going = min(going, max(_weights(model, masks) - budget.weights, 1))
        return self.chooser.prune(model, masks, going)

    def _trained(self, model: nn.Module, masks: Masks, times: int) -> tuple[nn.Module, Masks]:
        """A copy trained on with these masks, so many times as long as usual, and the masks that it ended with."""
        trained = copy_of(model)
        masks.apply_(trained)
        trained.train(self.model.training)
        sparsifiers: list[Sparsifier] = []

        def start(optimizer: Any, steps: int) -> Sparsifier:
            static, where = Static(masks=masks.kept), list(masks.kept)
            sparsifiers.append(Sparsifier(trained, static, optimizer, steps=steps, where=where, example=self.example))
            return sparsifiers[-1]

        if self.how.train is not None:
            ask("train", self.how.train, trained, start)
        else:
            how, steps = self.how, times * (self.how.steps or passes(self.data))
            fine_tune(trained, self.data, self.loss, start, steps, how.learning_rate, how.weight_decay)
        for sparsifier in sparsifiers:
            masks = sparsifier.finalize()
        return trained, masks

    def _measured(
        self,
        model: nn.Module,
        masks: Masks,
        floor: float = -math.inf,
        before: Point | None = None,
        dtypes: Sequence[str] = (),
    ) -> Point:
        """The point of a model, compacted where it can be, in the smallest form that is good enough.

        Arguments:
            before: the last good point, whose bytes are the most that may be taken; None: the model as it was given.
        """
        small, left, note = self._compacted(model, masks)
        faster, microseconds = self._timed(small)
        forms: list[tuple[int, str | None, nn.Module]] = [(len(file_of(small, left)[0]), None, small)]
        for dtype in dtypes:
            with contextlib.suppress(UserError):  # numbers that this type does not hold
                form = as_stored(small, left, dtype)
                forms.append((len(file_of(form, left)[0]), dtype, form))
        forms.sort(key=lambda form: form[0])
        points: list[Point] = []
        for size, dtype, form in [form for form in forms if before is None or form[0] <= before.bytes] or forms[:1]:
            quality = number_of("quality", self.quality, form)
            about = quality, quality >= floor, note, dtype
            points.append(Point(_weights(small, left), size, microseconds, faster, *about))
            if points[-1].accepted:
                break
        return points[-1]

    def _compacted(self, model: nn.Module, masks: Masks) -> tuple[nn.Module, Masks, str]:
        """The compacted model and its masks; a copy of the masked one, and why, where it cannot be compacted."""
        note, small, left = "", None, masks
        if masks is not self.chooser.full:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    small, left = compact(model, masks, example=self.example)
            except UserError as error:
                note = str(error)
        return (copy_of(model) if small is None else small).eval(), left, note

    def _timed(self, small: nn.Module) -> tuple[float, float]:
        """How many times as fast as that of the model as it was given a call is, and its microseconds."""
        with evaluating(self.model), evaluating(small):
            calls = {"given": self._call(self.model), "small": self._call(small)}
            timing = latency(calls, lambda batch: (), batches=(1,), rounds=100, seconds=0.5, shortest=SHORTEST)[1][
                "small"
            ]
        return timing.speedup, 1e3 * timing.milliseconds

    def _call(self, model: nn.Module) -> Callable[[], object]:
        """What is timed of a model."""
        if self.how.timed is not None:
            timed = ask("timed", self.how.timed, model)
            return partial(ask, "what timed returned", timed)
        positional, keywords = self.example
        return partial(ask, "a call that is timed", partial(model, *positional, **keywords))


def _unmet(budget: Budget, points: list[Point]) -> str:
    """What is not as it was asked for, in a sentence."""
    best = _last(points)
    if budget.admits(best):
        return "nothing was cut: the model meets the budget as it is" if best is points[0] else ""
    if best is points[0]:
        return f"none of {len(points) - 1} rounds was good enough: the model is as it was given"
    size = f"{best.weights:,} weights, {best.bytes:,} bytes, {best.faster:.2f} times as fast"
    return "" if budget == Budget() else f"the budget is not met: the smallest network that is good enough has {size}"


def _last(points: list[Point]) -> Point:
    return next(point for point in reversed(points) if point.accepted)


def _weights(model: nn.Module, masks: Masks | None) -> int:
    """Numbers that are not absent, in all parameters."""
    kept = {} if masks is None else masks.kept
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return sum(int(kept[name].count_nonzero()) if name in kept else size for name, size in sizes.items())
