"""The recipes of Dodge et al. 2019: sizes, thresholds, the search within a row, and a run from made-up files."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from sparsernn import folders
from sparsernn.errors import UserError
from sparsernn.experiments import network, trained
from sparsernn.experiments.execution import run
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.experiments.overrides import override
from sparsernn.experiments.size_search import STATE
from sparsernn.experiments.sources.best_of import BestOf
from sparsernn.experiments.sources.search import Search
from sparsernn.experiments.sources.start import Start
from sparsernn.experiments.sources.zeros import Zeros
from sparsernn.measure.cost import own_figures
from sparsernn.recipes.papers import dodge2019_text
from sparsernn.running.automata import LayerAutomata
from sparsernn.sparsifying.sparsifier import Sparsifier
from tests.recipes.made_reviews import write_reviews

RECIPES = {name: entry for name, entry in folders.entries("recipes").items() if name.startswith("dodge2019_")}
DATA = {"objective": "classification", "inputs": 50, "tokens": True, "outputs": 2}
CHANGES = ("task.verify=false", "settings.epochs=2", "search.tolerance=96")


def rows_of(name, size):
    return {row.name: row for row in RECIPES[name].at(size)}


def source_of(row, kind):
    """The row's source of a class, or None."""
    return next((source for source in row.sources if isinstance(source, kind)), None)


def ran(out, data, rows, *assignments, recipe="dodge2019_scratch", **options):
    request = Request(recipe, "quick", rows, assignments=(*CHANGES, *assignments), out=out, data=data, progress=False)
    lines = []
    return run(Jobs(Experiment.of(dataclasses.replace(request, **options)), lines.append)), lines


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_reviews(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def learned(reviews, tmp_path_factory):
    """Seed 1 of a structure, its fine-tuned network and the same from scratch."""
    out = tmp_path_factory.mktemp("runs") / "out"
    done, _ = ran(out, reviews, ["kitchen_goal_20", "kitchen_scratch_20"], seeds=(1,))
    return out, {result["row"].removeprefix("kitchen_"): result["metrics"] for result in done.results}


@pytest.mark.parametrize(
    ("name", "transitions"), [("grams_1", 24), ("grams_2", 48), ("grams_3", 72), ("grams_4", 96), ("mixed", 60)]
)
def test_the_baselines_have_the_transitions_and_weights_of_the_source(name, transitions):
    row = rows_of("dodge2019_figure3", "full")[f"kitchen_{name}"]
    model = network.build(row, DATA)
    assert own_figures(model) == {"transitions": transitions, "patterns": 24}
    trained_weights = sum(p.numel() for p in model.cell.parameters())
    assert trained_weights == transitions * (2 * dodge2019_text.WIDTH + 1)
    assert not model.embedding.weight.requires_grad


def test_words_come_with_their_vectors_whatever_the_split_and_texts_are_encoded_alike(reviews):
    task = dataclasses.replace(dodge2019_text.CORPORA["kitchen"].task, verify=False)
    first, other = (dataclasses.replace(task, seed=seed).load(reviews) for seed in (0, 1))
    assert list(first.vocabulary) == list(other.vocabulary) and not torch.equal(*(
        torch.from_numpy(loaded.train.rows) for loaded in (first, other)
    ))  # fmt: skip
    with np.load(reviews / dodge2019_text.VECTORS) as file:
        known = file["vectors"].astype(np.float32)[0]
    place = list(first.vocabulary).index("great")
    assert np.allclose(first.vectors[place], known / np.linalg.norm(known)) and not first.vectors[0].any()
    text = next(document.text for document in task.documents(reviews))
    batch, whole = task.encoded([text], first.vocabulary).batch(np.array([0])), first.train
    assert batch.inputs[0].tolist() == whole.values[: whole.offsets[1]].tolist()
    assert first.vocabulary[batch.inputs[0, 0]] == "<s>" and first.vocabulary[batch.inputs[0, -1]] == "</s>"


def test_every_domain_has_its_baselines_and_goals_and_rows_pair_by_seed():
    rows = rows_of("dodge2019_figure3", "cpu")
    assert len(rows) == 4 * (5 + 2 * 4 + 2)
    one, other = (rows[f"dvd_{name}"].seeded(3) for name in ("grams_4", "goal_40"))
    assert one.options == other.options and one.options["cell_options"]["loop_bias"] == 2
    assert [source_of(rows[f"mix_structure_{goal}"], Search).tolerance for goal in (20, 80)] == [4, 10]
    assert one.task == other.task and one.task.seed == 3 and one.task.shares == (0.4, 0.1, 0.5)


def test_a_state_below_the_threshold_takes_those_behind_it_and_its_pattern_along():
    row = rows_of("dodge2019_figure3", "full")["kitchen_structure_20"]
    model = network.build(row, DATA)
    size = 2 * dodge2019_text.WIDTH + 1
    with torch.no_grad():
        model.cell.weight_ih_l0.fill_(1.01 * dodge2019_text.CORPORA["kitchen"].threshold)
        model.cell.bias_loop_l0.fill_(1.01 * dodge2019_text.CORPORA["kitchen"].threshold)
        for state in (1, 4):
            model.cell.weight_ih_l0[[state, 96 + state]] *= 0.98
            model.cell.bias_loop_l0[state] *= 0.98
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    run = Sparsifier(model, row.method, optimizer, steps=10, example=(torch.ones(2, 3, dtype=torch.long),))
    assert run.groups("state").sizes(run.weights).unique().tolist() == [size]
    assert run.settled and run.penalty() > 0
    run.finalize()
    assert LayerAutomata(model.cell).live_lengths() == [1, 0, *[4] * 22]
    assert own_figures(model) == {"transitions": 89, "patterns": 23}


def test_a_row_with_a_search_leaves_its_trials_and_the_seed_that_searched(learned):
    out, metrics = learned
    assert {folder.name for folder in out.iterdir()} >= {
        "kitchen_structure_20-search", "kitchen_structure_20-seed0", "kitchen_structure_20-seed1",
        "kitchen_goal_20-seed1", "kitchen_scratch_20-seed1",
    }  # fmt: skip
    state = json.loads((out / "kitchen_structure_20-search" / STATE).read_text())
    assert [trial["verdict"] for trial in state["tried"]] == ["accepted"]
    assert metrics["structure_20"]["strength"] == state["tried"][0]["strength"]
    searched = json.loads((out / "kitchen_structure_20-seed0" / "result.json").read_text())
    assert searched["metrics"]["transitions"] == state["tried"][0]["size"]


def test_zeros_stay_and_new_weights_are_new(learned):
    out, metrics = learned
    read = {name: trained.read(out / f"kitchen_{name}_20-seed1") for name in ("structure", "goal", "scratch")}
    assert metrics["structure_20"]["transitions"] >= metrics["goal_20"]["transitions"]
    kept = read["structure"].masks.kept["cell.weight_ih_l0"]
    weights = {name: one.network.cell.weight_ih_l0.detach() for name, one in read.items()}
    assert not any(own[~kept].any() for own in weights.values())
    alike = torch.corrcoef(torch.stack([own[kept] for own in weights.values()]))[0]
    assert alike[1] > 0.9 and alike[2].abs() < 0.1
    vectors = [one.network.embedding.weight for one in read.values()]
    assert torch.equal(vectors[0], vectors[1]) and torch.equal(vectors[0], vectors[2])
    assert torch.allclose(vectors[0].norm(dim=1)[2:], torch.ones(len(vectors[0]) - 2), atol=1e-5)


def test_a_search_goes_on_where_it_was_and_the_figures_are_the_same(reviews, tmp_path):
    goal = ("method.threshold=0.11", "search.tolerance=4", "search.goal=8", "search.strength=0.008")
    whole, lines = ran(tmp_path / "whole", reviews, ["kitchen_structure_20"], *goal, "search.trials=12")
    trials = [line for line in lines if line.startswith("trial")]
    assert len(trials) > 1 and trials[-1].endswith("accepted")
    out = tmp_path / "stopped"
    with pytest.raises(UserError, match="in 1 trainings"):
        ran(out, reviews, ["kitchen_structure_20"], *goal, "search.trials=1")
    search = out / "kitchen_structure_20-search"
    state = json.loads((search / STATE).read_text())
    with pytest.raises(UserError, match="another search"):
        ran(out, reviews, ["kitchen_structure_20"], *goal, "search.trials=12", resume=True)
    (search / STATE).write_text(json.dumps(state | {"search": state["search"] | {"trials": 12}}))
    for recipe in search.glob("*/recipe.json"):
        recipe.write_text(recipe.read_text().replace('"trials": 1,', '"trials": 12,'))
    again, _ = ran(out, reviews, ["kitchen_structure_20"], *goal, "search.trials=12", resume=True)
    found, expected = (done.results[0]["metrics"] for done in (again, whole))
    assert found == expected and 4 <= found["transitions"] <= 12


def test_on_a_cpu_a_structure_begins_with_trained_weights_also_for_the_seed_that_searches(reviews, tmp_path):
    done, _ = ran(tmp_path, reviews, ["kitchen_goal_20"], recipe="dodge2019_figure3", size="cpu", seeds=(1,))
    names = ("grams_4", "structure_20", "goal_20")
    assert [result["row"] for result in done.results] == [f"kitchen_{name}" for name in names]
    for seed in (0, 1):
        read = {name: trained.read(tmp_path / f"kitchen_{name}-seed{seed}") for name in names[:2]}
        before, after = (one.network.cell.weight_ih_l0.detach() for one in read.values())
        assert torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1] > 0.5
        assert not torch.equal(before, after)


def test_of_whole_automata_the_wanted_number_is_left(reviews, tmp_path):
    done, _ = ran(tmp_path, reviews, ["kitchen_4_patterns"], recipe="dodge2019_figure3", size="cpu")
    figures = done.results[-1]["metrics"]
    assert done.results[-1]["row"] == "kitchen_4_patterns" and figures["patterns"] == 4 and figures["transitions"] == 16


def test_a_given_strength_takes_the_place_of_the_search():
    rows = override(RECIPES["dodge2019_figure3"].at("cpu"), ["rows.kitchen_structure_20.method.strength=1e-3"])
    row = next(row for row in rows if row.name == "kitchen_structure_20")
    assert source_of(row, Search) is None and row.method.strength == 1e-3
    assert source_of(next(row for row in rows if row.name == "kitchen_structure_40"), Search) is not None


def test_rows_that_cannot_be_searched_or_begun_are_refused():
    structure, goal = (rows_of("dodge2019_scratch", "cpu")[f"kitchen_{name}_20"] for name in ("structure", "goal"))
    with pytest.raises(UserError, match="its method has none"):
        dataclasses.replace(goal, sources=(source_of(structure, Search),))
    with pytest.raises(UserError, match="keeps the zeros of 'kitchen_grams_4' and has a method"):
        dataclasses.replace(structure, sources=(Zeros("kitchen_grams_4"),))
    with pytest.raises(UserError, match="takes its strength from search and best_of"):
        dataclasses.replace(structure, sources=(*structure.sources, BestOf({goal.name: goal.name})))
    with pytest.raises(UserError, match="takes its first weights from start and zeros"):
        dataclasses.replace(goal, sources=(*goal.sources, Zeros(structure.name)))


def test_random_assignments_stay_in_their_ranges_and_the_best_try_is_repeated(reviews, tmp_path):
    rows = rows_of("dodge2019_random_search", "full")
    tries = [rows[f"kitchen_goal_20_try_{number}"] for number in range(1, 21)]
    rates = [row.settings.learning_rate for row in tries]
    assert rates == sorted(rates) and 7e-3 <= rates[0] < 0.02 and 0.15 < rates[-1] <= 0.5
    assert all(1 <= row.settings.clip <= 5 and 1e-7 <= row.settings.weight_decay <= 1e-5 for row in tries)
    assert len({row.options["dropout"] for row in tries}) == 20 and all(row.seeds.only == 0 for row in tries)
    assert rows_of("dodge2019_random_search", "full")["kitchen_goal_20_try_3"] == tries[2]
    structures = [row for name, row in rows_of("dodge2019_random_search", "cpu").items() if "structure" in name]
    assert {source_of(row, Start).row for row in structures} == {"kitchen_grams_4"}

    done, lines = ran(tmp_path / "out", reviews, ["kitchen_goal_20"], recipe="dodge2019_random_search", seeds=(3, 4))
    found = {(result["row"].removeprefix("kitchen_"), result["seed"]): result for result in done.results}
    scored = {number: found[f"goal_20_try_{number}", 0]["metrics"]["valid_accuracy"] for number in (1, 2)}
    best = max(scored, key=scored.get)
    assert {seed for name, seed in found if "try" in name} == {0}
    for seed in (3, 4):
        for name in ("structure_20", "goal_20"):
            again = json.loads((tmp_path / "out" / f"kitchen_{name}-seed{seed}" / "recipe.json").read_text())
            first = json.loads((tmp_path / "out" / f"kitchen_{name}_try_{best}-seed0" / "recipe.json").read_text())
            assert again["model"] == first["model"] and again["method"] == first["method"]
            begun = [
                one["start"]["row"].replace(f"_try_{best}", "") if "start" in one else None for one in (again, first)
            ]
            assert begun[0] == begun[1]
            assert again["settings"] == {**first["settings"], "seed": seed} and "best_of" not in again
    assert f"kitchen_goal_20: as kitchen_goal_20_try_{best}" in lines


def test_a_search_that_gives_up_leaves_the_other_rows(reviews, tmp_path):
    hopeless = ("rows.kitchen_structure_20.search.tolerance=0", "rows.kitchen_structure_20.search.goal=1000",
                "rows.kitchen_structure_20.search.trials=1")  # fmt: skip
    names = ["kitchen_grams_1", "kitchen_goal_20"]
    done, lines = ran(tmp_path / "some", reviews, names, *hopeless, recipe="dodge2019_figure3", results=tmp_path / "r")
    assert [result["row"] for result in done.results] == ["kitchen_grams_1"] and len(done.run_folders) == 1
    assert [path.name for path in (tmp_path / "r").rglob("*.json")] == ["kitchen_grams_1-quick-seed0.json"]
    left_out = [line for line in lines if "was left out" in line]
    assert [line.split()[0] for line in left_out] == ["kitchen_structure_20", "kitchen_goal_20"]
    with pytest.raises(UserError, match="no strength gave a size of 1000"):
        ran(tmp_path / "none", reviews, names[1:], *hopeless, recipe="dodge2019_figure3")
