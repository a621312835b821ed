"""ETTh1: hourly load and oil temperature of an electricity transformer, to be forecast."""

from dataclasses import dataclass

import numpy as np

from sparsernn.data.files import find_file
from sparsernn.data.splits import WindowSplit
from sparsernn.data.table_rows import read_rows
from sparsernn.data.task import Folder, Loaded, Task
from sparsernn.errors import UserError

FILE = "ett/ETTh1.csv.gz"
COLUMNS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
BOUNDS = (0, 8640, 11520, 14400)


@dataclass(frozen=True)
class Etth1(Task):
    """Electricity-transformer load and oil temperature, 17,420 hours of 7 columns, to be forecast.

    The usual split of 12 / 4 / 4 months is rows 0-8639 / 8640-11519 / 11520-14399. Columns are standardised with the
    mean and deviation of the training rows, and errors are in that unit. Validation and test windows may begin in the
    part before, as usual; the forecast hours lie in their own part.

    Arguments:
        target: the column that is forecast.
        window: hours the model reads.
        horizon: hours it forecasts.
        columns: "all" seven as inputs, or "target" alone.
    Source: Zhou et al. 2021, ETT-small.
    """

    origin = "ETDataset (Zhou et al. 2021), ETT-small/ETTh1.csv"
    files = {FILE: "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"}
    choices = {"target": COLUMNS, "columns": ("all", "target")}

    target: str = "OT"
    window: int = 96
    horizon: int = 24
    columns: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1 or self.horizon < 1 or self.window + self.horizon > BOUNDS[3] - BOUNDS[2]:
            raise UserError(
                f"window is {self.window} and horizon is {self.horizon}",
                "1 hour or more each, 2,880 in all at most",
                "give 96 and 24, for instance",
            )

    def load(self, folder: Folder = None) -> Loaded:
        """Read the file and cut it into windows."""
        names = COLUMNS if self.columns == "all" else (self.target,)
        path = find_file(self, FILE, folder)
        series = np.concatenate([rows.matrix(names) for rows in read_rows(path, names)])
        if len(series) < BOUNDS[3]:
            raise UserError(f"The file {path} has {len(series)} rows", f"at least {BOUNDS[3]}", "get the file again")
        learned = series[: BOUNDS[1]]
        scaled = ((series - learned.mean(0)) / learned.std(0)).astype(np.float32)
        parts = (self._split(scaled, names, part) for part in range(3))
        note = "standardised with the training rows"
        return Loaded.of_forecasts(parts, self.target, inputs=len(names), horizon=self.horizon, note=note)

    def _split(self, series: np.ndarray, names: tuple[str, ...], part: int) -> WindowSplit:
        first = max(0, BOUNDS[part] - self.window)
        starts = np.arange(first, BOUNDS[part + 1] - self.window - self.horizon + 1)
        return WindowSplit(series, starts, self.window, self.horizon, names.index(self.target))
