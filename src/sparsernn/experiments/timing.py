"""Times of the rows of an experiment, taken together, the first being the measure of the others."""

from collections.abc import Collection, Iterator, Mapping

from sparsernn.experiments.compacted import arguments, read_final
from sparsernn.experiments.experiment import Experiment
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.results import Result
from sparsernn.experiments.rows import Row
from sparsernn.experiments.scoring import batch_of
from sparsernn.measure import latency
from sparsernn.training.run_folder import finite


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
