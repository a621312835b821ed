"""What a checkpoint of a training holds, and how a training continues from one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING

import torch
from torch.optim import Optimizer

from sparsernn.errors import UserError
from sparsernn.sparsifying import state_tree
from sparsernn.sparsifying.state_tree import State
from sparsernn.training.batches import Carry
from sparsernn.training.checkpoints import Checkpoint
from sparsernn.training.environment import MUST_MATCH, describe_environment, differences
from sparsernn.training.objectives import to_device
from sparsernn.training.random_state import random_state, set_random_state
from sparsernn.training.run_folder import Json, RunFolder, as_json, differing_keys

if TYPE_CHECKING:
    from sparsernn.training.steps import Training

MALFORMED = (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError, OverflowError)
FREE_SETTINGS = ("checkpoint_seconds", "loggers")
SHOULD_MATCH = ("threads", "processor", "accelerator")


class Saver:
    """Writes a training's checkpoints into its run folder, where it has one."""

    def __init__(self, training: Training, run: RunFolder | None):
        self.training, self.run = training, run
        self.last = time.monotonic()

    def save_if_due(self) -> None:
        """Save if enough time has passed since the last checkpoint; the first process decides for all."""
        training = self.training
        if self.run is not None:
            due = time.monotonic() - self.last >= training.settings.checkpoint_seconds
            if training.placement.from_first(due):
                self.save()

    def save(self) -> None:
        """Write a checkpoint. Raises: Diverged, before anything is written, if a weight is not finite."""
        if self.run is None:
            return
        for name, weight in self.training.model.named_parameters():
            if not torch.isfinite(weight).all():
                raise self.training.diverged(f"{name} is not finite")
        state = state_of(self.training)
        if self.run.writes:
            self.run.save_checkpoint(state)
        self.last = time.monotonic()


def begin(training: Training, run: RunFolder, resume: bool) -> None:
    """Record the environment and, with `resume`, put the training where the run's last usable checkpoint was.

    Raises: UserError if the run was begun under other conditions or no checkpoint of it can be used.
    """
    if run.is_begun and run.writes and not resume:
        raise UserError(
            f"{run.path} already holds a training", "a new folder", "Pass resume=True to continue it, or another folder"
        )
    now = describe_environment(processes=training.placement.processes, device=training.placement.device.type)
    before = run.environment
    if before and resume:
        _check_environment(before, now)
    elif run.writes:
        run.write_environment(now)
    if resume:
        _restore(training, run)


def state_of(training: Training) -> State:
    """Everything from which the training can continue to the same bits."""
    sums = {name: list(pair) for name, pair in training.sums.items()}
    process = {"random": random_state(), "carry": state_tree.moved(training.carry, torch.device("cpu")), "sums": sums}
    return {
        "fit": _described(training),
        "epoch": training.epoch,
        "batch": training.batch,
        "seconds": training.seconds,
        "history": training.history,
        "model": dict(training.model.state_dict()),
        "optimizer": training.optimizer.state_dict(),
        "sparsifier": training.sparsifier_state(),
        "best": training.best,
        "placement": training.placement.state_dict(),
        "processes": training.placement.from_all(process),
    }


def load_state(training: Training, state: State) -> None:
    """Continue from what `state_of` gave.

    Raises: UserError if it belongs to another training; one of MALFORMED if it is damaged.
    """
    different = differing_keys(state["fit"], _described(training))
    if different:
        raise OtherTraining(
            f"The checkpoint is of another training: {'; '.join(different)}",
            "the settings it was begun with",
            "Pass the same ones, or another folder",
        )
    _check_position(training, state)
    # The best epoch's state first: loading it shows that it is whole, and the current one then replaces it.
    for saved in [state] if state["best"] is None else [state["best"], state]:
        if state_tree.shapes(dict(saved["model"])) != state_tree.shapes(dict(training.model.state_dict())):
            raise ValueError("its weights have other names, types or shapes than the model's")
        training.model.load_state_dict(saved["model"])
        if training.sparsifier is not None:
            training.sparsifier.load_state_dict(state_tree.moved(saved["sparsifier"], training.placement.device))
    _check_optimizer(training.optimizer, state["optimizer"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.placement.load_state_dict(state["placement"])
    training.best = state_tree.moved(state["best"], training.placement.device)
    training.epoch, training.batch, training.seconds = state["epoch"], state["batch"], float(state["seconds"])
    training.history = [dict(row) for row in state["history"]]
    process = state["processes"][training.placement.rank]
    training.sums = {name: (float(total), float(count)) for name, (total, count) in process["sums"].items()}
    _check_carry(training, process["carry"])
    training.carry = state_tree.moved(process["carry"], training.placement.device)
    set_random_state(process["random"])


class OtherTraining(UserError):
    """A checkpoint that was written by a training with other settings."""


def _restore(training: Training, run: RunFolder) -> None:
    reasons = []
    for checkpoint in run.checkpoints():
        if isinstance(checkpoint, Checkpoint):
            try:
                load_state(training, checkpoint.state)
            except OtherTraining:
                raise
            except MALFORMED as error:
                reasons.append(f"checkpoint-{checkpoint.number}: {type(error).__name__}: {error}"[:300])
                continue
            run.truncate_metrics(checkpoint.metrics_bytes)
            run.forget_checkpoints_after(checkpoint.number)
            return
        reasons.append(str(checkpoint))
    if reasons:
        raise UserError(
            f"No checkpoint in {run.path} can be used ({'; '.join(reasons)})",
            "one that is whole",
            "Restore the folder from a copy, or start again in another folder",
        )
    run.truncate_metrics(0)
    run.forget_checkpoints_after(0)


def _described(training: Training) -> Json:
    """What must be the same when a training is resumed."""
    method = training.method
    return as_json(
        {
            "objective": type(training.objective).__name__,
            "method": None if method is None else {"name": type(method).__name__, **_fields(method)},
            "settings": {
                name: value for name, value in training.settings.to_json().items() if name not in FREE_SETTINGS
            },
            "batches": training.batches,
        }
    )


def _fields(method: object) -> Json:
    if not is_dataclass(method) or isinstance(method, type):
        raise TypeError(f"{method} is not an object of a dataclass")
    return {name: _plain(value) for name, value in asdict(method).items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__


def _check_environment(before: Mapping[str, object], now: Mapping[str, object]) -> None:
    different = differences(before, now, MUST_MATCH)
    if different:
        raise UserError(
            f"The run was begun under other conditions: {'; '.join(different)}",
            "the same to resume it",
            "Resume with the conditions it was begun under",
        )
    changed = differences(before, now, SHOULD_MATCH)
    if changed:
        warnings.warn(
            f"the run was begun on something else ({'; '.join(changed)}): the last bits of its numbers "
            "may differ from a run that was not interrupted",
            stacklevel=4,
        )


def _check_position(training: Training, state: State) -> None:
    epoch, batch, history = state["epoch"], state["batch"], state["history"]
    if type(epoch) is not int or type(batch) is not int:
        raise TypeError("its position is not a whole number")
    if not (0 <= epoch <= training.settings.epochs and 0 <= batch < training.batches and len(history) == epoch):
        raise ValueError(f"its position, epoch {epoch} and batch {batch}, is outside the training")
    needed = ["train_loss", "sparsity", "seconds"]
    if training.valid is not None:
        needed += ["valid_loss", f"valid_{training.objective.metric}"]
    for number, row in enumerate(history, start=1):
        if row["epoch"] != number or type(row["settled"]) is not bool:
            raise ValueError(f"row {number} of its history is of another epoch")
        if not all(isinstance(row[name], (int, float)) for name in needed):
            raise TypeError(f"row {number} of its history has something else in place of numbers")


def _check_optimizer(optimizer: Optimizer, state: State) -> None:
    """Groups must have the same options, and tensors must fit their parameter as those of known optimizers do."""
    for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True):
        for name, value in group.items():
            both_numbers = {type(value), type(saved[name])} <= {int, float}
            if name != "params" and not both_numbers and state_tree.shapes(saved[name]) != state_tree.shapes(value):
                raise TypeError(f"option {name} of its optimizer is not a {type(value).__name__}")
    if not type(optimizer).__module__.startswith(("torch.optim", "sparsernn.")):
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor) and not _fits(value.shape, parameters[index].shape):
                raise ValueError(f"{name} of its optimizer does not fit the parameter")


def _fits(shape: torch.Size, parameter: torch.Size) -> bool:
    """Whether a tensor of that shape can be broadcast to the parameter's: a scalar, a factor, or one value each."""
    sizes = zip(reversed(shape), reversed(parameter), strict=False)
    return shape.numel() == 1 or (len(shape) <= len(parameter) and all(size in (1, full) for size, full in sizes))


def _check_carry(training: Training, carry: Carry) -> None:
    """Compare a carried state with one that the model makes."""
    if carry is None:
        return
    part = training.placement.part(next(iter(training.epoch_batches())), training.objective)
    with torch.no_grad(), training.placement.precision():
        made = training.objective.loss(training.model, to_device(part.batch, training.placement.device))[2]
    if state_tree.shapes(made) != state_tree.shapes(carry):
        raise ValueError("its carried state has another shape than the model's")
