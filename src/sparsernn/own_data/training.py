"""A user's own file: a baseline, a dense network and its sparse twin, with defaults that need no tuning."""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparsernn import durable, folders, typed
from sparsernn.data.files import changed, unchanged
from sparsernn.data.preparation import Preparation
from sparsernn.data.splits import SequenceSplit, at_most
from sparsernn.data.table_file import TableFile
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.data.task import Loaded
from sparsernn.deploy.packing import runs_without_torch
from sparsernn.errors import UserError
from sparsernn.experiments import execution, network, results
from sparsernn.experiments.execution import Outcome
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.parts import part_to_json
from sparsernn.experiments.recipe import Recipe
from sparsernn.experiments.rows import Row
from sparsernn.experiments.trained import read_final
from sparsernn.methods.method import Method
from sparsernn.own_data import sizing
from sparsernn.own_data.evidence import evidence
from sparsernn.own_data.kinds import kind_of
from sparsernn.own_data.kinds.kind import Choice, File, Kind, Try, Wishes
from sparsernn.own_data.rehearsal import rehearse
from sparsernn.own_data.runs import ASKED, write_preparation
from sparsernn.own_data.scored import Scored
from sparsernn.own_data.tradeoff import Search, sparse_row, with_wishes
from sparsernn.own_data.verdict import Verdict, judge
from sparsernn.reading import json_file
from sparsernn.structure.budget import check_sparsity
from sparsernn.training.run_folder import LOCATIONS, as_json, differing_keys

NAME = "own_data"
OPTIONS = ("cell", "method", "sparsity", "granularity", "units", "epochs", "seed")
LATER = ("bytes", "quality")  # options that are written down where they were given
BASELINE = "baseline"
STRENGTH = 1e-3
ENOUGH_UNITS, LEAST_WORDS = 16, 32  # with fewer units a smaller vocabulary is tried, down to so many words
MOST_TRAINED, MOST_VALIDATED = 64_000, 20_000  # examples of an epoch


@dataclass(frozen=True)
class Training:
    """What `sparsernn train` was asked for.

    Arguments:
        task: the file and what its columns mean.
        cell, method: file names in `sparsernn.cells` and `sparsernn.methods`; "" chooses by the kind of file.
        sparsity: fraction of zeros, in [0, 1), of the recurrent weights, or of all weights of a language model; a
            method without a target ignores it. None chooses by the kind of file.
        granularity: what goes together: "weight", "neuron", "16x1" and what else the method has; "" chooses.
        units: hidden units; 0 chooses by the kind of file.
        bytes: the largest size of the one file that is left, such as 20000 or "50kB"; units, weights, words and n-grams
            give way, those that were not asked for. None allows any.
        quality: how far the sparse network may be behind the dense one on the validation rows: in points of accuracy,
            or in per cent of an error or a perplexity. A few sparsities are tried, and the smallest network that is
            good enough stays. None tries one.
        epochs: of the dense network, and again of the sparse one; 0 chooses by the size of the file.
        seed: of splits, weights and order.
        out: folder of the runs; None finds a free one, or with `resume` the last one.
        resume: go on with what the folder holds, which was begun with the same file and options.
        command: the command line, for the report.
    Raises: UserError for a number out of range, options that contradict each other, or a folder that holds files.
    """

    task: TableFile
    cell: str = ""
    method: str = ""
    sparsity: float | None = None
    granularity: str = ""
    units: int = 0
    epochs: int = 0
    bytes: int | str | None = None
    quality: float | None = None
    seed: int = 0
    out: Path | None = None
    command: str = "sparsernn train"
    progress: bool = True
    resume: bool = False

    def __post_init__(self) -> None:
        if self.sparsity is not None:
            check_sparsity(self.sparsity)
        if self.bytes is not None:
            object.__setattr__(self, "bytes", sizing.bytes_in(self.bytes))
        if self.quality is not None and not 0 <= self.quality < math.inf:
            raise UserError(f"quality is {self.quality}", "a number of at least 0, such as 1", "change --quality")
        if self.quality is not None and self.sparsity is not None:
            raise UserError("--quality tries sparsities, and --sparsity asks for one", "one of them", "leave one out")
        for name in ("units", "epochs", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}", "a whole number of at least 0", f"change --{name}")
        if self.out is not None and results.in_use(self.out) and not self.resume:
            raise UserError(
                f"the output folder {self.out} holds something already",
                "a new or empty folder",
                "pass --resume to go on, or choose another --out",
            )


@dataclass(frozen=True)
class Finished(Outcome):
    """What a training left, and the verdict on it."""

    verdict: Verdict


def train(
    asked: Training, say: Callable[[str], None] = lambda line: None, progress: Progress = no_progress
) -> Finished:
    """Read the file, score the baseline, train the dense and the sparse network, compact, score and time them.

    Raises: UserError for anything wrong with the file, its columns or an option, before anything is trained; and with
        `resume` for a file or options other than those that the training was begun with.
    """
    check_names(asked)
    out = results.output_folder(asked.out, NAME, asked.resume)
    with unchanged(asked.task, None) as files:
        plan = planned(asked, progress)
    kind, file, tried = plan.kind, plan.file, ()
    with durable.locked(out):
        begin(out, asked, files)
        jobs = jobs_of(asked, plan.rows, out, say)
        jobs.keep(file.task, file.sampled, files)
        for remark in file.preparation.remarks:
            say(remark)
        tell_sizes(file.loaded, file.sampled, say)
        say("baseline: " + kind.about)
        baselines = score_baselines(kind, file, files)
        rows = plan.rows
        if asked.quality is not None:
            best, tried = Search(kind, file, jobs, asked.seed, asked.quality).run(plan.tries)
            file, rows = file._replace(share=best.share), kind.rows(file, best.wishes)
            jobs.experiment = jobs_of(asked, rows, out, say).experiment
        run_folders = {row.name: results.run_folder(out, row.name, asked.seed) for row in rows}
        prepare_folders(out, run_folders.values(), file.preparation)
        outcome = execution.run_rows(jobs)
        networks = finished_networks(kind, file, run_folders, out)
        answers, scored = kind.answers(file), [*baselines.scored, *networks]
        verdict = with_wishes(judge(answers, scored), file.most, asked.quality, tried)
        verdict.write(out, evidence(answers, scored, verdict.saved))
        folder = write_baseline(out, asked, verdict, baselines.seconds, outcome.results[0])
    finished = [results.read(folder / results.RESULT), *outcome.results]
    return Finished(outcome.out, [folder, *outcome.run_folders], finished, verdict)


class Plan(NamedTuple):
    """What will be trained. rows: networks of the file; tries: what takes the place of the sparse one's wishes."""

    kind: Kind
    file: File
    rows: list[Row]
    tries: list[Try]


def planned(asked: Training, progress: Progress) -> Plan:
    """The file as it will be read, and networks that can be had, in the room that is allowed.

    Raises: UserError for anything that will not work.
    """
    file = read(asked.task, int(asked.bytes or 0), progress)
    kind = kind_of(file.task, file.loaded)
    wishes = wishes_of(asked, kind.choice, len(file.loaded.train))
    rehearse(kind.rows(file, wishes), file, asked.seed)
    if file.most:
        check_packable(kind.rows(file, wishes)[-1], file)
        file, wishes = within(file, wishes, asked.seed, progress)
    tries = [] if asked.quality is None else kind.tries(file, wishes)
    tries = fitting(kind, file, tries, asked.seed)
    rehearse([sparse_row(kind, file, one) for one in tries], file, asked.seed)
    return Plan(kind, file, kind.rows(file, wishes), tries)


def read(task: TableFile, most: int, progress: Progress) -> File:
    """The file as a task reads it. most: bytes, as in `File`."""
    loaded, preparation = task.prepare(progress)
    return File(task, loaded, preparation, row_numbers(loaded), sampled(task, loaded), most)


def check_packable(row: Row, file: File) -> None:
    """Raises: UserError for a cell that has no file without torch, whose size could be limited."""
    if not runs_without_torch(network.build(row, network.describe(file.loaded))):
        raise UserError(
            f"--bytes with the cell {row.options['cell']!r}, which runs with torch alone",
            "a cell whose network is one file, such as gru or lstm",
            "choose another --cell, or leave out --bytes",
        )


def fitting(kind: Kind, file: File, tries: Sequence[Try], seed: int) -> list[Try]:
    """Those of the tries that fit in the room there is, each as large as it may be.

    Raises: TooLarge if none does.
    """
    fits: list[Try] = []
    errors: list[sizing.TooLarge] = []
    for one in tries:
        try:
            fits.append(one._replace(wishes=kind.fitted(file, one.wishes, seed)))
        except sizing.TooLarge as error:
            errors.append(error)
    if errors and not fits:
        raise min(errors, key=lambda error: error.least)
    return fits


def within(file: File, wishes: Wishes, seed: int, progress: Progress) -> tuple[File, Wishes]:
    """The file, with a smaller vocabulary where that leaves room for units, and wishes that fit.

    Raises: TooLarge if there are none.
    """
    fits: list[tuple[int, File, Wishes]] = []
    least: list[int] = []
    while True:
        kind, words = kind_of(file.task, file.loaded), file.loaded.inputs
        try:
            fitting = kind.fitted(file, wishes, seed)
            units = int(str(kind.rows(file, fitting)[-1].options["units"]))
            fits.append((units, file, fitting))
        except sizing.TooLarge as error:
            least.append(error.least)
        enough = bool(fits) and (fits[-1][2].scale == 1 or fits[-1][0] >= ENOUGH_UNITS)
        if enough or not kind.stores_words(file) or words < 2 * LEAST_WORDS or file.task.tokenizer == "characters":
            break
        file = read(replace(file.task, vocabulary=words // 2), file.most, progress)
    if not fits:
        raise sizing.TooLarge(file.most, min(least))
    return max(fits, key=lambda one: one[0])[1:]


def jobs_of(asked: Training, rows: Sequence[Row], out: Path, say: Callable[[str], None]) -> Jobs:
    """What trains some rows."""
    recipe = Recipe("Own data: " + Path(asked.task.path).name, "the user", lambda size: rows, "full")
    request = Request(NAME, seeds=(asked.seed,), out=out, resume=True, progress=asked.progress)
    return Jobs(Experiment.of(request, recipe, asked.command), say)


def check_names(asked: Training) -> None:
    """Raises: UserError for a cell, method or sparsity that cannot be had."""
    if asked.cell:
        folders.find("cells", asked.cell)
    wishes_of(asked, Choice("", 0, 0, 0))


def wishes_of(asked: Training, choice: Choice, examples: int = 1) -> Wishes:
    """What was asked, and else what suits the kind of file. examples: that train."""
    sparsity = choice.sparsity if asked.sparsity is None else asked.sparsity
    options = {} if asked.method else dict(choice.pruning)
    if asked.granularity:
        options["granularity"] = asked.granularity
    method = make_method(asked.method or choice.method, sparsity, options, examples)
    return Wishes(asked.cell or choice.cell, method, asked.units, asked.epochs, asked.sparsity)


def finished_networks(kind: Kind, file: File, run_folders: dict[str, Path], out: Path) -> list[Scored]:
    """The networks on the test rows, and the one file that is left; where one needs torch the runs answer."""
    if all(runs_without_torch(read_final(folder)) for folder in run_folders.values()):
        return kind.finish(file, run_folders, out)
    return [kind.trained(file, name, folder) for name, folder in run_folders.items()]


def prepare_folders(out: Path, run_folders: Iterable[Path], preparation: Preparation) -> None:
    """Leave in each run folder how another file is read."""
    for folder in run_folders:
        with durable.one_clear_error("A run's folder", out, "nothing was lost"):
            durable.inner_folder(folder)
        write_preparation(folder, preparation)


class Baselines(NamedTuple):
    """Those without a network, and the seconds that they took."""

    scored: list[Scored]
    seconds: float


def score_baselines(kind: Kind, file: File, files: dict[str, str]) -> Baselines:
    """The baselines of a kind of file.

    Raises: UserError if the file is no longer the one with these checksums.
    """
    with unchanged(file.task, None) as files_now:
        if files_now != files:
            raise changed(file.task.path)
        started = time.perf_counter()
        return Baselines(kind.baselines(file), round(time.perf_counter() - started, 1))


def begin(out: Path, asked: Training, files: dict[str, str]) -> None:
    """Leave in a folder what a training was begun with, or compare it with what is there.

    Raises: UserError that names the options or files that differ.
    """
    options = {name: getattr(asked, name) for name in OPTIONS}
    options |= {name: getattr(asked, name) for name in LATER if getattr(asked, name) is not None}
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


def sampled(task: TableFile, loaded: Loaded) -> Loaded:
    """The data of the training: of a large file other examples in every epoch, and a sample for validation."""
    train, valid = at_most(loaded.train, MOST_TRAINED), at_most(loaded.valid, MOST_VALIDATED)
    return replace(loaded, train=train, valid=valid)


def examples(loaded: Loaded) -> str:
    """What the splits count, for people."""
    if loaded.tokens:
        return "tokens" if loaded.objective == "language_model" else "texts"
    return {"forecasting": "windows", "tagging": "pieces of series"}.get(loaded.objective, "series")


def make_method(name: str, sparsity: float, options: Mapping[str, object] | None = None, examples: int = 1) -> Method:
    """A method by its name, at a sparsity where it has one.

    Arguments:
        options: further ones. examples: that train, for methods that weigh them against a prior.
    Raises: UserError for an option that it lacks.
    """
    kind: Callable[..., Method] = folders.find("methods", name)
    parameters = typed.parameters(kind)
    for option in options or {}:
        if option not in parameters:
            raise UserError(f"{name} has no {option}", "a method that has one, as magnitude", f"leave out --{option}")
    offered = {"sparsity": sparsity, "strength": STRENGTH, "examples": examples}
    return kind(**{name: value for name, value in offered.items() if name in parameters}, **(options or {}))


def row_numbers(loaded: Loaded) -> dict[str, np.ndarray]:
    """Which rows of the file are in which split, where a row is an example."""
    splits = {"train": loaded.train, "valid": loaded.valid, "test": loaded.test}
    return {
        name: split.rows
        for name, split in splits.items()
        if isinstance(split, SequenceSplit) and split.rows is not None
    }


def write_baseline(out: Path, asked: Training, verdict: Verdict, seconds: float, dense: results.Result) -> Path:
    """A run folder with the baseline's result alone, so that the report has its row; it read what the dense one did."""
    folder = results.run_folder(out, BASELINE, asked.seed)
    figure = verdict.figures[BASELINE]
    metrics = {"accuracy": {"accuracy": figure / 100}, "rmse": {"mse": figure**2}, "perplexity": {"perplexity": figure}}
    result = {
        "recipe": NAME,
        "row": BASELINE,
        "size": "full",
        "seed": asked.seed,
        "metrics": metrics[verdict.metric],
        "published": {},
        "command": asked.command,
        "seconds": seconds,
        "environment": dense["environment"],
        "splits": dense["splits"],
        "provenance": {**dense["provenance"], "settings": {"baseline": BASELINE}, "precision": "float64"},
    }
    results.write(folder / results.RESULT, result)
    return folder
