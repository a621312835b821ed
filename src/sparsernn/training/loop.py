"""The training loop: any model, any objective, any method, one process or several.

It uses a sparsifier as any other loop would: it adds the penalty, steps the optimizer, and finalizes.
"""

import itertools
import time
from dataclasses import dataclass

from torch import nn

from sparsernn.denormals import is_flushing_denormal, set_flush_denormal
from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.structure.masks import Masks
from sparsernn.training import resumption
from sparsernn.training.batches import Split
from sparsernn.training.objectives import Objective, find_objective
from sparsernn.training.random_state import random_state, set_random_state
from sparsernn.training.run_folder import RunFolder
from sparsernn.training.settings import Settings
from sparsernn.training.steps import Training
from sparsernn.training.tracking import Progress, Row, check_logger_names, open_loggers


@dataclass(frozen=True)
class Fitted:
    """What `fit` returns; the model itself was trained in place.

    Arguments:
        masks: which weights exist; empty where no method was given.
        history: one row per epoch: epoch, step, learning_rate, train_*, valid_*, sparsity, settled, seconds.
        best: the row whose weights were kept, or None if those of the last epoch were.
        final: validation figures of the model as it is now, after the method's `finalize`; empty without validation.
        events: what the masks did in all epochs, in the method's own words.
    """

    masks: Masks
    history: list[Row]
    best: Row | None
    final: dict[str, float]
    events: list[Row]

    @property
    def seconds(self) -> float:
        """Time spent on all epochs."""
        return sum(row["seconds"] for row in self.history)


def fit(
    model: nn.Module,
    train: Split,
    valid: Split | None = None,
    *,
    objective: str | Objective,
    method: Method | None = None,
    settings: Settings | None = None,
    run: RunFolder | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Fitted:
    """Train a model in place, sparse if a method is given, and return masks and history.

    A run that was killed continues, with `resume`, to the same bits as one that was not. To go on from
    trained weights with another method or other settings, call it again.

    Arguments:
        train, valid: splits; without `valid` the last epoch is kept.
        objective: "classification", "tagging", "forecasting", "language_model", or an Objective.
        method: None trains without making anything sparse.
        run: folder for metrics, checkpoints and result; None writes nothing.
        resume: continue from the run's last usable checkpoint, if it has one.
        progress: show progress on the standard error stream.
    Raises: UserError for settings or a checkpoint that cannot be used, or a disk that cannot be written to; Diverged
        if the loss is not finite.
    """
    settings = settings or Settings()
    if resume and run is None:
        raise UserError("There is no run to resume", "the folder of a run", "Pass run=RunFolder.open(path)")
    check_logger_names(settings.loggers)
    was_flushing = is_flushing_denormal()
    set_flush_denormal(settings.flush_denormal)
    try:
        training = Training(model, train, valid, find_objective(objective), method, settings)
        return _fit(training, run, resume, progress)
    finally:
        set_flush_denormal(was_flushing)


def rehearse(
    model: nn.Module,
    train: Split,
    *,
    objective: str | Objective,
    method: Method | None = None,
    settings: Settings | None = None,
) -> None:
    """Begin a training as `fit` does, compute one loss, and let go of the model, whose weights stay as they were.

    Nothing is drawn from the global generators.

    Raises: UserError for what `fit` would refuse before its first step.
    """
    before = random_state()
    try:
        training = Training(model, train, None, find_objective(objective), method, settings or Settings())
        training.first_loss()
        if training.sparsifier is not None:
            training.sparsifier.detach()
    finally:
        set_random_state(before)


def _fit(training: Training, run: RunFolder | None, resume: bool, progress: bool) -> Fitted:
    """Train from the start or a checkpoint to the end, and save the result."""
    if run is not None:
        resumption.begin(training, run, resume)
    _train(training, run, progress)
    events = [] if training.sparsifier is None else list(training.sparsifier.events)
    masks, best = training.finish()
    if run is not None and run.writes:
        run.save_result(training.model.state_dict(), masks, events)
    return Fitted(masks, training.history, best, training.validate(), events)


def _train(training: Training, run: RunFolder | None, progress: bool) -> None:
    """Run what is left of the epochs, writing metrics and checkpoints."""
    shown = Progress(
        progress and training.placement.rank == 0,
        epochs=training.settings.epochs,
        steps=training.steps,
        done=training.step,
        metric=training.objective.metric,
    )
    log = run if run is not None and run.writes else None
    loggers = [] if log is None else open_loggers(training.settings.loggers, log.path, training.epoch)
    saver = resumption.Saver(training, run)
    try:
        while not training.is_over:
            _train_epoch(training, saver, shown)
            row = training.end_epoch(training.seconds)
            shown.epoch(row)
            if log is not None:
                log.append_metrics(row)
                log.log(loggers, training.history)
            saver.save()
    finally:
        shown.close()
        for logger in loggers:
            logger.close()


def _train_epoch(training: Training, saver: resumption.Saver, shown: Progress) -> None:
    """The batches of an epoch that are not yet done."""
    training.model.train()
    started = time.perf_counter() - training.seconds
    for batch in itertools.islice(training.epoch_batches(), training.batch, None):
        shown.step(training.train_on(batch))
        training.seconds = time.perf_counter() - started
        if training.batch < training.batches:
            saver.save_if_due()
