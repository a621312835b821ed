"""A user's own file: a baseline, a dense network and its sparse twin, with defaults that need no tuning."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sparsernn import folders
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.table_file import TableFile
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.data.task import Loaded
from sparsernn.errors import UserError
from sparsernn.experiments import execution, results, typed
from sparsernn.experiments.execution import Outcome
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.recipe import Recipe
from sparsernn.methods.method import Method
from sparsernn.own_data import networks
from sparsernn.own_data.baseline import DESCRIPTIONS, baseline
from sparsernn.own_data.runs import write_preparation

NAME = "own_data"
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
        out: folder of the runs; None finds a free one.
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

    def __post_init__(self) -> None:
        for name in ("units", "epochs", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}", "a whole number of at least 0", f"change --{name}")
        if self.out is not None and results.in_use(self.out):
            raise UserError(
                f"the output folder {self.out} holds something already", "a new or empty folder", "choose another --out"
            )


def train(asked: Training, say: Callable[[str], None] = lambda line: None, progress: Progress = no_progress) -> Outcome:
    """Read the file, score the baseline, train the dense and the sparse network, compact, score and time them.

    Raises: UserError for anything wrong with the file, its columns or an option, before anything is trained.
    """
    folders.find("cells", asked.cell)
    method = make_method(asked.method, asked.sparsity)
    out = results.output_folder(asked.out, NAME, resume=False)
    loaded, preparation = asked.task.prepare(progress)
    sampled = networks.sampled(asked.task, loaded)
    pair = networks.rows(asked.task, sampled, method, cell=asked.cell, units=asked.units, epochs=asked.epochs)
    recipe = Recipe("Own data: " + Path(asked.task.path).name, "the user", lambda size: pair, "full")
    request = Request(NAME, seeds=(asked.seed,), out=out, progress=asked.progress)
    jobs = Jobs(Experiment.of(request, recipe, asked.command), say)
    jobs.keep(asked.task, sampled)
    say(f"{len(loaded.train):,} {examples(loaded)} train, {len(loaded.valid):,} validate, {len(loaded.test):,} test")
    if len(sampled.train) < len(loaded.train):
        say(f"an epoch reads {len(sampled.train):,} of those that train, other ones each time")
    say("baseline: " + DESCRIPTIONS[asked.task.kind])
    started = time.perf_counter()
    name, figures = baseline(asked.task, loaded, row_numbers(loaded))
    seconds = time.perf_counter() - started
    outcome = execution.run(jobs)
    folder = write_baseline(out, asked, name, figures, outcome.results[0], seconds)
    for run_folder in outcome.run_folders:
        write_preparation(run_folder, preparation)
    finished = [results.read(folder / results.RESULT), *outcome.results]
    return Outcome(outcome.out, [folder, *outcome.run_folders], finished)


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


def write_baseline(
    out: Path, asked: Training, name: str, figures: dict[str, float], dense: results.Result, seconds: float
) -> Path:
    """A run folder with the baseline's result alone, so that the report has its row; it read what the dense one did."""
    folder = results.run_folder(out, "baseline", asked.seed)
    result = {
        "recipe": NAME,
        "row": name,
        "size": "full",
        "seed": asked.seed,
        "metrics": figures,
        "published": {},
        "command": asked.command,
        "seconds": round(seconds, 1),
        "environment": dense["environment"],
        "splits": dense["splits"],
        "provenance": {**dense["provenance"], "settings": {"baseline": name}, "precision": "float64"},
    }
    results.write(folder / results.RESULT, result)
    return folder
