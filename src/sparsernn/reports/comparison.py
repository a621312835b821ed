"""Rows of a recipe against each other, against the source, and pair by pair over seeds."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sparsernn.reports import compression, statistics
from sparsernn.reports.quantities import COSTS, Quantity, Table, difference, goal, in_one_unit, mean, score, value_of
from sparsernn.reports.reading import Json

Group = tuple[str, Sequence[Json]]
DENSE = "dense"
DEVIATION = "± sample deviation"
IN_SIGHT = "chosen with these figures in sight"
FRESH = ", fresh splits"


class Pairing(NamedTuple):
    """A row and the one that it is measured by.

    Arguments:
        row, partner: their names.
        pairs: figures of both with the same seed and size.
        overlap: test rows over training rows where every seed drew a split of its own, 0 where all have the same one,
            None where the results do not say.
    """

    row: str
    partner: str
    pairs: Sequence[tuple[float, float]]
    overlap: float | None

    @property
    def differences(self) -> list[float]:
        return [mine - other for mine, other in self.pairs]

    @property
    def over(self) -> str:
        """What the pairs are, counted."""
        word = "seed" if not self.overlap else "split"
        return f"{len(self.pairs)} {word}{'s' if len(self.pairs) > 1 else ''}"

    @property
    def estimate(self) -> statistics.Estimate | None:
        return None if self.overlap is None else statistics.estimate(self.differences, self.overlap)


class Claim(NamedTuple):
    """A difference of a table: its observations, what they say of their mean, what they are, all pairs behind them."""

    observations: Sequence[float]
    estimate: statistics.Estimate | None
    over: str
    pairs: Sequence[float]


def compare(groups: Sequence[Group], main: Quantity | None) -> Table:
    """A line for each group of results that differ in their seed alone: what it reached, what is left, what it costs.

    Where the source's figure is known it stands beside ours with the difference, ours less the source's; so does the
    figure on the validation split where the source gives that too. Rows whose settings were chosen with these test
    figures in sight say so.
    """
    columns: list[tuple[str, list[str]]] = []
    groups = tuned_and_fresh(groups)
    several = any(len(results) > 1 for _, results in groups)
    if several:
        columns.append(("seeds", [str(len(results)) for _, results in groups]))
    for quantity in [main, *_validation(groups, main)] if main else []:
        columns += _against_source(groups, quantity, f" {DEVIATION}" if several else "")
    in_sight = [_in_sight(results) for _, results in groups]
    if "yes" in in_sight:
        columns.append((IN_SIGHT, in_sight))
    results = list(itertools.chain.from_iterable(results for _, results in groups))
    if compression.is_counted(results):
        for quantity in compression.compressions(results):
            columns += _against_source(groups, quantity, "")
        columns += compression.counts([results for _, results in groups])
    for quantity in COSTS:
        columns += _column(quantity.title, quantity, _values(groups, "metrics", quantity))
    columns.insert(0, ("network", [label for label, _ in groups]))
    rows = zip(*(texts for _, texts in columns), strict=True)
    return Table(tuple(title for title, _ in columns), tuple(rows))


def tuned_and_fresh(groups: Sequence[Group]) -> list[Group]:
    """The groups, a row with figures that were in sight while it was tuned and with others as two of them."""
    apart: list[Group] = []
    for name, results in groups:
        tuned = [result for result in results if _in_sight([result]) == "yes"]
        fresh = [result for result in results if _in_sight([result]) != "yes"]
        apart += [(name, tuned), (f"{name}{FRESH}", fresh)] if tuned and fresh else [(name, results)]
    return apart


def _validation(groups: Sequence[Group], main: Quantity) -> list[Quantity]:
    quantity = replace(main, key=f"valid_{main.key}", title=f"{main.title} on validation")
    return [quantity] if any(any(values) for values in _values(groups, "published", quantity)) else []


def _in_sight(results: Sequence[Json]) -> str:
    """Whether any of the results says that its settings were chosen with test figures in sight."""
    answers = [str((result.get("provenance") or {}).get("test_in_sight", "not stated")) for result in results]
    if any(answer.startswith("yes") for answer in answers):
        return "yes"
    return "not stated" if "not stated" in answers else "no"


def _against_source(groups: Sequence[Group], quantity: Quantity, more: str) -> list[tuple[str, list[str]]]:
    ours, source = (_values(groups, part, quantity) for part in ("metrics", "published"))
    columns = _column(f"{quantity.title}{more}", quantity, ours)
    columns += _column(f"{quantity.title}, published", quantity, source)
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
    """Every row against one of the same data, pair by pair; None where no two results make a pair.

    The differences stand with their sample deviation and with the 95 % interval of their mean, corrected where every
    seed drew its own split (`statistics.estimate`).

    Arguments:
        partner: PREFIX_ROW is set against PREFIX_partner, or else against partner.
    """
    main, pairings = _partnered(groups, partner)
    if main is None or not pairings:
        return None
    claims = [Claim(one.differences, one.estimate, one.over, one.differences) for one in pairings]
    rows = []
    for pairing, summary in zip(pairings, _summaries(main, claims), strict=True):
        ours, theirs = zip(*pairing.pairs, strict=True)
        rows.append((pairing.row, pairing.partner, mean(main, ours), mean(main, theirs), *summary))
    titles = ("network", "against", main.title, "its figure", f"difference {DEVIATION}", *_SUMMARY)
    return Table(titles, tuple(rows))


def pooled(groups: Sequence[Group], partner: str) -> Table | None:
    """As `paired`, of rows PREFIX_METHOD: a line for each METHOD over all prefixes that `partner` has rows of.

    A prefix is a setting, such as a data set, and counts once, with the mean of its pairs. A method with one setting
    has the interval of the pairs of that.
    """
    main, pairings = _partnered(groups, partner)
    methods: dict[str, list[Pairing]] = {}
    for one in pairings:
        methods.setdefault(one.row.removeprefix(one.partner.removesuffix(partner)), []).append(one)
    if main is None or not methods:
        return None
    summaries = _summaries(main, [_pooled(settings) for settings in methods.values()])
    rows = zip(([method] for method in methods), summaries, strict=True)
    titles = ("method", f"difference to {partner} {DEVIATION}", *_SUMMARY)
    return Table(titles, tuple((*name, *summary) for name, summary in rows))


def _pooled(settings: Sequence[Pairing]) -> Claim:
    """Settings as observations, or the pairs of the only one."""
    if len(settings) == 1:
        (only,) = settings
        return Claim(only.differences, only.estimate, only.over, only.differences)
    sets = [one.differences for one in settings]
    means = [statistics.mean(differences) for differences in sets]
    every = list(itertools.chain.from_iterable(sets))
    return Claim(means, statistics.over_sets(sets), f"{len(sets)} settings", every)


def _partnered(groups: Sequence[Group], partner: str) -> tuple[Quantity | None, list[Pairing]]:
    """What counts, and every row with the one it is measured by and their figures of the same seed, where there are."""
    by_name = dict(groups)
    main = goal(result for _, results in groups for result in results)
    pairings = []
    for name, results in tuned_and_fresh(groups):
        other = partner_of(name.removesuffix(FRESH), list(by_name), partner)
        if main is not None and other is not None and (pairs := _pairs(results, by_name[other], main)):
            pairings.append(Pairing(name, other, pairs, _overlap(results)))
    return main, pairings


def _overlap(results: Sequence[Json]) -> float | None:
    """What `Pairing.overlap` is; the largest where the results differ."""
    ratios = []
    for splits in (result.get("splits") for result in results):
        if not splits or "drawn" not in splits:
            return None
        ratios.append(splits["test"] / splits["train"] if splits["drawn"] else 0.0)
    return max(ratios)


_SUMMARY = ("95 % interval", "p (Holm)", "over", "better")


def _summaries(quantity: Quantity, claims: Sequence[Claim]) -> list[tuple[str, ...]]:
    """Mean and deviation of the differences, the interval of the mean, its p, what it is over, how many are better."""
    estimates = [claim.estimate for claim in claims if claim.estimate is not None]
    adjusted = iter(statistics.holm([estimate.p for estimate in estimates]))
    summaries = []
    for claim in claims:
        better = sum(gap > 0 if quantity.better == "higher" else gap < 0 for gap in claim.pairs)
        p = "–" if claim.estimate is None else probability(next(adjusted))
        texts = difference(quantity, claim.observations), interval(quantity, claim.estimate), p
        summaries.append((*texts, claim.over, f"{better} of {len(claim.pairs)}"))
    return summaries


def probability(value: float) -> str:
    """A probability to three places."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(quantity: Quantity, estimate: statistics.Estimate | None) -> str:
    """Between which values the mean of differences lies; a dash where nothing can be said.

    Accuracies cannot differ by more than 100 points, so the interval ends there.
    """
    if estimate is None:
        return "–"
    most = 1.0 if quantity.write is score else math.inf
    ends = estimate.mean - estimate.half, estimate.mean + estimate.half
    return " to ".join(difference(quantity, [min(max(end, -most), most)]) for end in ends)


def partner_of(name: str, names: Sequence[str], partner: str = DENSE) -> str | None:
    """The row that a row is to be measured by: the partner of the longest prefix they share."""
    prefixes = [other.removesuffix(partner) for other in names if other.endswith(partner) and other != name]
    fitting = [prefix for prefix in prefixes if name.startswith(prefix) and (not prefix or prefix.endswith("_"))]
    return f"{max(fitting, key=len)}{partner}" if fitting else None


def _pairs(results: Sequence[Json], others: Sequence[Json], main: Quantity) -> list[tuple[float, float]]:
    """Figures of the same seed and size."""
    theirs = {(other["size"], other["seed"]): value_of(other["metrics"], main) for other in others}
    pairs = [(value_of(mine["metrics"], main), theirs.get((mine["size"], mine["seed"]))) for mine in results]
    return [(in_one_unit(a, main), in_one_unit(b, main)) for a, b in pairs if a is not None and b is not None]
