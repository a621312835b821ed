"""Rows divided into parts: in proportion, by label or by group, in an order that a seed draws."""

import numpy as np


def shuffled(count: int, seed: int | None) -> np.ndarray:
    """The order of the examples: stored, or a permutation that is the same in every release of numpy."""
    return np.arange(count) if seed is None else np.random.RandomState(seed % 2**32).permutation(count)


def cut(count: int, fractions: tuple[float, ...], seed: int | None = 0) -> list[np.ndarray]:
    """Disjoint sets of row numbers that cover `range(count)`, in proportion to `fractions`, shuffled by the seed."""
    ends = np.rint(np.cumsum(fractions) / np.sum(fractions) * count).astype(int)
    return np.split(shuffled(count, seed), ends[:-1])


def cut_by_label(labels: np.ndarray, fractions: tuple[float, ...], seed: int | None = 0) -> list[np.ndarray]:
    """Like `cut`, with every label's share the same in every part; the parts are in ascending row order."""
    parts: list[list[np.ndarray]] = [[] for _ in fractions]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        for part, places in zip(parts, cut(len(rows), fractions, seed), strict=True):
            part.append(rows[places])
    return [np.sort(np.concatenate(part)) for part in parts]


def cut_by_few(labels: np.ndarray, fractions: tuple[float, float, float], seed: int | None = 0) -> list[np.ndarray]:
    """Like `cut_by_label`, where some labels have too few rows for every part.

    Of these labels each keeps a row in the first part, and they take turns in the others, so that the parts have
    their shares of them all. A part that would be empty gets a row of the label that has most.
    """
    names, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = np.array(fractions) / np.sum(fractions)
    ends = np.rint(np.cumsum(shares) * counts[:, None]).astype(int)  # [labels parts]
    least = np.diff(ends, axis=1, prepend=0).min(1)
    few = (least < 1)[numbers]
    parts = cut_by_label(np.where(few, -1, numbers)[~few], fractions, seed) if not few.all() else [np.zeros(0, int)] * 3
    part_of = np.zeros(len(labels), int)
    for number, part in enumerate(parts):
        part_of[np.flatnonzero(~few)[part]] = number
    waiting = np.full(3, 0.5)
    for name in shuffled(len(names), seed):
        if least[name] >= 1:
            continue
        rows = np.flatnonzero(numbers == name)
        rows, place = rows[shuffled(len(rows), None if seed is None else seed + int(name))], 0
        for part in (2, 1):
            waiting[part] += shares[part] * len(rows)
            count = int(min(waiting[part], len(rows) - 1 - place))
            waiting[part] -= count
            part_of[rows[place : place + count]] = part
            place += count
    for part in (2, 1):
        most = np.bincount(numbers[part_of == 0], minlength=len(names))
        if not (part_of == part).any() and most.max() > 1:
            part_of[np.flatnonzero((part_of == 0) & (numbers == most.argmax()))[-1]] = part
    return [np.flatnonzero(part_of == part) for part in range(3)]


def cut_by_group(groups: np.ndarray, fractions: tuple[float, ...], seed: int | None = 0) -> list[np.ndarray]:
    """Like `cut`, with all rows of a group in one part, and the parts in ascending row order.

    The groups come in an order that the seed draws, each to the part that lacks most rows; the last ones to parts that
    have none yet. So parts have their share as nearly as whole groups allow, and their classes as they come.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    sizes = np.bincount(numbers)
    missing = np.array(fractions) / np.sum(fractions) * len(groups)
    part_of = np.full(len(names), -1)
    for done, group in enumerate(shuffled(len(names), seed)):
        empty = np.setdiff1d(np.flatnonzero(missing > 0), part_of)
        open_parts = empty if len(names) - done <= len(empty) else np.arange(len(missing))
        part = open_parts[np.argmax(missing[open_parts])]
        part_of[group] = part
        missing[part] -= sizes[group]
    return [np.flatnonzero(part_of[numbers] == part) for part in range(len(missing))]
