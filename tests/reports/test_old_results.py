"""Result files that do not state their splits are read as what the recipes declare."""

import json
from pathlib import Path

import pytest

from sparsernn import folders
from sparsernn.reports.old_results import translated

RESULTS = Path(__file__).parents[2] / "results"


def old_files(recipe: str) -> list[dict]:
    """The kept results of a recipe that do not state their splits."""
    results = [json.loads(path.read_text()) for path in sorted((RESULTS / recipe).glob("*.json"))]
    return [result for result in results if "splits" not in result]


RECIPES = [recipe for recipe in folders.names("recipes") if old_files(recipe)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_said_of_old_files_is_what_the_recipes_declare(recipe):
    for old in old_files(recipe):
        row = next((row for row in folders.find("recipes", recipe).at(old["size"]) if row.name == old["row"]), None)
        if row is None:
            continue
        splits = translated(old)["splits"]
        assert splits["drawn"] == row.seeds.resplit, row.name
        assert not splits["drawn"] or tuple(splits[name] for name in ("train", "valid", "test")) == row.task.shares
        one_shot = getattr(row.task, "division", "") == "one_shot"
        measure = getattr(row, "measure", None)
        in_sight = translated(old)["provenance"]["test_in_sight"]
        assert (measure.test_in_sight if measure else "no").startswith(in_sight), row.name
        on_train = "train" if getattr(row.task, "test_on_train", 0) else "test"
        assert splits["scored"] == ("valid" if one_shot else on_train), row.name


def test_bits_of_a_word_are_not_called_bits_of_a_character():
    old = {"recipe": "liu2021_table2", "row": "dense", "metrics": {"bits_per_character": 7.0, "valid_loss": 1.0}}
    assert translated(old)["metrics"] == {"bits_per_token": 7.0, "valid_loss": 1.0}
    assert translated(old, "bits_per_character")["metrics"] == old["metrics"]


def test_a_file_that_states_its_splits_is_read_as_it_is():
    new = {"recipe": "liu2021_table2", "splits": {}, "metrics": {"bits_per_character": 2.0}}
    assert translated(new) is new and translated({}) == {}


def test_nothing_is_made_up_for_recipes_of_others():
    assert "splits" not in translated({"recipe": "mine", "row": "dense", "metrics": {}})
