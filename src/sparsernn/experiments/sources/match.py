"""A dense row as large as a compacted one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from sparsernn.experiments import network
from sparsernn.experiments.rows import Row, RowSource, Runs


@dataclasses.dataclass(frozen=True)
class Match(RowSource):
    """Set the units to the largest number with which the network takes no more bytes than another row compacted.

    Arguments:
        row: its name.
    """

    decides: ClassVar[str] = "units"

    def size(self, row: Row, data: Mapping[str, Any], runs: Runs) -> Row:
        limit = runs.figures(self.row, row.settings.seed)["bytes"]
        return dataclasses.replace(row, options={**row.options, "units": network.units_for(row, data, limit)})
