"""Execution of an experiment: its rows in order with every seed, and what is told and timed beside them."""

import dataclasses
from pathlib import Path

from sparsernn.experiments import results
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.experiment import Experiment
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.results import Result
from sparsernn.experiments.size_search import SearchGaveUp
from sparsernn.experiments.timing import time_rows


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run of a recipe left: its folder, the run folders in the recipe's order, and the results in it."""

    out: Path
    run_folders: list[Path]
    results: list[Result]


def run(jobs: Jobs) -> Outcome:
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
