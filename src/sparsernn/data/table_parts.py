"""The rows of a user's file in parts: by class, with groups and near-duplicates kept on one side."""

from collections.abc import Iterable

import numpy as np

from sparsernn.data.near_duplicates import Shingles, kept_apart
from sparsernn.data.splits import cut_by_group, cut_by_label
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_rows import Progress, read_rows
from sparsernn.data.task import PARTS


def row_groups(task: TableOptions, progress: Progress) -> np.ndarray | None:
    """The group of every row of the file, as numbers in the order of appearance; None where no column names them."""
    if not task.groups:
        return None
    numbers: dict[str, int] = {}
    codes = [
        numbers.setdefault(name, len(numbers))
        for rows in read_rows(task.path, [task.groups], progress, "reading groups")
        for name in rows.labels(task.groups)
    ]
    return np.array(codes, np.int64)


def cut_rows(task: TableOptions, labels: np.ndarray, groups: np.ndarray | None) -> list[np.ndarray]:
    """Train, valid and test, each class in the same proportion, or each group in one of them."""
    if groups is None:
        return cut_by_label(labels, task.shares, task.seed)
    return cut_by_group(groups, task.shares, task.seed)


def without_copies(task: TableOptions, parts: list[np.ndarray], texts: Iterable[str]) -> list[np.ndarray]:
    """The parts as they are, or without near-duplicates between them; `texts` are read only for that."""
    if task.near_duplicates == "keep":
        return parts
    apart = kept_apart(Shingles.of(texts), dict(zip(PARTS, parts, strict=True)))
    return [apart[part] for part in PARTS]
