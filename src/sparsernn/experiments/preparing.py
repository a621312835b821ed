"""The step from a row and its data to a network with its first weights."""

from sparsernn.data.task import Loaded
from sparsernn.experiments import network
from sparsernn.experiments.rows import Prepared, Row, Runs
from sparsernn.training import objectives
from sparsernn.training.run_folder import Json


def prepare(row: Row, loaded: Loaded, data: Json, runs: Runs) -> Prepared:
    """The row's network, method and objective, changed by its sources one after the other."""
    first = network.with_vectors(row, loaded, data, row.settings.seed)
    prepared = Prepared(row, loaded, data, first, row.method, objectives.find_objective(loaded.objective))
    for source in row.sources:
        prepared = source.prepare(prepared, runs)
    return prepared
