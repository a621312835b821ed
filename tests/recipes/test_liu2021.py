"""The recipes of Liu et al. 2021: sizes, budgets, one step at a time, and a run of each kind from made-up files."""

import csv
import dataclasses
import gzip
import itertools
import random

import pytest
import torch

from sparsernn import folders
from sparsernn.experiments import network
from sparsernn.experiments.execution import run
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021_text
from sparsernn.reports import page
from sparsernn.reports.reading import read_run, read_runs
from sparsernn.sparsifying.sparsifier import Sparsifier

RECIPES = {name: entry for name, entry in folders.entries("recipes").items() if name.startswith("liu2021_")}
WORDS = {"objective": "language_model", "inputs": 10_000, "tokens": True, "outputs": 10_000}
TEXTS = {"objective": "classification", "inputs": 20_000, "tokens": True, "outputs": 2}


def rows_of(name, size):
    return {row.name: row for row in RECIPES[name].at(size)}


def data_of(row, **changes):
    return (WORDS if row.model == "language_model" else TEXTS) | changes


def weights(row, biases=True):
    with torch.device("meta"):
        model = network.build(row, data_of(row))
    return sum(parameter.numel() for parameter in model.parameters() if biases or parameter.dim() > 1)


def begun(row, **changes):
    """The row's sparsifier before its first step."""
    model = network.build(row, data_of(row, **changes))
    ids = torch.ones(4, 3, dtype=torch.long)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    steps = 10 * row.settings.epochs
    return Sparsifier(model, row.method, optimizer, steps=steps, where=row.settings.where, example=(ids,))


def test_every_table_and_figure_has_its_recipe():
    wanted = [*(f"table{number}" for number in range(2, 8)), "figure2", "figure3", "ablation"]
    wanted += ["figure2_tweets", "figure3_tweets"]
    assert {f"liu2021_{name}" for name in wanted} == set(RECIPES)


@pytest.mark.parametrize(
    ("recipe", "row", "count"), [("liu2021_table2", "dense", 66_034_000), ("liu2021_table3", "dense", 23_484_060)]
)
def test_the_language_models_have_the_sizes_of_the_source(recipe, row, count):
    assert weights(rows_of(recipe, "full")[row]) == count


@pytest.mark.parametrize("size", ["full", "cpu"])
def test_the_text_classifier_has_the_size_of_the_source_beside_biases_and_output(size):
    assert weights(rows_of("liu2021_table4", size)["imdb_dense"]) == 5_644_288 + 2 * 4 * 256 + 2 * 256 + 2


@pytest.mark.parametrize(("eps", "kept"), [(10.0, 243_520), (2.0, 48_704), (20.0, 487_040)])
def test_an_erdos_renyi_budget_of_every_gate_gives_the_weights_of_the_source(eps, kept):
    masks = begun(liu2021_text.network_row("full", "imdb", "st_rnn", eps)).masks
    assert sum(int(mask.sum()) for mask in masks.kept.values()) == kept
    assert masks.sparsity() == pytest.approx(1 - kept / 5_644_288)


@pytest.mark.parametrize("name", RECIPES)
def test_the_methods_of_every_row_begin_with_their_budget(name):
    for row in RECIPES[name].at("quick"):
        if isinstance(row, Row) and row.method is not None:
            run = begun(row, inputs=500, outputs=500 if row.model == "language_model" else 4)
            assert row.settings.epochs > 1
            if row.method.target is not None and row.settings.where:
                assert run.masks.sparsity() == pytest.approx(row.method.target, abs=0.02), row.name


def lstm_weights(first, second, embedded=1500, words=10_000):
    """Embedding, two layers of four gates that read the one below and themselves, output layer; without biases."""
    return words * embedded + 4 * first * (embedded + first) + 4 * second * (first + second) + words * second


def highway_weights(units, depth=10, words=10_000):
    """A tied embedding, two gates that read the input, and two that read the state at each of the levels."""
    return words * units + 2 * units * units * (1 + depth)


def test_group_lasso_leaves_as_many_units_as_in_the_source():
    """21.8 of 66.0 million weights with 373 and 315 units (Table 2), 11.1 of 23.5 million (Table 3)."""
    lstm, highway = rows_of("liu2021_table2", "full")["iss_67"], rows_of("liu2021_table3", "full")["iss"]
    assert round((1 - lstm.method.sparsity) * 2 * 1500) == 373 + 315
    assert lstm_weights(1500, 1500) == 66_000_000 and round(lstm_weights(373, 315) / 1e6, 1) == 21.8
    units = round((1 - highway.method.sparsity) * 830)
    assert round(highway_weights(units) / 1e6, 1) == 11.1 and round(highway_weights(830) / 1e6, 1) == 23.5
    assert highway_weights(units) / highway_weights(830) == pytest.approx(0.472, abs=1e-3)


def test_a_unit_of_a_highway_network_takes_its_word_weights_along():
    row = rows_of("liu2021_table3", "quick")["iss"]
    run = begun(row)
    masks = run.finalize()
    units, depth = row.options["units"], row.options["cell_options"]["depth"]
    left = sum(int(kept.sum()) for name, kept in masks.kept.items() if "weight" in name)
    assert left == highway_weights(round((1 - row.method.sparsity) * units), depth)


@pytest.mark.parametrize(
    ("recipe", "name", "sparsity"),
    [
        ("liu2021_table2", "small_dense_67", 0.67),
        ("liu2021_table2", "small_dense_80", 0.80),
        ("liu2021_table3", "small_dense", 0.528),
    ],
)
def test_the_small_dense_network_is_as_large_as_the_weights_that_are_kept_allow(recipe, name, sparsity):
    rows = rows_of(recipe, "cpu")
    units = rows[name].options["units"]
    larger = dataclasses.replace(rows[name], options={**rows[name].options, "units": units + 1})
    kept = (1 - sparsity) * weights(rows["dense"], biases=False)
    assert weights(rows[name], biases=False) <= kept < weights(larger, biases=False)


def test_each_step_of_the_ablation_changes_one_thing():
    methods = [dataclasses.asdict(row.method) for row in RECIPES["liu2021_ablation"].at("full")]
    changed = [
        {key for key in before.keys() & after.keys() if before[key] != after[key]}
        for before, after in itertools.pairwise(methods)
    ]
    assert changed == [{"distribution"}, {"drop"}, {"decay", "rate", "floor"}, {"birth"}]


def test_published_figures_stand_only_beside_networks_of_the_same_size():
    for name in ("liu2021_table2", "liu2021_table3", "liu2021_table7"):
        assert any(row.published for row in RECIPES[name].at("full"))
        assert not any(row.published for size in ("cpu", "quick") for row in RECIPES[name].at(size))


def test_a_seed_splits_data_without_a_split_of_their_own_alike_for_all_rows():
    rows = rows_of("liu2021_table4", "cpu")
    dense, sparse = (rows[f"sanders_{kind}"].seeded(3) for kind in ("dense", "st_rnn"))
    assert dense.task == sparse.task and dense.task.seed == dense.settings.seed == 3
    assert rows["imdb_dense"].seeded(3).task.seed == 0


@pytest.fixture(scope="module")
def made_up_files(tmp_path_factory):
    """A text and some tweets, written as the real files are."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(0)
    (folder / "ptb").mkdir()
    (folder / "sanders_twitter").mkdir()
    for part, lines in (("train", 160), ("valid", 80), ("test", 80)):
        with gzip.open(folder / "ptb" / f"ptb.{part}.txt.gz", "wt") as file:
            file.writelines(" ".join(draw.choices("abcdefgh", k=9)) + "\n" for _ in range(lines))
    with gzip.open(folder / "sanders_twitter" / "full-corpus.csv.gz", "wt", newline="") as file:
        table = csv.DictWriter(file, ["Sentiment", "TweetText"])
        table.writeheader()
        for number in range(100):
            label = ("irrelevant", "negative", "neutral", "positive")[number % 4]
            words = draw.choices("abcdefgh", k=6)
            table.writerow({"Sentiment": label, "TweetText": " ".join([label, *words])})
    return folder


def run_rows(recipe, rows, data, out, *assignments, seeds=(0,)):
    asked = ("task.verify=false", *assignments)
    request = Request(recipe, "quick", rows, seeds, asked, out=out, data=data, progress=False)
    return run(Jobs(Experiment.of(request)))


def test_rows_of_a_language_model_run_from_start_to_end(made_up_files, tmp_path):
    rows = ["dense", "st_rnn_uniform_67", "snfs_er_67"]
    done = run_rows("liu2021_table2", rows, made_up_files, tmp_path / "out", "task.fraction=1", "settings.epochs=2")
    assert {result["row"] for result in done.results} == set(rows)
    for folder, result in zip(done.run_folders, done.results, strict=True):
        run = read_run(folder)
        assert result["metrics"]["perplexity"] < 20
        if result["row"] == "dense":
            assert not run.events
            continue
        assert result["metrics"]["sparsity"] == pytest.approx(0.67, abs=0.01)
        births = [event["born"] for event in run.events if event["event"] == "rewire"]
        assert len(births) == 1 and births[0] > 0 and run.events[0]["overlap"] == 1
    assert "How the masks moved" in page.render(read_runs(done.run_folders))


def test_baselines_run_beside_networks_and_pairs_are_shown_over_seeds(made_up_files, tmp_path):
    rows = [f"sanders_{kind}" for kind in ("dense", "st_rnn", "bag_of_words", "tfidf")]
    done = run_rows("liu2021_table4", rows, made_up_files, tmp_path / "out", "settings.epochs=2", seeds=(0, 1))
    metrics = {result["row"].removeprefix("sanders_"): result["metrics"] for result in done.results}
    assert metrics["tfidf"]["accuracy"] == metrics["bag_of_words"]["accuracy"] == 1
    assert metrics["tfidf"]["weights_kept"] > metrics["bag_of_words"]["weights_kept"]
    text = page.render(read_runs(done.run_folders))
    assert "Seed by seed against the dense network" in text and "of 2</td>" in text
