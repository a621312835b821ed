"""A user's own file: a baseline, a dense network and its sparse twin, with defaults that need no tuning."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparsernn import durable, folders, typed
from sparsernn.data.files import changed, unchanged
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.table_file import TableFile
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.data.task import Loaded
from sparsernn.errors import UserError
from sparsernn.experiments import execution, results
from sparsernn.experiments.execution import Outcome
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.parts import part_to_json
from sparsernn.experiments.recipe import Recipe
from sparsernn.methods.method import Method
from sparsernn.own_data import networks
from sparsernn.own_data.baseline import DESCRIPTIONS, baseline
from sparsernn.own_data.runs import ASKED, write_preparation
from sparsernn.reading import json_file
from sparsernn.training.run_folder import LOCATIONS, as_json, differing_keys

NAME = "own_data"
BASELINE = "baseline"
STRENGTH = 1e-3


@dataclasses.dataclass(frozen=True)
class Training:
    """What `sparsernn train` was asked for.

    Arguments:
        task: the file and what its columns mean.
        cell, method: file names in `sparsernn.cells` and `sparsernn.methods`.
        sparsity: of the recurrent weights, in [0, 1); a method without a target ignores it.
        units: hidden units; 0 chooses by the kind of file.
        epochs: of the dense network, and again of the sparse one; 0 chooses by the size of the file.
        seed: of splits, weights and order.
        out: folder of the runs; None finds a free one, or with `resume` the last one.
        resume: go on with what the folder holds, which was begun with the same file and options.
        command: the command line, for the report.
    Raises: UserError for a negative number, or a folder that holds files.
    """

    task: TableFile
    cell: str = "gru"
    method: str = "magnitude"
    sparsity: float = 0.9
    units: int = 0
    epochs: int = 0
    seed: int = 0
    out: Path | None = None
    command: str = "sparsernn train"
    progress: bool = True
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("units", "epochs", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}", "a whole number of at least 0", f"change --{name}")
        if self.out is not None and results.in_use(self.out) and not self.resume:
            raise UserError(
                f"the output folder {self.out} holds something already",
                "a new or empty folder",
                "pass --resume to go on, or choose another --out",
            )


def train(asked: Training, say: Callable[[str], None] = lambda line: None, progress: Progress = no_progress) -> Outcome:
    """Read the file, score the baseline, train the dense and the sparse network, compact, score and time them.

    Raises: UserError for anything wrong with the file, its columns or an option, before anything is trained; and with
        `resume` for a file or options other than those that the training was begun with.
    """
    folders.find("cells", asked.cell)
    method = make_method(asked.method, asked.sparsity)
    out = results.output_folder(asked.out, NAME, asked.resume)
    with unchanged(asked.task, None) as files:
        loaded, preparation = asked.task.prepare(progress)
    with durable.locked(out):
        begin(out, asked, files)
        sampled = networks.sampled(asked.task, loaded)
        pair = networks.rows(asked.task, sampled, method, cell=asked.cell, units=asked.units, epochs=asked.epochs)
        recipe = Recipe("Own data: " + Path(asked.task.path).name, "the user", lambda size: pair, "full")
        request = Request(NAME, seeds=(asked.seed,), out=out, resume=True, progress=asked.progress)
        jobs = Jobs(Experiment.of(request, recipe, asked.command), say)
        jobs.keep(asked.task, sampled, files)
        tell_sizes(loaded, sampled, say)
        with unchanged(asked.task, None) as files_now:
            if files_now != files:
                raise changed(asked.task.path)
            scored = score_baseline(out, asked, loaded, say)
        for row in pair:
            folder = results.run_folder(out, row.name, asked.seed)
            with durable.one_clear_error("A run's folder", out, "nothing was lost"):
                durable.inner_folder(folder)
            write_preparation(folder, preparation)
        outcome = execution.run_rows(jobs)
        folder = write_baseline(out, asked, scored, outcome.results[0])
    finished = [results.read(folder / results.RESULT), *outcome.results]
    return Outcome(outcome.out, [folder, *outcome.run_folders], finished)


def begin(out: Path, asked: Training, files: dict[str, str]) -> None:
    """Leave in a folder what a training was begun with, or compare it with what is there.

    Raises: UserError that names the options or files that differ.
    """
    options = {name: getattr(asked, name) for name in ("cell", "method", "sparsity", "units", "epochs", "seed")}
    task = {name: value for name, value in part_to_json(asked.task).items() if name not in LOCATIONS}
    now = as_json({"files": files, "task": task, **options})
    if not (out / ASKED).exists():
        durable.replace(out / ASKED, json.dumps(now, indent=1))
    elif different := differing_keys(json_file(out / ASKED), now):
        raise UserError(
            f"{out} was begun with something else: {'; '.join(different)}",
            "the file and options that it was begun with",
            "Pass them again, or another --out",
        )


def tell_sizes(loaded: Loaded, sampled: Loaded, say: Callable[[str], None]) -> None:
    """Say how many examples there are."""
    say(f"{len(loaded.train):,} {examples(loaded)} train, {len(loaded.valid):,} validate, {len(loaded.test):,} test")
    if len(sampled.train) < len(loaded.train):
        say(f"an epoch reads {len(sampled.train):,} of those that train, other ones each time")


class ScoredBaseline(NamedTuple):
    """The name of a baseline, its figures, and the seconds that they took."""

    name: str
    figures: dict[str, float]
    seconds: float


def score_baseline(out: Path, asked: Training, loaded: Loaded, say: Callable[[str], None]) -> ScoredBaseline:
    """The baseline, or what an earlier beginning of the training left of it."""
    path = results.run_folder(out, BASELINE, asked.seed) / results.RESULT
    if path.exists():
        result = results.read(path)
        return ScoredBaseline(result["row"], result["metrics"], result["seconds"])
    say("baseline: " + DESCRIPTIONS[asked.task.kind])
    started = time.perf_counter()
    name, figures = baseline(asked.task, loaded, row_numbers(loaded))
    return ScoredBaseline(name, figures, round(time.perf_counter() - started, 1))


def examples(loaded: Loaded) -> str:
    """What the splits count, for people."""
    if loaded.tokens:
        return "texts" if loaded.objective == "classification" else "tokens"
    return {"forecasting": "windows", "tagging": "pieces of series"}.get(loaded.objective, "series")


def make_method(name: str, sparsity: float) -> Method:
    """A method by its name, at a sparsity where it has one."""
    kind: Callable[..., Method] = folders.find("methods", name)
    options = {"sparsity": sparsity, "strength": STRENGTH}
    return kind(**{name: value for name, value in options.items() if name in typed.parameters(kind)})


def row_numbers(loaded: Loaded) -> dict[str, np.ndarray]:
    """Which rows of the file are in which split, where a row is an example."""
    splits = {"train": loaded.train, "valid": loaded.valid, "test": loaded.test}
    return {
        name: split.rows
        for name, split in splits.items()
        if isinstance(split, SequenceSplit) and split.rows is not None
    }


def write_baseline(out: Path, asked: Training, scored: ScoredBaseline, dense: results.Result) -> Path:
    """A run folder with the baseline's result alone, so that the report has its row; it read what the dense one did."""
    folder = results.run_folder(out, BASELINE, asked.seed)
    result = {
        "recipe": NAME,
        "row": scored.name,
        "size": "full",
        "seed": asked.seed,
        "metrics": scored.figures,
        "published": {},
        "command": asked.command,
        "seconds": scored.seconds,
        "environment": dense["environment"],
        "splits": dense["splits"],
        "provenance": {**dense["provenance"], "settings": {"baseline": scored.name}, "precision": "float64"},
    }
    results.write(folder / results.RESULT, result)
    return folder
