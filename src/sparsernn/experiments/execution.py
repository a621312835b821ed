"""Execution of an experiment: its rows in order with every seed, and what is told and timed beside them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparsernn import durable
from sparsernn.experiments import results
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.compacted import arguments
from sparsernn.experiments.experiment import Experiment
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.results import Result
from sparsernn.experiments.rows import Row
from sparsernn.experiments.scoring import batch_of
from sparsernn.experiments.size_search import SearchGaveUp
from sparsernn.experiments.trained import read_final
from sparsernn.measure import latency
from sparsernn.training.run_folder import finite


@dataclass(frozen=True)
class Outcome:
    """What a run of a recipe left: its folder, the run folders in the recipe's order, and the results in it."""

    out: Path
    run_folders: list[Path]
    results: list[Result]


def run(jobs: Jobs) -> Outcome:
    """Train, compact, score and time every row of an experiment for every seed, its folder locked; see `run_rows`."""
    with durable.locked(jobs.out):
        return run_rows(jobs)


def run_rows(jobs: Jobs) -> Outcome:
    """Train, compact, score and time every row of an experiment for every seed.

    A row whose search gives up is left out, with those that rest on it.
    Raises: UserError of the first such row if none is left.
    """
    experiment, finished, run_folders = jobs.experiment, [], []
    for seed, rows in experiment.passes:
        by_row: dict[str, Result] = {}
        for row in rows:
            result = attempted(row, seed, jobs)
            if result is not None:
                by_row[row.name] = result
                publish(result, experiment)
        for name in time_rows(by_row, seed, jobs):
            results.write(jobs.folder(name, seed) / results.RESULT, by_row[name])
            publish(by_row[name], experiment)
        names = [row.name for row in experiment.shown if row.name in by_row]
        finished += [by_row[name] for name in names]
        run_folders += [jobs.folder(name, seed) for name in names]
    if jobs.given_up and not finished:
        raise next(iter(jobs.given_up.values()))
    for name, error in jobs.given_up.items():
        jobs.say(f"{name} was left out: {error}")
    return Outcome(experiment.out, run_folders, finished)


def attempted(row: AnyRow, seed: int, jobs: Jobs) -> Result | None:
    """The row's result, or None where a search gave up: its own, or that of a row that it rests on."""
    try:
        return jobs.run(row, seed)
    except SearchGaveUp as error:
        jobs.given_up.setdefault(row.name, error)
        return None


def publish(result: Result, experiment: Experiment) -> None:
    """Write a result where all of them are kept."""
    for folder in filter(None, (experiment.out / "results", experiment.request.results)):
        results.write(results.result_path(folder, result), result)


def time_rows(by_row: Mapping[str, Result], seed: int, jobs: Jobs) -> Iterator[str]:
    """Time the networks of all rows with the same task together, and put the figures into their results.

    Arguments:
        by_row: results by the names of their rows; those that have their times are left as they are.
    Returns: the names of the rows that were timed, each group of them as soon as it was.
    """
    for rows in groups(jobs.experiment, by_row):
        key = f"ms_batch_{rows[0].measure.latency_batches[0]}"
        if all(key in by_row[row.name]["metrics"] for row in rows):
            continue
        names = [row.name for row in rows]
        jobs.say("timing " + ", ".join(names))
        timings = timings_of(rows, seed, jobs)
        for name in names:
            by_row[name]["metrics"].update(finite(latency.numbers(timings, name)))
            yield name


def groups(experiment: Experiment, names: Collection[str]) -> list[list[Row]]:
    """The rows of these names that are timed, those with the same task and batches together, in the recipe's order."""
    by_task: dict[str, list[Row]] = {}
    for row in experiment.shown:
        if row.name in names and isinstance(row, Row) and row.measure.latency_batches:
            by_task.setdefault(repr((row.task, row.measure.latency_batches)), []).append(row)
    return list(by_task.values())


def timings_of(rows: list[Row], seed: int, jobs: Jobs) -> dict[int, dict[str, latency.Timing]]:
    """Time per sequence of the rows' final networks."""
    measure, loaded = rows[0].measure, jobs.load(rows[0].task)
    return latency.latency(
        {row.name: read_final(jobs.folder(row.name, seed)) for row in rows},
        lambda batch: arguments(batch_of(loaded, batch)),
        batches=measure.latency_batches,
        seconds=measure.latency_seconds,
    )
