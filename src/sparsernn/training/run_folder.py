"""The folder in which a run lives: recipe, environment, metrics, masks, weights and checkpoints."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import safetensors.torch
from torch import Tensor

from sparsernn import durable
from sparsernn.errors import UserError
from sparsernn.seals import sealed
from sparsernn.sparsifying.state_tree import State
from sparsernn.structure.masks import Masks
from sparsernn.training import checkpoints
from sparsernn.training.checkpoints import Checkpoint
from sparsernn.training.run_record import (
    CHECKPOINTS,
    ENVIRONMENT,
    MASKS,
    METRICS,
    RECIPE,
    WEIGHTS,
    Json,
    RunRecord,
    require_run,
)
from sparsernn.training.tracking import Logger, Row

EVENTS = "events.jsonl"
KEPT_CHECKPOINTS = 2
ABSENT = object()
FILES, TASK, LOCATIONS = "files", "task", ("path", "cache")
"""Where a recipe has the checksums of its data, which tell one file from another wherever it lies."""
SINCE = (FILES,)
"""Parts of a recipe that earlier versions did not write: they are compared where both have them."""


class RunFolder(RunRecord):
    """A run's folder to write into, locked by this process until it is closed.

    Made by `create` or `open`. In a training over several processes only the first locks and writes.

    Arguments:
        path: the folder, which exists.
    Raises: UserError if another process is using the folder.
    """

    def __init__(self, path: Path | str):
        super().__init__(path)
        self.writes = os.environ.get("RANK", "0") == "0"
        self._lock = durable.lock(self.path) if self.writes else None

    @classmethod
    def create(cls, path: Path | str, recipe: Mapping[str, object], resume: bool = False) -> Self:
        """A folder for a new run; with `resume` the folder of the same run, if it was begun before.

        Raises: UserError if a run is there already, or, with `resume`, one of another recipe.
        """
        path = Path(path)
        if (path / RECIPE).exists() and resume:
            return cls.open(path, recipe)
        with durable.one_clear_error("The run's folder", path, "nothing was lost"):
            path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        present = [name for name in (RECIPE, METRICS, MASKS, WEIGHTS, CHECKPOINTS) if (path / name).exists()]
        if present and run.writes:
            run.close()
            raise UserError(
                f"{path} already holds a run ({', '.join(present)})",
                "a new or empty folder",
                "Pass another folder, or resume this run",
            )
        run._write_json(RECIPE, recipe)
        return run

    @classmethod
    def open(cls, path: Path | str, recipe: Mapping[str, object] | None = None) -> Self:
        """The folder of a run that was begun before; with `recipe`, only if that is what it was begun with.

        Raises: UserError if there is no run, or one of another recipe: the differing keys are named.
        """
        path = Path(path)
        require_run(path)
        run = cls(path)
        try:
            different = [] if recipe is None else differing_recipes(run.recipe, as_json(recipe))
        except UserError:
            run.close()
            raise
        if different:
            run.close()
            raise UserError(
                f"{path} was begun with another recipe: {'; '.join(different)}",
                "the same recipe to resume it",
                "Pass the recipe it was begun with, or another folder",
            )
        return run

    @property
    def is_begun(self) -> bool:
        """Whether a training has left a row or a checkpoint."""
        return bool(self.metrics_bytes or checkpoints.numbers(self.path / CHECKPOINTS))

    @property
    def metrics_bytes(self) -> int:
        """How long metrics.jsonl is."""
        path = self.path / METRICS
        return path.stat().st_size if path.exists() else 0

    def write_environment(self, environment: Mapping[str, object]) -> None:
        """Record what the run runs on."""
        self._write_json(ENVIRONMENT, environment)

    def append_metrics(self, row: Mapping[str, object]) -> None:
        """Add an epoch's row."""
        line = json.dumps(finite(row), allow_nan=False) + "\n"
        with self._one_clear_error(METRICS), self._metrics_file(os.O_CREAT | os.O_APPEND) as file:
            file.write(line.encode())

    def log(self, loggers: Sequence[Logger], history: Sequence[Row]) -> None:
        """Tell the loggers about the last row."""
        with self._one_clear_error("A log"):
            for logger in loggers:
                logger.write(history)

    def truncate_metrics(self, size: int) -> None:
        """Forget rows beyond `size` bytes."""
        if self.writes and (self.path / METRICS).exists():
            with self._one_clear_error(METRICS), self._metrics_file(0) as file:
                file.truncate(size)

    def save_checkpoint(self, state: State) -> None:
        """Write a checkpoint, then delete all but the last two."""
        folder, metrics = self.path / CHECKPOINTS, self.path / METRICS
        with self._one_clear_error("A checkpoint"):
            durable.inner_folder(folder)
            self._metrics_file(os.O_CREAT | os.O_APPEND).close()
            durable.sync(metrics)
            durable.sync(self.path)
            numbers = checkpoints.numbers(folder)
            number = numbers[-1] + 1 if numbers else 1
            checkpoints.write(folder, number, state, metrics.stat().st_size)
            checkpoints.remove_all_but(folder, [number, *numbers[1 - KEPT_CHECKPOINTS :]])

    def checkpoints(self) -> Iterator[Checkpoint | checkpoints.Unreadable]:
        """The checkpoints, newest first; one that cannot be used is given as the reason."""
        size = self.metrics_bytes
        for number in reversed(checkpoints.numbers(self.path / CHECKPOINTS)):
            try:
                checkpoint = checkpoints.read(self.path / CHECKPOINTS, number)
                if checkpoint.metrics_bytes > size:
                    raise checkpoints.Unreadable(f"checkpoint-{number}: {METRICS} is shorter than it was then")
                yield checkpoint
            except checkpoints.Unreadable as error:
                yield error

    def forget_checkpoints_after(self, number: int) -> None:
        """Delete newer checkpoints, which could not be used, and what was left unfinished."""
        folder = self.path / CHECKPOINTS
        if self.writes and folder.is_dir():
            with self._one_clear_error("The list of checkpoints"):
                durable.inner_folder(folder)
                older = [earlier for earlier in checkpoints.numbers(folder) if earlier <= number]
                checkpoints.remove_all_but(folder, older)

    def save_result(
        self, weights: Mapping[str, Tensor], masks: Masks, events: Sequence[Mapping[str, object]] = ()
    ) -> None:
        """Write what the masks did, if anything, the final masks and the weights; the weights last."""
        lines = "".join(json.dumps(finite(event), allow_nan=False) + "\n" for event in events)
        with self._one_clear_error("The result"):
            if lines:
                durable.replace(self.path / EVENTS, lines)
            masks.save(self.path / MASKS)
            durable.replace(self.path / WEIGHTS, sealed(safetensors.torch.save(checkpoints.unshared(weights))))

    def close(self) -> None:
        """Let other processes use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _metrics_file(self, flags: int) -> BinaryIO:
        return durable.open_to_write(self.path / METRICS, flags)

    def _one_clear_error(self, what: str) -> AbstractContextManager[None]:
        return durable.one_clear_error(what, self.path, "the checkpoints before are intact")

    def _write_json(self, name: str, values: Mapping[str, object]) -> None:
        content = json.dumps(as_json(values), indent=2).encode() + b"\n"
        if self.writes:
            durable.replace(self.path / name, content)


def differing_recipes(before: Json, now: Json) -> list[str]:
    """Where the recipe of a run and that of a resume differ; see `differing_keys`."""
    absent = [name for name in SINCE if (name in before) != (name in now)]
    plain = [{name: one[name] for name in one if name not in absent} for one in (before, now)]
    for one in plain if FILES in plain[0] else ():
        if isinstance(one.get(TASK), dict):
            one[TASK] = {name: value for name, value in one[TASK].items() if name not in LOCATIONS}
    return differing_keys(plain[0], plain[1])


def differing_keys(before: object, now: object, path: str = "") -> list[str]:
    """Where two nested JSON values differ: "settings.epochs: 3, now 4"."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = dict.fromkeys([*before, *now])
        nested = (differing_keys(before.get(n, ABSENT), now.get(n, ABSENT), f"{path}.{n}".lstrip(".")) for n in names)
        return [difference for differences in nested for difference in differences]
    if before == now and type(before) is type(now):
        return []
    shown = ("absent" if value is ABSENT else json.dumps(value)[:80] for value in (before, now))
    return [f"{path}: {next(shown)}, now {next(shown)}"]


def finite(values: object) -> object:
    """The same nested values with numbers that JSON cannot hold replaced by None."""
    if isinstance(values, float) and not math.isfinite(values):
        return None
    if isinstance(values, Mapping):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [finite(value) for value in values]
    return values


def as_json(values: Mapping[str, object]) -> Json:
    """The values as they are after being written to JSON and read back."""
    try:
        return json.loads(json.dumps(finite(values), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The recipe cannot be written as JSON: {error}",
            "numbers, text, lists and dicts",
            "Replace the value that is none of these",
        ) from error
