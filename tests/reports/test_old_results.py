"""Result files that do not state their splits are read as what the recipes declare."""

import pytest

from sparsernn import folders
from sparsernn.reports.old_results import translated

EVERY = [(recipe, size) for recipe in folders.names("recipes") for size in ("cpu", "full", "quick")]


@pytest.mark.parametrize(("recipe", "size"), EVERY)
def test_what_is_said_of_old_files_is_what_the_recipes_declare(recipe, size):
    for row in folders.find("recipes", recipe).at(size):
        old = {"recipe": recipe, "row": row.name, "size": size, "metrics": {}}
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
