"""The folder in which a run lives: recipe, environment, metrics, masks, weights and checkpoints."""

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import safetensors
import safetensors.torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.sparsifying.state_tree import State
from sparsernn.structure.masks import Masks
from sparsernn.training import checkpoints, durable
from sparsernn.training.checkpoints import Checkpoint
from sparsernn.training.tracking import Logger, Row

RECIPE, ENVIRONMENT, METRICS = "recipe.json", "environment.json", "metrics.jsonl"
MASKS, WEIGHTS, CHECKPOINTS, LOCK = "masks.npz", "weights.safetensors", "checkpoint", "lock"
EVENTS = "events.jsonl"
KEPT_CHECKPOINTS = 2
ABSENT = object()
Json = dict[str, Any]  # an object as it is read from JSON


class RunFolder:
    """A run's folder, locked by this process until it is closed.

    Made by `create` or `open`. In a training over several processes only the first locks and writes.

    Arguments:
        path: the folder, which exists.
    Raises: UserError if another process is using the folder.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.writes = os.environ.get("RANK", "0") == "0"
        self._lock = self._locked() if self.writes else None

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
        if not (path / RECIPE).is_file():
            raise UserError(
                f"{path} holds no run", f"a folder with {RECIPE}", "Check the path, or start without resume"
            )
        run = cls(path)
        different = [] if recipe is None else differing_keys(run.recipe, as_json(recipe))
        if different:
            run.close()
            raise UserError(
                f"{path} was begun with another recipe: {'; '.join(different)}",
                "the same recipe to resume it",
                "Pass the recipe it was begun with, or another folder",
            )
        return run

    @property
    def recipe(self) -> Json:
        """What the run was begun with."""
        return self._read_json(RECIPE)

    @property
    def environment(self) -> Json:
        """What the run was begun on; empty before training begins."""
        return self._read_json(ENVIRONMENT) if (self.path / ENVIRONMENT).exists() else {}

    @property
    def metrics(self) -> list[Row]:
        """One row per epoch."""
        path = self.path / METRICS
        try:
            return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path} cannot be read: {error}"[:300],
                "one JSON object in a line",
                "Resume the run, which drops what was not finished",
            ) from error

    @property
    def is_begun(self) -> bool:
        """Whether a training has left a row or a checkpoint."""
        return bool(self.metrics_bytes or checkpoints.numbers(self.path / CHECKPOINTS))

    @property
    def metrics_bytes(self) -> int:
        """How long metrics.jsonl is."""
        path = self.path / METRICS
        return path.stat().st_size if path.exists() else 0

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end: the weights are written last."""
        return (self.path / WEIGHTS).exists()

    def load_weights(self, model: nn.Module) -> None:
        """Put the final weights into a model of the same shapes."""
        try:
            model.load_state_dict(safetensors.torch.load_file(self.path / WEIGHTS))
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise UserError(
                f"{self.path / WEIGHTS} does not fit the model: {str(error)[:300]}",
                "the weights of a finished run of this model",
                "Build the model of the run's recipe",
            ) from error

    def load_masks(self) -> Masks:
        """The final masks."""
        return Masks.load(self.path / MASKS)

    def write_environment(self, environment: Mapping[str, object]) -> None:
        """Record what the run runs on."""
        self._write_json(ENVIRONMENT, environment)

    def append_metrics(self, row: Mapping[str, object]) -> None:
        """Add an epoch's row."""
        line = json.dumps(finite(row), allow_nan=False) + "\n"
        with self._one_clear_error(METRICS), (self.path / METRICS).open("ab") as file:
            file.write(line.encode())

    def log(self, loggers: Sequence[Logger], history: Sequence[Row]) -> None:
        """Tell the loggers about the last row."""
        with self._one_clear_error("A log"):
            for logger in loggers:
                logger.write(history)

    def truncate_metrics(self, size: int) -> None:
        """Forget rows beyond `size` bytes."""
        path = self.path / METRICS
        if self.writes and path.exists():
            with self._one_clear_error(METRICS):
                os.truncate(path, size)

    def save_checkpoint(self, state: State) -> None:
        """Write a checkpoint, then delete all but the last two."""
        folder, metrics = self.path / CHECKPOINTS, self.path / METRICS
        with self._one_clear_error("A checkpoint"):
            folder.mkdir(exist_ok=True)
            metrics.touch()
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
                older = [earlier for earlier in checkpoints.numbers(folder) if earlier <= number]
                checkpoints.remove_all_but(folder, older)

    def save_result(
        self, weights: Mapping[str, Tensor], masks: Masks, events: Sequence[Mapping[str, object]] = ()
    ) -> None:
        """Write what the masks did, if anything, the final masks and the weights; the weights last."""
        lines = "".join(json.dumps(finite(event), allow_nan=False) + "\n" for event in events)
        with self._one_clear_error("The result"):
            if lines:
                durable.replace(self.path / EVENTS, lambda path: path.write_text(lines))
            durable.replace(self.path / MASKS, masks.save)
            content = safetensors.torch.save(checkpoints.unshared(weights))
            durable.replace(self.path / WEIGHTS, lambda path: path.write_bytes(content))

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

    def _locked(self) -> int:
        with durable.one_clear_error("The run's lock", self.path, "nothing was lost"):
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise UserError(
                f"{self.path} is in use by another process",
                "one process at a time in a run's folder",
                "Wait until it has ended, or pass another folder",
            ) from error
        return descriptor

    def _one_clear_error(self, what: str) -> AbstractContextManager[None]:
        return durable.one_clear_error(what, self.path, "the checkpoints before are intact")

    def _write_json(self, name: str, values: Mapping[str, object]) -> None:
        content = json.dumps(as_json(values), indent=2).encode() + b"\n"
        if self.writes:
            with self._one_clear_error(name):
                durable.replace(self.path / name, lambda path: path.write_bytes(content))

    def _read_json(self, name: str) -> Json:
        try:
            values = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{self.path / name} cannot be read: {error}"[:300],
                "JSON as it was written by the run",
                "Use another folder",
            ) from error
        if not isinstance(values, dict):
            raise UserError(
                f"{self.path / name} holds no object", "JSON as it was written by the run", "Use another folder"
            )
        return values


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
