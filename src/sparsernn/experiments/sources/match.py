"""A dense row as large as a compacted one."""

from dataclasses import dataclass, replace

from sparsernn.experiments import network
from sparsernn.experiments.rows import Row, RowSource, Runs
from sparsernn.training.run_folder import Json


@dataclass(frozen=True)
class Match(RowSource):
    """Set the units to the largest number with which the network takes no more bytes than another row compacted.

    Arguments:
        row: its name.
    """

    decides = "units"

    def size(self, row: Row, data: Json, runs: Runs) -> Row:
        limit = runs.figures(self.row, row.settings.seed)["bytes"]
        return replace(row, options={**row.options, "units": network.units_for(row, data, limit)})
