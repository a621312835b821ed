"""Rows at full size against the facts of their papers: a difference that is not declared fails."""

import dataclasses

import pytest

from sparsernn import folders
from sparsernn.experiments.deviations import ROW, Deviation, scalings
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import dodge2019, liu2021, liu2021_text, zhang2020

RECIPES = folders.entries("recipes")
COMPARED = [name for name, recipe in RECIPES.items() if recipe.paper]


@pytest.mark.parametrize("name", COMPARED)
def test_every_difference_from_the_paper_is_declared_and_nothing_else(name):
    paper, rows = RECIPES[name].paper, RECIPES[name].at("full")
    assert paper.undeclared(rows) == []
    assert paper.idle(rows) == []


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_scaled_for_a_cpu_is_declared_and_nothing_else(name):
    recipe = RECIPES[name]
    differences = scalings(recipe.at("full"), recipe.at("cpu"))
    assert [one for one in differences if not any(scaled.covers(one) for scaled in recipe.scaled)] == []
    assert [scaled for scaled in recipe.scaled if not any(map(scaled.covers, differences))] == []


def test_a_recipe_without_a_paper_says_that_it_has_none():
    assert all(RECIPES[name].source.startswith("none") for name in RECIPES if name not in COMPARED)


def test_a_changed_setting_and_a_new_row_are_found():
    recipe = RECIPES["liu2021_table4"]
    row = next(row for row in recipe.at("full") if row.name == "imdb_dense")
    other = dataclasses.replace(row, settings=dataclasses.replace(row.settings, learning_rate=2e-3))
    (difference,) = recipe.paper.undeclared([other])
    assert (difference.field, difference.published, difference.ours) == ("settings.learning_rate", 5e-4, 2e-3)
    unknown = dataclasses.replace(recipe.paper, stated=lambda row: {})
    assert {one.field for one in unknown.undeclared([row])} == {ROW}
    needless = Deviation("settings.learning_rate", 5e-4, 2e-3, "no more")
    assert dataclasses.replace(recipe.paper, deviations=(needless,)).idle([row]) == [needless]


@pytest.mark.parametrize(
    ("recipe", "row", "published"),
    [
        ("liu2021_table4", "imdb_st_rnn", {"accuracy": 0.86}),
        ("liu2021_table4", "sanders_dense", {"accuracy": 0.778}),
        ("liu2021_table4", "sanders_st_rnn", {"accuracy": 0.792}),
        ("liu2021_table6", "imdb_st_rnn", {"accuracy": 0.8505}),
        ("zhang2020_table1", "peephole_lstm_jacobian", {"accuracy": 0.9876}),
        ("zhang2020_table2", "l2_400", {"accuracy": 0.9929}),
        ("zhang2020_table4", "wiki2_jacobian", {"perplexity": 20.54}),
        ("liu2021_table2", "st_rnn_er_67", {"valid_perplexity": 79.10, "perplexity": 76.13}),
    ],
)
def test_published_figures_stand_beside_their_rows(recipe, row, published):
    rows = {one.name: one for one in RECIPES[recipe].at("full")}
    assert rows[row].published == published


def test_every_published_figure_has_its_row():
    tables = {
        "zhang2020_table1": zhang2020.TABLE_1,
        "zhang2020_table2": zhang2020.TABLE_2,
        "zhang2020_table3": zhang2020.TABLE_3,
        "zhang2020_table4": zhang2020.TABLE_4_PERPLEXITIES,
        "zhang2020_table6": zhang2020.TABLE_6,
        "liu2021_table2": liu2021.TABLE_2,
        "liu2021_table3": liu2021.TABLE_3,
        "liu2021_table4": liu2021.TABLE_4,
        "liu2021_table6": liu2021.TABLE_6,
        "liu2021_table7": liu2021.TABLE_7,
    }
    for name, figures in tables.items():
        assert {row.name for row in RECIPES[name].at("full") if row.published} == set(figures), name


def test_figures_on_a_cpu_stand_only_beside_networks_that_are_trained_as_long():
    rows = {row.name: row for row in RECIPES["zhang2020_table2"].at("cpu")}
    assert rows["jacobian_100"].published and not rows["jacobian_400"].published


def test_text_sets_are_the_papers_at_full_size():
    rows = {row.name: row for row in RECIPES["liu2021_table4"].at("full") if isinstance(row, Row)}
    yelp, imdb = rows["yelp_2018_st_rnn"], rows["imdb_st_rnn"]
    assert yelp.task.limit == 150_000 and sum(yelp.task.shares[:2]) == pytest.approx(0.8)
    assert (imdb.settings.learning_rate, imdb.settings.batch_size) == (5e-4, 256)
    assert {row.task.unknown for row in rows.values()} == {"drop"}
    assert all(row.settings.learning_rate <= 1e-2 for row in rows.values())
    assert liu2021_text.held_back(0.8, 0.2) == (0.72, 0.08, 0.2)


def test_large_texts_are_trained_for_as_many_steps_as_in_the_paper():
    for row in RECIPES["zhang2020_table4"].at("full"):
        text = zhang2020.TEXTS[row.name.partition("_")[0]]
        steps = row.settings.epochs * row.task.fraction * text.words / (row.task.steps * row.settings.batch_size)
        assert steps == pytest.approx(text.steps, rel=0.03)
        assert row.options["cell_options"]["init"] == "he"


def test_the_networks_to_read_are_the_papers():
    assert dodge2019.TABLE_1 == dodge2019.Readable(3, 8) and dodge2019.APPENDIX_TABLE == dodge2019.Readable(4, 11)
    rows = {row.name for name in ("dodge2019_table1", "dodge2019_contextual") for row in RECIPES[name].at("full")}
    assert {"domains_goal_8", "contextual_goal_11"} <= rows
