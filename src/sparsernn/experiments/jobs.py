"""Jobs: one row with one seed, from its data to its result file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from sparsernn.data.files import unchanged
from sparsernn.data.task import Loaded, Task
from sparsernn.errors import UserError
from sparsernn.experiments import network, results, spectra, trained
from sparsernn.experiments.baseline_row import AnyRow, BaselineRow
from sparsernn.experiments.baselines import BASELINES
from sparsernn.experiments.experiment import Experiment
from sparsernn.experiments.parts import plain
from sparsernn.experiments.provenance import provenance, splits
from sparsernn.experiments.rows import Prepared, Row, Runs
from sparsernn.experiments.scoring import Scored, score
from sparsernn.experiments.size_search import SearchGaveUp
from sparsernn.experiments.trained import Trained
from sparsernn.structure.masks import Masks
from sparsernn.training.environment import describe_environment
from sparsernn.training.loop import fit
from sparsernn.training.run_folder import Json, RunFolder, finite


class Jobs(Runs):
    """The rows of an experiment, each run with any seed; each task is loaded once. Its sources see it as `Runs`.

    Arguments:
        experiment: whose rows are run.
        say: told what happens, a line at a time.
    Attributes:
        loaded: data that were read, by the text of their task; files: the checksums of their files.
        given_up: rows whose search found no strength, with the error that says so.
    """

    def __init__(self, experiment: Experiment, say: Callable[[str], None] = lambda line: None):
        self.experiment, self.out, self.say = experiment, experiment.out, say
        self.loaded: dict[str, Loaded] = {}
        self.files: dict[str, dict[str, str]] = {}
        self.given_up: dict[str, SearchGaveUp] = {}

    def run(self, row: AnyRow, seed: int) -> results.Result:
        """Train a row, or read what an earlier run of it left; its result, not yet timed.

        Raises: SearchGaveUp where its search does, or that of a row that it rests on.
        """
        for name in row.rests_on:
            if name in self.given_up:
                raise self.given_up[name]
        return self.run_in(self.folder(row.name, seed), row.resolved(self), seed)

    def run_in(self, folder: Path, row: AnyRow, seed: int) -> results.Result:
        """Train a row in a run folder, going on with what is there.

        What it rests on is trained first where it is missing, as for a search with a seed that was not asked for.
        """
        for name in row.rests_on:
            if not (self.folder(name, seed) / results.RESULT).is_file():
                self.run(self.row(name), seed)
        row, resume = row.seeded(seed), folder.exists()
        loaded = self.load(row.task)
        data = network.describe(loaded)
        row = row.sized(data, self)
        experiment, about = self.experiment, self.experiment.about(row.name, seed)
        described = {"title": experiment.title, "source": experiment.source, "files": self.files[repr(row.task)]}
        recipe = {**about, **described, **row.to_json(), "data": data}
        with RunFolder.create(folder, recipe, resume=resume) as run, threads(row.threads):
            if (folder / results.RESULT).is_file():
                self.say(f"{row.name}: finished before")
                return results.read(folder / results.RESULT)
            self.say(f"{row.name}: {row.describe()}")
            scored = self.scored(row, loaded, data, run, resume)
            result = {
                **about,
                "metrics": finite(scored.metrics),
                "published": plain(row.published),
                "command": experiment.command_of(row.name, seed),
                "seconds": round(scored.seconds, 1),
                "environment": run.environment,
                "splits": splits(row, loaded),
                "provenance": provenance(row, experiment.request.data, self.files[repr(row.task)]),
            }
            results.write(folder / results.RESULT, result)
        return result

    def scored(self, row: AnyRow, loaded: Loaded, data: Json, run: RunFolder, resume: bool) -> Scored:
        """A row's figures: Row -> Prepared -> Trained -> Scored, or those of its baseline."""
        if isinstance(row, BaselineRow):
            started = time.perf_counter()
            run.write_environment(describe_environment())
            metrics = BASELINES[row.baseline](loaded)
            return Scored(metrics, time.perf_counter() - started)
        prepared = network.prepare(row, loaded, data, self)
        finished = train(prepared, run, resume=resume, progress=self.experiment.request.progress)
        return score(finished, loaded, run.path)

    def keep(self, task: Task, loaded: Loaded, files: dict[str, str]) -> None:
        """Take these data for those of a task. files: their checksums."""
        self.loaded[repr(task)], self.files[repr(task)] = loaded, files

    def load(self, task: Task) -> Loaded:
        """A task's data, read once for all rows with the same task and options."""
        key = repr(task)
        if key not in self.loaded:
            with unchanged(task, self.experiment.request.data) as files:
                loaded = task.load(self.experiment.request.data)
            self.keep(task, loaded, files)
        return self.loaded[key]

    def row(self, name: str) -> Row:
        """A row of the experiment.

        Raises: UserError if it has no network.
        """
        row = next(row for row in self.experiment.rows if row.name == name)
        if isinstance(row, BaselineRow):
            raise UserError(f"row {name!r} is a baseline", "a row with a network", "Name another row as a source")
        return row

    def folder(self, name: str, seed: int) -> Path:
        return results.run_folder(self.out, name, seed)

    def figures(self, name: str, seed: int | None = None) -> Json:
        if seed is None:
            seed = self.row(name).seeds.first(self.experiment.request.seeds)
        return results.read(self.folder(name, seed) / results.RESULT)["metrics"]

    def network(self, name: str, seed: int) -> tuple[nn.Module, Masks]:
        finished = trained.read(self.folder(name, seed))
        return finished.network, finished.masks


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Let torch use so many threads inside; None leaves its own number."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(prepared: Prepared, run: RunFolder, *, resume: bool, progress: bool) -> Trained:
    """Train a row's network in place, with everything that a run folder holds."""
    row, loaded, network = prepared.row, prepared.loaded, prepared.network
    start = spectra.at_start(row, loaded, network, prepared.method) if row.measure.spectra else None
    fitted = fit(
        network,
        loaded.train,
        loaded.valid,
        objective=prepared.objective,
        method=prepared.method,
        settings=row.settings,
        run=run,
        resume=resume,
        progress=progress,
    )
    return Trained(row, prepared.data, network, fitted.masks, fitted.seconds, start)
