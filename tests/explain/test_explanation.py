"""Explaining runs of a recipe and of one's own file: contributions add up, and matches lie where they say."""

import csv
import json
import random
import shutil

import pytest
from typer.testing import CliRunner

from sparsernn.cli import app
from sparsernn.errors import UserError
from sparsernn.experiments.execution import run as run_experiment
from sparsernn.experiments.experiment import Experiment, Request
from sparsernn.experiments.jobs import Jobs
from sparsernn.explain.explanation import EXPLANATION, explain
from sparsernn.reports import page
from sparsernn.reports.reading import read_runs
from tests.recipes.made_reviews import BAD, GOOD, OTHER, write_reviews

TEXT = "The pan is great, <b>but</b> the knife is awful"


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_reviews(tmp_path_factory.mktemp("data"), 200)


@pytest.fixture(scope="module")
def run(reviews, tmp_path_factory):
    """A trained row of four patterns of two states."""
    out = tmp_path_factory.mktemp("runs") / "out"
    changes = ("task.verify=false", "settings.epochs=20", "model.units=4")
    request = Request("dodge2019_figure3", "quick", ["kitchen_grams_2"], assignments=changes, out=out, data=reviews)
    return run_experiment(Jobs(Experiment.of(request))).run_folders[0]


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    """What `sparsernn train --cell rational` leaves: both directions, the maximum over time, weights pruned."""
    folder, draw = tmp_path_factory.mktemp("own"), random.Random(1)
    with (folder / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(240):
            words = draw.choices(OTHER, k=4) + [draw.choice(BAD if number % 2 else GOOD)]
            draw.shuffle(words)
            writer.writerow([" ".join(words), "bad" if number % 2 else "good"])
    words = ["train", folder / "reviews.csv", "--text", "text", "--label", "label", "--cell", "rational"]
    found = CliRunner().invoke(app, [*map(str, words), "--units", "3", "--epochs", "6", "--out", str(folder / "out")])
    assert found.exit_code == 0, (found.output, found.exception)
    return folder / "out"


def check_document(found):
    """Bias and contributions make the logits; a match's words stand where it says."""
    about = found["document"]
    for label in found["labels"]:
        added = about["bias"][label] + sum(one["contributions"][label] for one in about["patterns"])
        assert added == pytest.approx(about["logits"][label], abs=1e-5)
    assert sum(about["probabilities"].values()) == pytest.approx(1)
    for one in about["patterns"]:
        assert all(about["words"][part["position"]] == part["word"] for part in one["phrase"])
        assert one["phrase"][0]["transition"] and one["phrase"][-1]["transition"]


def test_a_row_of_a_recipe_is_explained(run, reviews):
    found = explain(run, reviews, TEXT, most=3)
    assert found["texts"] == 160 and found["before"] == found["after"] == [2, 2, 2, 2]
    assert found["document"]["words"][:5] == ["<s>", "the", "pan", "is", "great"]
    check_document(found)
    pulls = [pattern["pull"] for pattern in found["patterns"]]
    assert pulls == sorted(pulls, reverse=True) and len(pulls) == 4
    strongest = found["patterns"][0]
    likes, dislikes = ([words[0] for words in strongest["transitions"][0][side]] for side in ("top", "bottom"))
    told = {"positive": (GOOD, BAD), "negative": (BAD, GOOD)}[strongest["toward"]]
    assert set(likes) & set(told[0]) or set(dislikes) & set(told[1])
    for group in strongest["phrases"]:
        scores = [one["score"] for one in group["top"]]
        assert scores == sorted(scores, reverse=True) and len(scores) == 3
        assert all(sum(part["transition"] > 0 for part in one["phrase"]) == group["tokens"] for one in group["top"])
    assert not (run / EXPLANATION).exists()
    assert explain(run, reviews, TEXT, most=3, out=run) == found
    assert json.loads((run / EXPLANATION).read_text()) == found


def test_a_run_of_ones_own_file_is_explained_in_both_directions(own_run):
    found = explain(own_run, None, "the pan is lovely")
    check_document(found)
    assert found["pool"] == "max" and found["source"].endswith("reviews.csv")
    assert {pattern["direction"] for pattern in found["patterns"]} == {"forward", "backward"}
    other = explain(own_run, own_run.parent / "reviews.csv", one_sided=True)
    assert other["texts"] == 240 and other["document"] is None and other["search"] == "one-sided"


def test_the_texts_of_another_file_are_ranked(run, reviews, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_DATA", str(reviews))
    (tmp_path / "texts.txt").write_text("a great pan\n\na dull knife\n")
    found = explain(run, tmp_path / "texts.txt")
    assert found["texts"] == 2 and found["source"] == "texts.txt"
    (tmp_path / "texts.txt").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        explain(run, tmp_path / "texts.txt")


def test_the_command_prints_a_table_and_writes_a_page_that_shows_text_as_text(run, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["explain", str(run), "--data", str(reviews), "--text", TEXT, "--top", "2"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, (shown.output, shown.exception)
    assert "toward" in shown.output and "strongest match" in shown.output and "explanation.html" in shown.output
    as_json = CliRunner().invoke(app, [*words, "--json"])
    listed = [group["top"] for one in json.loads(as_json.output)["patterns"] for group in one["phrases"]]
    assert max(map(len, listed)) == 2
    assert "What the automata look for" in (tmp_path / "explanation.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["explanation.html"]
    assert CliRunner().invoke(app, [*words, "--out", str(run)]).exit_code == 0
    assert (run / "explanation.html").is_file()
    assert "What the automata look for" in page.render(read_runs([run]))


def test_a_folder_of_runs_stands_for_its_only_run_and_names_several(run, reviews, tmp_path):
    shutil.copytree(run, tmp_path / "grams-seed0")
    alone = explain(tmp_path, reviews, TEXT, most=1)
    assert [one["pull"] for one in alone["patterns"]] == [one["pull"] for one in explain(run, reviews)["patterns"]]
    shutil.copytree(run, tmp_path / "more-seed0")
    with pytest.raises(UserError, match=r"holds 2 runs.*grams-seed0, more-seed0"):
        explain(tmp_path, reviews)


def test_a_network_without_automata_is_refused(reviews, tmp_path):
    changes = ("task.verify=false", "settings.epochs=1", "model.units=4", "task.vectors=", "model.inputs=4")
    rows = ["kitchen_lstm"]
    request = Request("dodge2019_comparison", "quick", rows, assignments=changes, out=tmp_path / "out", data=reviews)
    done = run_experiment(Jobs(Experiment.of(request)))
    with pytest.raises(UserError, match="LSTM, which has no automata"):
        explain(done.run_folders[0], reviews)
    with pytest.raises(UserError, match="at least one phrase"):
        explain(done.run_folders[0], reviews, most=0)
