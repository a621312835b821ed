"""Rows as earlier versions wrote them into recipe.json, translated."""

from collections.abc import Mapping

from sparsernn.training.run_folder import Json

MOVED = {"start", "fresh", "match", "teacher", "search", "best_of", "exchange_gates", "compact", "resplit", "only_seed"}


def translated(values: Json) -> Json:
    """The row as this version writes it; one that is written so already is left as it is."""
    if "seeds" in values or not isinstance(values.get("measure"), Mapping):
        return dict(values)
    start, gates = values.get("start"), values.get("exchange_gates")
    sources = {
        "zeros" if values.get("fresh") else "start": {"row": start} if start else None,
        "exchange": {"gates": gates} if gates else None,
        "match": {"row": values["match"]} if values.get("match") else None,
        "best_of": {"rows": values["best_of"]} if values.get("best_of") else None,
        "search": values.get("search"),
        "teacher": values.get("teacher"),
    }
    unmoved = {name: value for name, value in values.items() if name not in MOVED and name != "baseline"}
    return {
        **unmoved,
        **{name: source for name, source in sources.items() if source},
        **({"baseline": values["baseline"]} if values.get("baseline") else {}),
        "seeds": {"only": values.get("only_seed"), "resplit": values.get("resplit", False)},
        "measure": {"compact": values.get("compact", True), **values["measure"]},
    }
