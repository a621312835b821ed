"""A training in progress: everything that changes from step to step, and how."""

import copy
import math
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.sparsifying.state_tree import State
from sparsernn.structure.masks import Masks
from sparsernn.training.batches import Batch, Carry, Split
from sparsernn.training.evaluated_weights import evaluated_weights, note_validation, show
from sparsernn.training.objectives import Objective, add_sums, carries_state, evaluate, is_better, to_device
from sparsernn.training.optimizers import build_optimizer
from sparsernn.training.placement import placement_of
from sparsernn.training.random_state import seed_everything, seed_of
from sparsernn.training.settings import Settings
from sparsernn.training.tracking import Row


class Diverged(UserError):
    """The loss or a weight is no longer a finite number."""


class Training:
    """Model, optimizer, sparsifier and position; `fit` drives it and `resumption` saves it."""

    def __init__(
        self,
        model: nn.Module,
        train: Split,
        valid: Split | None,
        objective: Objective,
        method: Method | None,
        settings: Settings,
    ):
        self.model, self.train, self.valid = model, train, valid
        self.objective, self.method, self.settings = objective, method, settings
        self.epoch, self.batch, self.seconds = 0, 0, 0.0
        self.sums: dict[str, tuple[float, float]] = {}
        self.carry: Carry = None
        self.history: list[Row] = []
        self.best: State | None = None
        self.batches = settings.passes * train.number_of_batches(settings.batch_size)
        self.steps = settings.epochs * self.batches
        if not self.batches:
            raise UserError("The training split has no batches", "at least one example", "Lower the batch size")
        check_passes(settings.passes, train)
        seed_everything(settings.seed)
        self.optimizer = build_optimizer(settings, model.parameters())
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.placement = placement_of(settings)
        self.called = self.placement.prepare(model, self.optimizer)
        self.sparsifier = None
        if method is not None:
            self.sparsifier = Sparsifier(
                model,
                method,
                self.optimizer,
                steps=self.steps,
                loss=self.first_loss,
                where=settings.where,
                seed=settings.seed,
                example=self.objective.arguments(self.first_batch()),
            )
        seed_everything(settings.seed, self.placement.rank)

    @property
    def step(self) -> int:
        """Batches trained on so far."""
        return self.epoch * self.batches + self.batch

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or the last `patience` of those that count brought no new best."""
        best, patience = self.best_place, self.settings.patience
        stale = 0 if best is None else sum(row["settled"] for row in self.history[best + 1 :])
        return self.epoch >= self.settings.epochs or (patience is not None and stale >= patience)

    @property
    def best_place(self) -> int | None:
        """Index of the best row so far, by what the settings keep."""
        return best_row(self.history, self.objective, self.settings.keep)

    def epoch_batches(self, size: int | None = None) -> Iterator[Batch]:
        """The batches of this epoch, in an order that follows from the seed and the epoch alone."""
        passes = self.settings.passes
        for number in range(self.epoch * passes, (self.epoch + 1) * passes):
            seed = None if carries_state(self.train) else seed_of(self.settings.seed, number)
            yield from self.train.batches(size or self.settings.batch_size, shuffle_seed=seed)

    def first_batch(self, size: int | None = None) -> Batch:
        """The first training batch, whole in every process."""
        return to_device(next(iter(self.epoch_batches(size))), self.placement.device)

    def first_loss(self) -> Tensor:
        """Loss on the first training examples, for methods that look at a gradient before training."""
        with self.placement.precision():
            return self.objective.loss(self.model, self.first_batch(self.settings.scoring_examples))[0]

    def train_on(self, batch: Batch) -> float:
        """One step; returns the loss without the penalty."""
        self.set_rate()
        part = self.placement.part(batch, self.objective)
        batch = to_device(part.batch, self.placement.device)
        with self.placement.precision():
            loss, sums, carry = self.objective.loss(self.called, batch, self.carry)
        total = loss * part.loss_weight
        if self.sparsifier is not None:
            penalty = self.sparsifier.penalty()
            total = total + penalty
            if penalty.requires_grad:
                sums["penalty"] = (penalty.item(), 1)
        if not math.isfinite(total.item()):
            raise self.diverged(f"The loss is {total.item()}")
        self.placement.update(total, self.model.parameters(), self.settings.clip)
        add_sums(self.sums, sums, part.sums_weight)
        self.carry = carry if carries_state(self.train) else None
        self.batch += 1
        return loss.item()

    def set_rate(self) -> None:
        """Set the learning rate of the step to come."""
        losses = [validation_loss(row) for row in self.history]
        factor = rate_factor(self.settings, self.epoch + 1, self.step / self.steps, losses)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def end_epoch(self, seconds: float) -> Row:
        """Validate, and note the epoch's row; keep the evaluated weights if they are the best so far."""
        names = list(self.sums)
        summed = self.placement.summed([number for name in names for number in self.sums[name]])
        figures = self.objective.figures(dict(zip(names, zip(summed[::2], summed[1::2], strict=True), strict=True)))
        sparsity = 0.0 if self.sparsifier is None else self.sparsifier.masks.sparsity()
        row = {
            "epoch": self.epoch + 1,
            "step": (self.epoch + 1) * self.batches,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "sparsity": sparsity,
            "settled": self.is_settled(),
        }
        row |= {f"train_{name}": value for name, value in figures.items()}
        with evaluated_weights(self.optimizer, self.sparsifier):
            row |= {f"valid_{name}": value for name, value in self.validate().items()}
            self.history.append(self.placement.from_first(row | {"seconds": round(seconds, 3)}))
            if self.settings.keep != "last" and self.best_place == len(self.history) - 1:
                self.best = copy.deepcopy({"model": self.model.state_dict(), "sparsifier": self.sparsifier_state()})
        note_validation(self.optimizer, validation_loss(self.history[-1]))
        self.epoch, self.batch, self.seconds, self.sums, self.carry = self.epoch + 1, 0, 0.0, {}, None
        return self.history[-1]

    def validate(self) -> dict[str, float]:
        """Figures on the validation split; none without one."""
        if self.valid is None:
            return {}
        size = self.settings.valid_batch_size or self.settings.batch_size
        with self.placement.precision():
            return evaluate(self.model, self.valid, self.objective, size)

    def is_settled(self) -> bool:
        """Whether the method has reached its target, so that this epoch may be kept."""
        return bool(getattr(self.sparsifier, "settled", True))

    def sparsifier_state(self) -> State | None:
        """The sparsifier's state, or None without one."""
        return None if self.sparsifier is None else self.sparsifier.state_dict()

    def diverged(self, happened: str) -> Diverged:
        """The error for numbers that are no longer finite."""
        return Diverged(
            f"{happened} at step {self.step + 1} of {self.steps} (epoch {self.epoch + 1})",
            "a finite number",
            "Lower learning_rate or set clip; checkpoints written before are intact",
        )

    def finish(self) -> tuple[Masks, Row | None]:
        """Go back to the best epoch, leave plain parameters, and return the masks and the row that was kept."""
        show(self.optimizer, self.sparsifier)
        place = None
        if self.best is not None:
            place = self.best_place
            self.model.load_state_dict(self.best["model"])
            if self.sparsifier is not None:
                self.sparsifier.load_state_dict(self.best["sparsifier"])
        masks = Masks({}) if self.sparsifier is None else self.sparsifier.finalize()
        return masks, None if place is None else self.history[place]


def check_passes(passes: int, train: Split) -> None:
    """Raises: UserError for several passes an epoch over a text that is read in order."""
    if passes > 1 and carries_state(train):
        raise UserError(f"{passes} passes an epoch over a text that is read in order", "one pass", "Set passes to 1")


def validation_loss(row: Row) -> float:
    """The validation loss of an epoch; where nothing is validated, the training loss."""
    return row.get("valid_loss", row["train_loss"])


def best_row(history: list[Row], objective: Objective, keep: str = "best") -> int | None:
    """Index of the best validated row among those at which the method had reached its target; see `Settings.keep`."""
    best = None
    figure, better = ("loss", "lower") if keep == "lowest_loss" else (objective.metric, objective.better)
    name = f"valid_{figure}"
    for index, row in enumerate(history):
        if row["settled"] and name in row:
            if is_better(row[name], None if best is None else history[best][name], better):
                best = index
    return best


def rate_factor(settings: Settings, epoch: int, done: float, losses: Sequence[float]) -> float:
    """What the learning rate is multiplied by in a step: by the schedule, and less while warming up.

    Arguments:
        epoch: number of the epoch, from 1.
        done: fraction of all steps already done.
        losses: validation losses (training losses where nothing is validated) of the epochs before.
    """
    risen = min(1.0, done / settings.warm_up) if settings.warm_up else 1.0
    return risen * _scheduled(settings, epoch, done, losses)


def _scheduled(settings: Settings, epoch: int, done: float, losses: Sequence[float]) -> float:
    if settings.schedule == "step":
        return settings.decay ** math.ceil(max(0, epoch - settings.decay_after) / settings.decay_every)
    if settings.schedule == "plateau":
        return settings.decay ** epochs_without_improvement(losses)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    return 1.0


def epochs_without_improvement(losses: Sequence[float]) -> int:
    """How many of the losses, in order, were no lower than the lowest before them."""
    failed, lowest = 0, math.inf
    for loss in losses:
        failed += not loss < lowest
        lowest = min(lowest, loss)
    return failed
