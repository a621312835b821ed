"""Recipes as data: every one builds at every size, survives JSON, and can be changed by name."""

import dataclasses
import json

import pytest
import torch

from sparsernn import folders, typed
from sparsernn.compaction.files import file_of
from sparsernn.errors import UserError
from sparsernn.experiments import network
from sparsernn.experiments.baseline_row import BaselineRow
from sparsernn.experiments.overrides import cell_options, override
from sparsernn.experiments.recipe import SIZES, Recipe, select
from sparsernn.experiments.rows import Row
from sparsernn.experiments.seeds import Seeds
from sparsernn.experiments.sources.start import Start
from sparsernn.experiments.sources.teacher import Teacher
from sparsernn.methods.group_lasso import GroupLasso

RECIPES = folders.entries("recipes")
DIGITS = RECIPES["quickstart"].at("quick")
OUTPUTS = {"language_model": 50, "classification": 10, "tagging": 5, "forecasting": 24}


def networks_of(name: str, size: str) -> list[Row]:
    return [row for row in RECIPES[name].at(size) if isinstance(row, Row)]


def made_up_data(row: Row) -> dict:
    objective = network.find_model(row.model).objective
    tokens = objective == "language_model" or "inputs" in row.options
    return {"objective": objective, "inputs": 50, "tokens": tokens, "outputs": OUTPUTS[objective]}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RECIPES)
def test_every_row_of_every_recipe_builds_and_survives_json(name, size):
    for row in networks_of(name, size):
        assert Row.from_json(json.loads(json.dumps(row.to_json(), allow_nan=False))) == row
        with torch.device("meta"):
            assert any(True for _ in network.build(row, made_up_data(row)).parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is_and_what_it_compares_with(name):
    recipe = RECIPES[name]
    assert recipe.title and recipe.source and len(recipe.title) < 100


def test_the_same_seed_builds_the_same_network_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = (network.build(DIGITS[0], made_up_data(DIGITS[0]), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(first.parameters(), second.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


def test_rows_come_after_those_they_need():
    names = [row.name for row in select(DIGITS, None)]
    assert names.index("neurons") < names.index("small_dense")
    assert [row.name for row in select(DIGITS, ["small_dense"])] == ["dense", "neurons", "small_dense"]


def test_an_unknown_row_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Write 'st_rnn', the nearest"):
        select(DIGITS, ["strnn"])


def test_rows_that_need_each_other_are_refused():
    first = dataclasses.replace(DIGITS[0], name="a", sources=(Start("b"),))
    second = dataclasses.replace(DIGITS[0], name="b", sources=(Start("a"),))
    with pytest.raises(UserError, match="needs itself"):
        select([first, second], None)


@pytest.mark.parametrize("rows", [[DIGITS[0], DIGITS[0]], [dataclasses.replace(DIGITS[0], sources=(Start("nobody"),))]])
def test_a_recipe_with_repeated_or_missing_rows_is_refused(rows):
    with pytest.raises(UserError, match="repeats rows|unknown rows"):
        Recipe("title", "source", lambda size: rows).at("cpu")


def test_an_unknown_size_is_refused():
    with pytest.raises(UserError, match="full, cpu, quick"):
        RECIPES["quickstart"].at("huge")


def test_a_change_applies_to_every_row_that_has_the_field():
    rows = override(DIGITS, ["settings.epochs=3", "method.sparsity=0.5", "model.units=9", "settings.clip=none"])
    assert {row.settings.epochs for row in rows} == {3}
    assert {row.settings.clip for row in rows} == {None}
    assert {row.options["units"] for row in rows} == {9}
    by_name = {row.name: row for row in rows}
    assert by_name["st_rnn"].method.sparsity == by_name["neurons"].method.sparsity == 0.5
    assert by_name["dense"].method is None


def test_a_change_can_name_one_row_and_later_ones_win():
    rows = override(DIGITS, ["settings.epochs=3", "rows.st_rnn.settings.epochs=7", "rows.st_rnn.method.sparsity=0.95"])
    by_name = {row.name: row for row in rows}
    assert by_name["st_rnn"].settings.epochs == 7 and by_name["st_rnn"].method.sparsity == 0.95
    assert by_name["dense"].settings.epochs == 3 and by_name["neurons"].method.sparsity == 0.75


def test_a_change_can_be_of_one_option_of_the_cell():
    rows = override(DIGITS, ["model.cell_options.reset=before", "model.cell_options.init_scale=.1"])
    assert all(row.options["cell_options"] == {"reset": "before", "init_scale": 0.1} for row in rows)
    (row, *_) = override(rows, ['model.cell_options={"bias": false}'])
    assert row.options["cell_options"] == {"bias": False}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_option_of_a_cell_in_a_recipe_can_be_changed(recipe):
    for row in networks_of(recipe, "full"):
        assert set(row.options.get("cell_options", {})) <= set(cell_options(row))


@pytest.mark.parametrize(
    "assignment, expected",
    [
        ("model.cell_options.resett=before", "Write 'reset', the nearest"),
        ('model.cell_options={"foo": 1}', "no option 'foo'"),
        ('model.cell_options={"bias": 7}', "true or false"),
        ("model.cell_options.bias=7", "true or false"),
        ("compact=false", "Write it as --set measure.compact"),
        ("rows.dense.compact=false", "Write it as --set measure.compact"),
        ("threads.first=1", "part.field"),
        ("settings.compact=true", "there is no field 'compact'"),
        ("settings.epochs.first=7", "part.field"),
        ("settings.epochs", "path=value"),
        ("settings.epoch=3", "Write 'epochs', the nearest"),
        ("settings.epochs=three", "a whole number"),
        ("settings.epochs=1.5", "a whole number"),
        ("settings.epochs=-1", "a whole number from"),
        ("settings.schedule=stepp", "one of constant"),
        ("setings.epochs=3", "Write 'settings', the nearest"),
        ("method.sparsity=1.5", "0, 1"),
        ("method.sparsity=high", "a number"),
        ("method.sparcity=0.5", "Write 'sparsity', the nearest"),
        ("rows.strnn.method.sparsity=0.5", "Write 'st_rnn', the nearest"),
        ("rows.dense.method.sparsity=0.5", "there is no field 'sparsity'"),
        ("rows.dense=1", "rows.ROW.part.field"),
        ("model.inputs=3", "there is no field 'inputs'"),
        ("model.unit=3", "Write 'units', the nearest"),
        ("task.order=diagonal", "row"),
        ("measure.compact=perhaps", "true or false"),
        ("threads=0", "at least 1"),
        ("settings=3", "part.field"),
        ("=3", "path=value"),
    ],
)
def test_a_wrong_change_gets_one_clear_error(assignment, expected):
    with pytest.raises(UserError) as caught:
        override(DIGITS, [assignment])
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("3", int, 3),
        ("3", float, 3.0),
        ("1e-3", float, 1e-3),
        (".05", float, 0.05),
        ("+2.", float, 2.0),
        (".05", str, ".05"),
        ("true", bool, True),
        ("False", bool, False),
        ("none", int | None, None),
        ("3", int | float, 3),
        ("0.5", int | float, 0.5),
        ("lstm", str, "lstm"),
        ("3", str, "3"),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ('{"a": 1}', dict, {"a": 1}),
    ],
)
def test_text_becomes_the_declared_type(text, kind, value):
    found = typed.parse(text, kind, "x")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text, kind", [("true", int), ("1", bool), ("[1, true]", tuple[int, ...]), ("[1]", tuple[int, int])]
)
def test_text_of_another_type_is_refused(text, kind):
    with pytest.raises(UserError, match="x cannot be"):
        typed.parse(text, kind, "x")


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("settings"),
        lambda values: values["settings"].update(epochs="many"),
        lambda values: values["settings"].update(colour="red"),
        lambda values: values["method"].update(name="os.system"),
        lambda values: values["task"].update(name="../../secrets"),
        lambda values: values.update(model=3),
        lambda values: values.update(method=[]),
    ],
)
def test_a_damaged_recipe_file_gives_one_clear_error(damage):
    values = next(row for row in DIGITS if row.name == "st_rnn").to_json()
    damage(values)
    with pytest.raises(UserError):
        Row.from_json(values)


def test_the_units_of_a_matched_row_are_the_most_that_fit():
    row, data = DIGITS[0], made_up_data(DIGITS[0])
    limit = 10_000
    units = network.units_for(row, data, limit)
    sizes = [
        len(file_of(network.build(dataclasses.replace(row, options={**row.options, "units": n}), data), plain=True)[0])
        for n in (units, units + 1)
    ]
    assert sizes[0] <= limit < sizes[1]
    with pytest.raises(UserError, match="does not fit"):
        network.units_for(row, data, 10)


def test_a_model_for_another_kind_of_task_is_refused():
    with pytest.raises(UserError, match="made for classification"):
        network.build(DIGITS[0], {**made_up_data(DIGITS[0]), "objective": "forecasting"})
    with pytest.raises(UserError, match="Write 'classifier', the nearest"):
        network.build(dataclasses.replace(DIGITS[0], model="clasifier"), made_up_data(DIGITS[0]))
    with pytest.raises(UserError, match="Write 'units', the nearest"):
        network.build(dataclasses.replace(DIGITS[0], options={"unit": 3}), made_up_data(DIGITS[0]))


def test_a_tuple_of_levels_survives_json():
    row = dataclasses.replace(DIGITS[0], method=GroupLasso(strength=0.1, granularity=("neuron", "gate")))
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_a_teacher_is_needed_first_and_survives_json():
    dense, *_ = folders.find("recipes", "quickstart").at("quick")
    taught = dataclasses.replace(dense, name="taught", sources=(Teacher(dense.name, share=0.5),))
    assert taught.needs == (dense.name,) and "taught by" in taught.describe()
    assert Row.from_json(json.loads(json.dumps(taught.to_json()))).sources == taught.sources
    (changed,) = override([taught], ["teacher.share=0.25"])
    assert changed.sources == (Teacher(dense.name, share=0.25),)
    assert [row.name for row in select([taught, dense], ["taught"])] == [dense.name, "taught"]
    with pytest.raises(UserError, match="share is 2"):
        Teacher(dense.name, share=2)


def test_a_baseline_is_a_row_without_a_network():
    row = BaselineRow("words", DIGITS[0].task, "tfidf", seeds=Seeds(only=3))
    assert row.needs == () and row.describe() == "tfidf, no network" and row.seeds.first((0, 1)) == 3
    assert override([row, *DIGITS], ["settings.epochs=3", "threads=2"])[0] == dataclasses.replace(row, threads=2)
    with pytest.raises(UserError, match="Write 'tfidf', the nearest"):
        dataclasses.replace(row, baseline="tfidff")
    with pytest.raises(UserError, match="is of a baseline"):
        Row.from_json(row.to_json())


def test_seeds_draw_splits_only_of_tasks_that_have_a_seed():
    with pytest.raises(UserError, match="draws its splits, but its task has no seed"):
        dataclasses.replace(DIGITS[0], seeds=Seeds(resplit=True))
