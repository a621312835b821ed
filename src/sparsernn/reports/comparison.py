"""Rows of a recipe against each other, against the source, and pair by pair over seeds."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence

from scipy.stats import t as student

from sparsernn.reports.quantities import COSTS, Quantity, Table, difference, goal, in_one_unit, mean, score, value_of
from sparsernn.reports.reading import Json

Group = tuple[str, Sequence[Json]]
Pairs = Sequence[tuple[float, float]]
DENSE = "dense"


def compare(groups: Sequence[Group], main: Quantity | None) -> Table:
    """A line for each group of results that differ in their seed alone: what it reached and what it costs.

    Where the source's figure is known it stands beside ours with the difference, ours less the source's; so does the
    figure on the validation split where the source gives that too.
    """
    columns: list[tuple[str, list[str]]] = []
    if any(len(results) > 1 for _, results in groups):
        columns.append(("seeds", [str(len(results)) for _, results in groups]))
    for quantity in [main, *_validation(groups, main)] if main else []:
        columns += _against_source(groups, quantity)
    for quantity in COSTS:
        columns += _column(quantity.title, quantity, _values(groups, "metrics", quantity))
    columns.insert(0, ("network", [label for label, _ in groups]))
    rows = zip(*(texts for _, texts in columns), strict=True)
    return Table(tuple(title for title, _ in columns), tuple(rows))


def _validation(groups: Sequence[Group], main: Quantity) -> list[Quantity]:
    quantity = dataclasses.replace(main, key=f"valid_{main.key}", title=f"{main.title} on validation")
    return [quantity] if any(any(values) for values in _values(groups, "published", quantity)) else []


def _against_source(groups: Sequence[Group], quantity: Quantity) -> list[tuple[str, list[str]]]:
    ours, source = (_values(groups, part, quantity) for part in ("metrics", "published"))
    columns = _column(quantity.title, quantity, ours) + _column(f"{quantity.title}, published", quantity, source)
    if any(mine and theirs for mine, theirs in zip(ours, source, strict=True)):
        texts = [
            difference(quantity, [sum(mine) / len(mine) - theirs[0]] if mine and theirs else [])
            for mine, theirs in zip(ours, source, strict=True)
        ]
        columns.append((f"{quantity.title}, difference", texts))
    return columns


def _values(groups: Sequence[Group], part: str, quantity: Quantity) -> list[list[float]]:
    values = []
    for _, results in groups:
        present = (value_of(result.get(part) or {}, quantity) for result in results)
        values.append([in_one_unit(value, quantity) for value in present if value is not None])
    return values


def _column(title: str, quantity: Quantity, values: Sequence[Sequence[float]]) -> list[tuple[str, list[str]]]:
    """The column, or nothing where no row has a value."""
    return [(title, [mean(quantity, group) for group in values])] if any(values) else []


def paired(groups: Sequence[Group], partner: str = DENSE) -> Table | None:
    """Every row against one of the same data, seed by seed; None where no two results make a pair.

    The differences stand with their deviation and with the 95 % interval of their mean (Student's t).

    Arguments:
        partner: PREFIX_ROW is set against PREFIX_partner, or else against partner.
    """
    main, partnered = _partnered(groups, partner)
    rows = []
    for name, other, pairs in partnered:
        if main is not None:
            ours, theirs = zip(*pairs, strict=True)
            rows.append((name, other, mean(main, ours), mean(main, theirs), *_apart(main, pairs)))
    if main is None or not rows:
        return None
    return Table(("network", "against", main.title, "its figure", "difference, seed by seed", *_SUMMARY), tuple(rows))


def pooled(groups: Sequence[Group], partner: str) -> Table | None:
    """As `paired`, of rows PREFIX_METHOD: a line for each METHOD with the pairs of all prefixes together.

    The prefixes are those that `partner` has rows of.
    """
    main, partnered = _partnered(groups, partner)
    together: dict[str, list[Pairs]] = {}
    for name, other, pairs in partnered:
        together.setdefault(name.removeprefix(other.removesuffix(partner)), []).append(pairs)
    rows = []
    for method, settings in together.items():
        pairs = list(itertools.chain.from_iterable(settings))
        if main is not None:
            rows.append((method, str(len(settings)), str(len(pairs)), *_apart(main, pairs)))
    if not rows:
        return None
    return Table(("method", "settings", "pairs", f"difference to {partner}", *_SUMMARY), tuple(rows))


def _partnered(groups: Sequence[Group], partner: str) -> tuple[Quantity | None, list[tuple[str, str, Pairs]]]:
    """What counts, and every row with the one it is measured by and their figures of the same seed, where there are."""
    by_name = dict(groups)
    main = goal(result for _, results in groups for result in results)
    partnered = []
    for name, results in groups:
        other = partner_of(name, list(by_name), partner)
        if main is not None and other is not None and (pairs := _pairs(results, by_name[other], main)):
            partnered.append((name, other, pairs))
    return main, partnered


_SUMMARY = ("95 % interval", "better")


def _apart(quantity: Quantity, pairs: Pairs) -> tuple[str, str, str]:
    """Mean and deviation of the differences, the interval of the mean, how many are better."""
    apart = [mine - other for mine, other in pairs]
    better = sum(gap > 0 if quantity.better == "higher" else gap < 0 for gap in apart)
    return difference(quantity, apart), interval(quantity, apart), f"{better} of {len(pairs)}"


def interval(quantity: Quantity, apart: Sequence[float], confidence: float = 0.95) -> str:
    """Between which values the mean of differences lies (Student's t); a dash for fewer than two.

    Accuracies cannot differ by more than 100 points, so the interval ends there.
    """
    if len(apart) < 2:
        return "–"
    half = float(student.ppf((1 + confidence) / 2, len(apart) - 1)) * statistics.stdev(apart) / len(apart) ** 0.5
    middle, most = statistics.fmean(apart), 1.0 if quantity.write is score else math.inf
    return " to ".join(difference(quantity, [min(max(end, -most), most)]) for end in (middle - half, middle + half))


def partner_of(name: str, names: Sequence[str], partner: str = DENSE) -> str | None:
    """The row that a row is to be measured by: the partner of the longest prefix they share."""
    prefixes = [other.removesuffix(partner) for other in names if other.endswith(partner) and other != name]
    fitting = [prefix for prefix in prefixes if name.startswith(prefix) and (not prefix or prefix.endswith("_"))]
    return f"{max(fitting, key=len)}{partner}" if fitting else None


def _pairs(results: Sequence[Json], others: Sequence[Json], main: Quantity) -> Pairs:
    """Figures of the same seed and size."""
    theirs = {(other["size"], other["seed"]): value_of(other["metrics"], main) for other in others}
    pairs = [(value_of(mine["metrics"], main), theirs.get((mine["size"], mine["seed"]))) for mine in results]
    return [(in_one_unit(a, main), in_one_unit(b, main)) for a, b in pairs if a is not None and b is not None]
