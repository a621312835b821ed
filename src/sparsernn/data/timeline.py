"""Rows of series put in the order of time: clock changes, times that repeat or are missing, and an even grid."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sparsernn.data.table_rows import rows_of
from sparsernn.data.times import Step, step_of
from sparsernn.errors import UserError

HOUR = 3600
COUNTED = ("changes", "sorted", "repeated", "absent")
MOST_REPEATED = 0.2
"""Share of the rows of a series with the time of another one, above which a file out of order mixes series."""
MOST_GROWN = 20
"""How many times as long a series may become when missing times are filled."""


@dataclass
class Timeline:
    """Times of the rows of a file, series after series.

    Arguments:
        order: [rows] file rows, series after series; put in the order of time by `arrange`.
        offsets: [series + 1] where each series starts in `order`.
        times: [rows] of the file rows, as numbers.
        dates: whether they are seconds since 1970.

    Attributes:
        local: the times as the file has them, where those after a clock change are moved on in `times`.
    """

    order: np.ndarray
    offsets: np.ndarray
    times: np.ndarray
    dates: bool
    _counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("changes", "sorted", "repeated", "absent"), 0)
    )
    _steps: list[Step] = field(default_factory=list)
    _uneven: int = 0

    def __post_init__(self) -> None:
        self.local = self.times

    @property
    def count(self) -> int:
        """How many series there are."""
        return len(self.offsets) - 1

    def of(self, series: int) -> np.ndarray:
        """The times of a series."""
        return self.times[self.order[self.offsets[series] : self.offsets[series + 1]]]

    def last(self, series: int, ahead: int) -> float:
        """The time of the last row of a series but `ahead` ones, as the file has it."""
        rows = self.order[self.offsets[series] : self.offsets[series + 1]]
        return float(self.local[rows[max(0, len(rows) - 1 - ahead)]])

    def step(self, series: int) -> Step:
        """The usual step of a series."""
        return self._steps[series]

    def arrange(self, names: Sequence[str], where: Callable[[int], str]) -> None:
        """Put each series in the order of time; what was met on the way is told by `remarks`.

        Raises: UserError for rows out of order that repeat times, as where several series are taken for one.
        """
        self.local = self.times.astype(np.float64)
        self.order, self.times = self.order.copy(), self.local.copy()
        for series in range(self.count):
            rows = self.order[self.offsets[series] : self.offsets[series + 1]]
            if (np.diff(self.times[rows]) < 0).any() and not self._change_clocks(rows):
                self._sort(rows, series, names[series], where)
            times = self.times[rows]
            step = step_of(times, self.dates)
            self._steps.append(step)
            self._counts["repeated"] += int((np.diff(times) == 0).sum())
            if len(times) > 2:
                places = np.diff(step.places(times))
                whole = np.abs(places - np.rint(places)) < 0.02
                self._counts["absent"] += int(np.maximum(np.rint(places[whole]) - 1, 0).sum())
                self._uneven += int((~whole).sum())

    def _change_clocks(self, rows: np.ndarray) -> bool:
        """Whether all falls of time are hours that clocks are put back; the times after each are then moved on."""
        times = self.times[rows]
        apart = np.diff(times)
        falls = np.flatnonzero(apart < 0)
        step = float(np.median(apart[apart > 0])) if (apart > 0).any() else 0.0
        years = (times.max() - times.min()) / (365 * 86400)
        if not self.dates or not 0 < step <= HOUR or len(falls) > years + 1.5:
            return False
        if not np.allclose(apart[falls], step - HOUR):
            return False
        for fall in falls:
            times[fall + 1 :] += HOUR
        self.times[rows] = times
        self._counts["changes"] += len(falls)
        return True

    def _sort(self, rows: np.ndarray, series: int, name: str, where: Callable[[int], str]) -> None:
        times = self.times[rows]
        fall = int(np.flatnonzero(np.diff(times) < 0)[0]) + 1
        ordered = np.argsort(times, kind="stable")
        if (np.diff(times[ordered]) == 0).sum() > MOST_REPEATED * len(rows):
            of_series = f" of series {name[:40]!r}" if name else ""
            raise UserError(
                f"The time in {where(int(rows[fall]))} is earlier than the one before it{of_series}, and times repeat",
                "one row for each time of a series",
                "give the column that tells series apart with --id, and check for ids used twice",
            )
        self.order[self.offsets[series] : self.offsets[series + 1]] = rows[ordered]
        self._counts["sorted"] += 1

    def remarks(self, forecast: bool, fills: bool) -> list[str]:
        """What is to be said of the times.

        Arguments:
            forecast: whether an even step matters and missing times could be filled; fills: whether they will be.
        """
        counts, told = self._counts, []
        if counts["sorted"]:
            which = f"the rows of {counts['sorted']:,} series" if self.count > 1 else "the rows"
            told.append(f"{which} were put in the order of time")
        if counts["changes"]:
            told.append(f"clocks go back an hour, {counts['changes']} times; these rows stay in their order")
        if counts["repeated"]:
            more = "; give --id where a column tells series apart, and --time DATE,TIME where two make a time"
            many = more if counts["repeated"] > MOST_REPEATED * len(self.order) else ""
            told.append(f"the time of {rows_of(counts['repeated'])} is that of the row before{many}")
        steps = sorted({step.words() for step in self._steps})
        usual = f"the usual step is {steps[0]}" if len(steps) == 1 else "by the usual step of each series"
        if self._uneven > 0.1 * len(self.order):
            told.append(f"{self._uneven:,} steps between times are no multiple of the usual one ({usual})")
        elif counts["absent"]:
            every = len(self.order) - counts["repeated"] + counts["absent"]
            do = "; they are filled" if fills else "; --missing interpolate fills them" if forecast else ""
            told.append(f"{counts['absent']:,} of {every:,} times between first and last are missing ({usual}){do}")
        return told

    def grid(self, series: int) -> np.ndarray | None:
        """The place of each row of a series on a grid of even steps; None where it has none."""
        times = self.of(series)
        if len(times) < 3:
            return None
        places = self.step(series).places(times)
        whole = np.rint(places).astype(np.int64)
        if (np.abs(places - whole) > 0.02).any() or whole[-1] > MOST_GROWN * len(times):
            return None
        return whole
