"""Columns about what is left of a network: compression, and units and gates layer by layer, beside the source's."""

from collections.abc import Iterable, Sequence

from sparsernn.reports import statistics
from sparsernn.reports.quantities import Quantity, times, value_of
from sparsernn.reports.reading import Json, is_number

COUNTED = {"neurons": "neurons", "gates": "gates"}
"""Figures with a number for each layer and direction, by their titles."""
SUFFIX = "_compression"


def is_counted(results: Sequence[Json]) -> bool:
    """Whether a source counts what is left, or all networks are counted and differ; else sparsity says it all.

    Automata count their patterns and transitions instead.
    """
    published = [key for result in results for key in result.get("published") or {}]
    if any(key in COUNTED or key == "compression" or key.endswith(SUFFIX) for key in published):
        return True
    networks = [metrics for result in results if "macs_per_token" in (metrics := result.get("metrics") or {})]
    if any("transitions" in metrics for metrics in networks):
        return False
    counted = [[metrics.get(key) for metrics in networks] for key in COUNTED]
    return any(None not in counts and len(set(map(str, counts))) > 1 for counts in counted)


def compressions(results: Iterable[Json]) -> list[Quantity]:
    """Of all weights, and of each kind of layer that has its own, such as "LSTM compression"."""
    results = list(results)
    keys = dict.fromkeys(key for result in results for key in result.get("metrics") or {} if key.endswith(SUFFIX))
    quantities = [Quantity("compression", "compression", times, "higher")]
    for key in keys:
        quantities.append(Quantity(key, f"{key.removesuffix(SUFFIX).upper()} compression", times, "higher"))
    return [one for one in quantities if any(value_of(result.get("metrics") or {}, one) for result in results)]


def counts(groups: Sequence[Sequence[Json]]) -> list[tuple[str, list[str]]]:
    """Numbers of units and gates, one column each: ours, the source's, and ours less the source's.

    Arguments:
        groups: results that differ in their seed alone, for each row of the table.
    """
    columns = []
    for key, title in COUNTED.items():
        ours, source = ([_lists(results, part, key) for results in groups] for part in ("metrics", "published"))
        if not any(ours):
            continue
        columns.append((title, [_text(lists) for lists in ours]))
        if any(source):
            columns.append((f"{title}, published", [_text(lists) for lists in source]))
            pairs = zip(ours, source, strict=True)
            columns.append((f"{title}, difference", [_difference(mine, theirs) for mine, theirs in pairs]))
    return columns


def _lists(results: Sequence[Json], part: str, key: str) -> list[list[float]]:
    """The figure of every result that has it; of one length."""
    lists = []
    for result in results:
        values = (result.get(part) or {}).get(key)
        if isinstance(values, Sequence) and values and all(map(is_number, values)):
            lists.append([float(value) for value in values])
    return [values for values in lists if len(values) == len(lists[0])]


def _text(lists: Sequence[Sequence[float]]) -> str:
    """ "64-115" of one result; means and sample deviations of several."""
    if not lists:
        return "–"
    layers = list(zip(*lists, strict=True))
    if all(len(set(values)) == 1 for values in layers):
        return "-".join(f"{values[0]:g}" for values in layers)
    return ", ".join(f"{statistics.mean(values):.1f} ± {statistics.sample_deviation(values):.1f}" for values in layers)


def _difference(ours: Sequence[Sequence[float]], source: Sequence[Sequence[float]]) -> str:
    """The mean of ours less the source's, layer by layer."""
    if not ours or not source or len(ours[0]) != len(source[0]):
        return "–"
    gaps = [statistics.mean(values) - theirs for values, theirs in zip(zip(*ours, strict=True), source[0], strict=True)]
    return ", ".join(f"{round(gap, 1):+g}".replace("-", "−") if round(gap, 1) else "0" for gap in gaps)
