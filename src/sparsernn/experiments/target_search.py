"""Any row of a recipe driven to a wanted size: `size_search` from the command line."""

from collections.abc import Callable
from dataclasses import replace

from sparsernn import durable
from sparsernn.experiments import execution, results, size_search
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.size_search import TargetSearch
from sparsernn.training.run_folder import Json


def run(
    search: TargetSearch, request: Request, row: str, metric: str, say: Callable[[str], None] = lambda line: None
) -> Json:
    """Train a row of a recipe at one strength after the other until `metric` of its result is near the goal.

    Arguments:
        request: recipe, size, data, seeds and `out`; with `resume` finished trials are read and the last one goes on.
        metric: a figure of the row's result: "weights_kept", "bytes", "macs_per_token", "transitions", ...
    Returns: {"strength", "size", "trials", "folder"} of the accepted one.
    Raises: UserError if the row's method has no strength, the result no such figure, or the search gives up.
    """
    out = results.output_folder(request.out, f"{request.recipe}-search", request.resume)

    def train(number: int, strength: float) -> Json:
        folder = out / f"trial-{number}"
        assignments = (*request.assignments, f"rows.{row}.method.strength={strength!r}")
        asked = replace(request, rows=(row,), assignments=assignments, out=folder, resume=folder.exists())
        return execution.run(Jobs(Experiment.of(asked), say)).results[-1]["metrics"]

    with durable.locked(out):
        tried = size_search.find(search, metric, out, train, say)
    return {
        "strength": tried[-1].strength,
        "size": tried[-1].size,
        "trials": len(tried),
        "folder": str(out / f"trial-{len(tried)}"),
    }
