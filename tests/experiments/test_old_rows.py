"""Rows of earlier versions: their recipe.json is read as this version writes it."""

import dataclasses

import pytest

from sparsernn.data.imdb import Imdb
from sparsernn.errors import UserError
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.rows import Row
from sparsernn.experiments.seeds import Seeds
from sparsernn.experiments.sources.best_of import BestOf
from sparsernn.experiments.sources.exchange import Exchange
from sparsernn.experiments.sources.match import Match
from sparsernn.experiments.sources.search import Search
from sparsernn.experiments.sources.start import Start
from sparsernn.experiments.sources.teacher import Teacher
from sparsernn.experiments.sources.zeros import Zeros
from sparsernn.methods.group_lasso import GroupLasso

PLAIN = Row("sparse", Imdb(), method=GroupLasso(0.1))
SOURCES = {"start": None, "match": None, "teacher": None, "baseline": None, "exchange_gates": []}
SEARCH = Search(goal=40.0, tolerance=5.0, metric="transitions")


def written_before(row: Row, **fields) -> dict:
    """The row without sources as an earlier version wrote it, with these fields."""
    values = {name: value for name, value in row.to_json().items() if name != "seeds"}
    measure = {name: value for name, value in values["measure"].items() if name != "compact"}
    return {**values, **SOURCES, "measure": measure, "compact": True, "resplit": False, **fields}


@pytest.mark.parametrize(
    "fields, changes",
    [
        ({}, {}),
        ({"start": "dense"}, {"sources": (Start("dense"),)}),
        ({"start": "dense", "fresh": True, "method": None}, {"sources": (Zeros("dense"),), "method": None}),
        ({"match": "other"}, {"sources": (Match("other"),)}),
        ({"exchange_gates": ["update", "reset"]}, {"sources": (Exchange(("update", "reset")),)}),
        ({"best_of": {"a": "b"}, "only_seed": 3}, {"sources": (BestOf({"a": "b"}),), "seeds": Seeds(only=3)}),
        ({"search": dataclasses.asdict(SEARCH)}, {"sources": (SEARCH,)}),
        ({"teacher": {"row": "dense", "share": 0.5, "temperature": 1.0}}, {"sources": (Teacher("dense", 0.5, 1.0),)}),
        ({"compact": False, "resplit": True}, {"measure": Measure(compact=False), "seeds": Seeds(resplit=True)}),
    ],
    ids=lambda value: "-".join(value) or "plain",
)
def test_a_row_of_an_earlier_version_is_read(fields, changes):
    assert Row.from_json(written_before(PLAIN, **fields)) == dataclasses.replace(PLAIN, **changes)


def test_a_baseline_of_an_earlier_version_is_refused_as_one_of_this():
    with pytest.raises(UserError, match="is of a baseline"):
        Row.from_json(written_before(PLAIN, baseline="tfidf"))
