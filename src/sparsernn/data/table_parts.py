"""The rows of a user's file in parts: by class, with groups on one side; and rows that are nearly the same."""

from collections.abc import Iterable

import numpy as np

from sparsernn.data.cuts import cut_by_few, cut_by_group
from sparsernn.data.near_duplicates import Shingles, kept_apart
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_rows import Table
from sparsernn.data.task import PARTS, are_known

BINS = 10
MOST_TEXTS, MOST_COMPARED = 20_000, 2_000


def row_groups(task: TableOptions, table: Table) -> np.ndarray | None:
    """The group of every row of the file, as numbers in the order of appearance; None where no column names them."""
    if not task.groups:
        return None
    numbers: dict[str, int] = {}
    codes = [
        numbers.setdefault(name, len(numbers))
        for rows in table.rows([task.groups], "reading groups")
        for name in rows.labels(task.groups, of="group")
    ]
    return np.array(codes, np.int64)


def cut_rows(task: TableOptions, targets: np.ndarray, groups: np.ndarray | None) -> list[np.ndarray]:
    """Train, valid and test of the rows that have a target: each class or range of numbers in the same proportion, or
    each group in one of them."""
    rows = np.flatnonzero(are_known(targets))
    if groups is not None:
        parts = cut_by_group(groups[rows], task.shares, task.seed)
    else:
        parts = cut_by_few(_strata(targets[rows]), task.shares, task.seed)
    return [rows[part] for part in parts]


def _strata(targets: np.ndarray) -> np.ndarray:
    """Classes, or the tenth of all numbers in which each lies."""
    if targets.dtype.kind != "f":
        return targets
    ranks = np.argsort(np.argsort(targets, kind="stable"), kind="stable")
    return ranks * BINS // max(1, len(ranks))


def without_copies(
    task: TableOptions, parts: list[np.ndarray], texts: Iterable[str], remarks: dict[str, None]
) -> list[np.ndarray]:
    """The parts as they are, after a remark on near-duplicates between them; or without these, if so asked.

    Of more than `MOST_TEXTS` training texts that many are compared, and of the test texts `MOST_COMPARED`.
    """
    if task.near_duplicates == "drop":
        apart = kept_apart(Shingles.of(texts), dict(zip(PARTS, parts, strict=True)))
        remarks[f"{sum(map(len, parts)) - sum(map(len, apart.values())):,} near-copies were left out"] = None
        return [apart[part] for part in PARTS]
    train, test = _thinned(parts[0], MOST_TEXTS), _thinned(parts[2], MOST_COMPARED)
    if len(train) and len(test):
        rows = np.sort(np.concatenate([train, test]))
        compared = np.zeros(int(rows[-1]) + 1, bool)
        compared[rows] = True
        shingles = Shingles.of(text for keep, text in zip(compared, texts, strict=False) if keep)
        copies = int(shingles.alike(np.searchsorted(rows, test), np.searchsorted(rows, train)).sum())
        note_copies(remarks, copies, len(test), len(train) < len(parts[0]), "; --near-duplicates drop leaves these out")
    return parts


def note_copies(remarks: dict[str, None], copies: int, compared: int, sampled: bool, more: str = "") -> None:
    """Add a remark on copies of test rows, if there are any."""
    if copies:
        among = "a sample of the training rows" if sampled else "the training rows"
        remarks[f"{copies:,} of {compared:,} test rows have a near-copy among {among}{more}"] = None


def _thinned(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[:: -(-len(rows) // most)] if len(rows) else rows


def check_series_copies(values: np.ndarray, offsets: np.ndarray, parts: list[np.ndarray], remarks: dict[str, None]):
    """Add a remark on test series that are the same as a training one to four digits."""

    def key(series: int) -> bytes:
        piece = values[offsets[series] : offsets[series + 1]]
        return np.char.mod("%.3e", np.asarray(piece, np.float64) + 0.0).tobytes()

    train = {hash(key(series)) for series in _thinned(parts[0], MOST_TEXTS).tolist()}
    test = _thinned(parts[2], MOST_COMPARED).tolist()
    copies = sum(hash(key(series)) in train for series in test)
    note_copies(remarks, copies, len(test), len(parts[0]) > MOST_TEXTS)
