"""Runs a recipe: every row the same way, from its data to its result file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsernn import folders
from sparsernn.data.task import Loaded
from sparsernn.measure import latency
from sparsernn.methods.method import Method
from sparsernn.methods.static import Static
from sparsernn.recipes import baselines, network, results, size_search, spectra, trained
from sparsernn.recipes.gate_exchange import GateExchange
from sparsernn.recipes.overrides import override
from sparsernn.recipes.recipe import Recipe, Row, Size, plain, select
from sparsernn.recipes.scoring import batch_of, score
from sparsernn.recipes.size_search import SearchGaveUp
from sparsernn.training import objectives
from sparsernn.training.distillation import Distillation
from sparsernn.training.environment import describe_environment
from sparsernn.training.loop import fit
from sparsernn.training.run_folder import RunFolder, finite

RESULT = "result.json"
FRESH = 7919  # what is added to the seed for first weights that differ from those of the row's start


@dataclasses.dataclass(frozen=True)
class Request:
    """What to run of a recipe, and where.

    Arguments:
        recipe: name of a file in `recipes/`.
        size: "full", "cpu" or "quick"; None takes the recipe's default.
        rows: names of rows; those they need are run too. None runs all.
        seeds: every row is run once for each.
        assignments: `path=value` changes, as `--set` gives them.
        out: folder of the run folders; None finds a free one under `runs/`.
        data: folder of the data files.
        results: a second folder for the result files, beside `out/results`.
        resume: go on with what `out` holds.
        progress: show each row's training.
    """

    recipe: str
    size: Size | None = None
    rows: Sequence[str] | None = None
    seeds: Sequence[int] = (0,)
    assignments: Sequence[str] = ()
    out: Path | None = None
    data: Path | None = None
    results: Path | None = None
    resume: bool = False
    progress: bool = True


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run of a recipe left: its folder, the run folders in the recipe's order, and the results in it."""

    out: Path
    run_folders: list[Path]
    results: list[dict[str, Any]]


class Execution:
    """One run of a recipe: its rows in order, each task loaded once.

    Arguments:
        request: what to run.
        recipe: a recipe that is no file of the folder; its name is the request's.
        command: what to write down as the command that makes the figures, where it is not `sparsernn run`.
        initialise: gives a new model other weights than its own; rows that start from another row's keep those.
        say: told what happens, a line at a time.
    Raises: UserError for anything in the request that does not exist or does not fit, before anything is run.
    """

    def __init__(
        self,
        request: Request,
        say: Callable[[str], None] = lambda line: None,
        *,
        recipe: Recipe | None = None,
        command: str | None = None,
        initialise: Callable[[nn.Module], None] = lambda model: None,
    ):
        self.request, self.say, self.command, self.initialise = request, say, command, initialise
        self.recipe: Recipe = recipe or folders.find("recipes", request.recipe)
        self.name = request.recipe if recipe else request.recipe.strip().lower().replace("-", "_")
        self.size: Size = request.size or self.recipe.default_size
        rows = override(self.recipe.at(self.size), list(request.assignments))
        self.order = select(rows, None if request.rows is None else list(request.rows))
        chosen = {row.name for row in self.order}
        self.rows = [row for row in rows if row.name in chosen]
        self.out = results.output_folder(request.out, self.name, request.resume)
        self.loaded: dict[str, Loaded] = {}
        self.given_up: dict[str, SearchGaveUp] = {}

    def run(self) -> Outcome:
        """Train, compact, score and time every row for every seed.

        A row whose search gives up is left out, with those that rest on it.
        Raises: UserError of the first such row if none is left.
        """
        found, run_folders = [], []
        for seed, order in self.passes():
            by_row: dict[str, dict[str, Any]] = {}
            for row in order:
                result = self.attempted(row, seed)
                if result is not None:
                    by_row[row.name] = result
                    self.publish(result)
            self.time_rows(by_row, seed)
            done = [row.name for row in self.rows if row.name in by_row]
            found += [by_row[name] for name in done]
            run_folders += [results.run_folder(self.out, name, seed) for name in done]
        if self.given_up and not found:
            raise next(iter(self.given_up.values()))
        for name, error in self.given_up.items():
            self.say(f"{name} was left out: {error}")
        return Outcome(self.out, run_folders, found)

    def passes(self) -> list[tuple[int, list[Row]]]:
        """Seeds and the rows trained with them: those with a seed of their own first."""
        own = sorted({row.only_seed for row in self.order if row.only_seed is not None})
        rest = [row for row in self.order if row.only_seed is None]
        return [
            *((seed, [row for row in self.order if row.only_seed == seed]) for seed in own),
            *((seed, rest) for seed in self.request.seeds if rest),
        ]

    def attempted(self, row: Row, seed: int) -> dict[str, Any] | None:
        """The row's result, or None where a search gave up: its own, or that of a row that it rests on."""
        causes = [self.given_up[name] for name in row.rests_on if name in self.given_up]
        if row.best_of and all(name in self.given_up for name in row.best_of):
            causes += [self.given_up[name] for name in row.best_of]
        try:
            if causes:
                raise causes[0]
            return self.run_row(row, seed)
        except SearchGaveUp as error:
            self.given_up.setdefault(row.name, error)
            return None

    def publish(self, result: dict[str, Any]) -> None:
        """Write a result where all of them are kept."""
        for folder in filter(None, (self.out / "results", self.request.results)):
            results.write(results.result_path(folder, result), result)

    def run_row(self, row: Row, seed: int) -> dict[str, Any]:
        """Train one row, or read what an earlier run of it left; its result, not yet timed."""
        folder, row = results.run_folder(self.out, row.name, seed), self.chosen(row)
        return self.run_in(folder, self.searched(row), seed)

    def chosen(self, row: Row) -> Row:
        """The row with what it takes from the best of others."""
        if not row.best_of:
            return row
        known = {other.name: other for other in self.order}

        def result_of(name: str) -> dict[str, Any]:
            only = known[name].only_seed
            seed = self.request.seeds[0] if only is None else only
            return results.read(results.run_folder(self.out, name, seed) / RESULT)

        tried = {name: result_of(name)["metrics"] for name in row.best_of if name not in self.given_up}
        best = min(tried, key=lambda name: -tried[name].get("valid_accuracy", -tried[name]["valid_loss"]))
        taken = known[row.best_of[best]]
        method = taken.method
        if taken.search is not None:
            method = dataclasses.replace(method, strength=result_of(taken.name)["metrics"]["strength"])
        self.say(f"{row.name}: as {taken.name}")
        return dataclasses.replace(row, options=taken.options, method=method, settings=taken.settings, best_of={})

    def run_in(self, folder: Path, row: Row, seed: int) -> dict[str, Any]:
        """Train a row in its run folder, going on with what is there; only `resume` lets an old folder be used.

        What it rests on is trained first where it is missing, as for a search with a seed that was not asked for.
        """
        for before in self.order:
            if before.name in row.rests_on and not (results.run_folder(self.out, before.name, seed) / RESULT).is_file():
                self.run_row(before, seed)
        row, resume = seeded(row, seed), folder.exists()
        loaded = self.load(row)
        data = network.describe(loaded)
        row = self.matched(row, data)
        about = {"recipe": self.name, "row": row.name, "size": self.size, "seed": seed, "title": self.recipe.title}
        recipe = {**about, "source": self.recipe.source, **row.to_json(), "data": data}
        with RunFolder.create(folder, recipe, resume=resume) as run, threads(row.threads):
            if (folder / RESULT).is_file():
                self.say(f"{row.name}: finished before")
                return results.read(folder / RESULT)
            self.say(f"{row.name}: {row.describe()}")
            metrics, seconds = self.measured(row, loaded, data, run, resume)
            result = {
                **{name: about[name] for name in ("recipe", "row", "size", "seed")},
                "metrics": finite(metrics),
                "published": plain(row.published),
                "command": self.command_of(row, seed),
                "seconds": round(seconds, 1),
                "environment": run.environment,
            }
            results.write(folder / RESULT, result)
        return result

    def measured(
        self, row: Row, loaded: Loaded, data: dict[str, Any], run: RunFolder, resume: bool
    ) -> tuple[dict[str, Any], float]:
        """Train the row's network, or fit its baseline: figures, and seconds of work."""
        started, before = time.perf_counter(), 0.0
        if row.baseline is not None:
            run.write_environment(describe_environment())
            metrics = baselines.KNOWN[row.baseline](loaded)
        else:
            model = network.build(row, data, row.settings.seed + FRESH * row.fresh)
            method = self.begin(row, model, loaded)
            start = spectra.at_start(row, loaded, model, method) if row.measure.spectra else None
            fitted = fit(
                model,
                loaded.train,
                loaded.valid,
                objective=self.objective(row, loaded),
                method=method,
                settings=row.settings,
                run=run,
                resume=resume,
                progress=self.request.progress,
            )
            started, before = time.perf_counter(), fitted.seconds
            metrics = score(row, loaded, model, fitted.masks, run.path)
            if start is not None:
                spectra.write(run.path, start, spectra.describe(loaded, model, fitted.masks))
        return metrics, before + time.perf_counter() - started

    def command_of(self, row: Row, seed: int) -> str:
        """The command that makes the row's figures again."""
        return self.command or results.command(self.name, self.size, row.name, seed, self.request.assignments)

    def load(self, row: Row) -> Loaded:
        """The row's data, read once for all rows with the same task and options."""
        key = repr(row.task)
        if key not in self.loaded:
            self.loaded[key] = row.task.load(self.request.data)
        return self.loaded[key]

    def matched(self, row: Row, data: dict[str, Any]) -> Row:
        """The row, its units set so that it takes no more bytes than the compacted row it must match."""
        if row.match is None:
            return row
        other = results.read(results.run_folder(self.out, row.match, row.settings.seed) / RESULT)
        units = network.units_for(row, data, other["metrics"]["bytes"])
        return dataclasses.replace(row, options={**row.options, "units": units})

    def searched(self, row: Row) -> Row:
        """The row at the strength that its search finds; the accepted training is moved to the search's own seed."""
        search, place = row.search, self.out / f"{row.name}-search"
        if search is None:
            return row

        def at(strength: float) -> Row:
            return dataclasses.replace(row, method=dataclasses.replace(row.method, strength=strength))

        def train(number: int, strength: float) -> dict[str, Any]:
            folder = place / f"trial-{number}"
            return self.run_in(folder, at(strength), search.seed)["metrics"]

        trials = size_search.find(search, search.metric, place, train, self.say)
        accepted, folder = place / f"trial-{len(trials)}", results.run_folder(self.out, row.name, search.seed)
        if accepted.exists() and not folder.exists():
            accepted.rename(folder)
        return at(trials[-1].strength)

    def begin(self, row: Row, model: nn.Module, loaded: Loaded) -> Method | None:
        """Give the model the weights it starts from; the row's method, or one that keeps their zeros."""
        if loaded.vectors is not None:
            network.give_vectors(model, loaded.vectors)
        if row.start is None:
            self.initialise(model)
            return GateExchange(row.method, row.exchange_gates) if row.exchange_gates else row.method
        start = trained.read(results.run_folder(self.out, row.start, row.settings.seed))
        trained.check_fits(start.network, model, row.start, row.name)
        if not row.fresh:
            model.load_state_dict(start.network.state_dict())
        if row.method is None and start.masks.sparsity() > 0:
            return Static(masks=start.masks.kept)
        return row.method

    def objective(self, row: Row, loaded: Loaded) -> objectives.Objective:
        """What the row minimises: the data's objective, by itself or beside a teacher."""
        own = objectives.find_objective(loaded.objective)
        if row.teacher is None:
            return own
        teacher = trained.read(results.run_folder(self.out, row.teacher.row, row.settings.seed)).network
        return Distillation(own, teacher, row.teacher.share, row.teacher.temperature)

    def time_rows(self, by_row: dict[str, dict[str, Any]], seed: int) -> None:
        """Time the networks of all rows with the same task together and write the figures into their results."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.name in by_row and row.measure.latency_batches and row.baseline is None:
                groups.setdefault(repr((row.task, row.measure.latency_batches)), []).append(row)
        for rows in groups.values():
            key = f"ms_batch_{rows[0].measure.latency_batches[0]}"
            if all(key in by_row[row.name]["metrics"] for row in rows):
                continue
            self.say("timing " + ", ".join(row.name for row in rows))
            timings = self.time(rows, seed)
            for row in rows:
                by_row[row.name]["metrics"].update(finite(latency.numbers(timings, row.name)))
                results.write(results.run_folder(self.out, row.name, seed) / RESULT, by_row[row.name])
                self.publish(by_row[row.name])

    def time(self, rows: list[Row], seed: int) -> dict[int, dict[str, latency.Timing]]:
        """Time per sequence of the rows' final networks, the first being the measure of the others."""
        measure, loaded = rows[0].measure, self.load(rows[0])
        models = {row.name: trained.read_final(results.run_folder(self.out, row.name, seed)) for row in rows}
        return latency.latency(
            models,
            lambda batch: trained.arguments(batch_of(loaded, batch)),
            batches=measure.latency_batches,
            seconds=measure.latency_seconds,
        )


def seeded(row: Row, seed: int) -> Row:
    """The row as a seed runs it."""
    task = dataclasses.replace(row.task, seed=seed) if row.resplit else row.task
    return dataclasses.replace(row, task=task, settings=dataclasses.replace(row.settings, seed=seed))


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Let torch use so many threads inside; None leaves its own number."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
