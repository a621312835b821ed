"""What is said of another file: empty predictions, ids, times, scores, and where they may be written."""

import csv
import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

from sparsernn.cli import app
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.data.spelling import Spelling
from sparsernn.data.table_file import TableFile
from sparsernn.errors import UserError
from sparsernn.options import FileOptions
from sparsernn.own_data import answers, prediction, training

NO_VALUES = np.zeros(0)


def classes(**more):
    ends = np.arange(4)
    return Encoded("text", NO_VALUES, ends[:-1], ends[1:], **more)


CLASSES = Preparation("text", {"text": "t", "label": "l"}, ("no", "yes"), tokenizer="{}", length=9)
SCORES = [np.log([0.25, 0.75]), np.log([0.9, 0.1]), np.log([0.5, 0.5])]


def test_labels_with_their_probabilities_and_ids():
    made = answers.predictions(CLASSES, classes(names=["a", "b", "c"]), SCORES)
    assert [one["id"] for one in made] == ["a", "b", "c"] and [one["label"] for one in made] == ["yes", "no", "no"]
    assert made[0]["probability"] == pytest.approx(0.75)
    assert made[0]["probabilities"] == pytest.approx({"no": 0.25, "yes": 0.75})


def test_a_row_that_cannot_be_read_has_an_empty_prediction_and_is_counted(tmp_path):
    encoded = classes(faults={1: "line 3 is none"}, targets=np.array([1, 0, 1]))
    made = answers.predictions(CLASSES, encoded, SCORES)
    assert made[1] == {"label": None, "probability": None, "probabilities": {"no": None, "yes": None}}
    assert answers.scores(CLASSES, encoded, made) == {"rows": 2, "accuracy": 0.5}
    assert "1 row without a prediction: line 3 is none" in answers.remarks(encoded, {})
    answers.write_csv(made, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and set(rows[1].values()) == {""} and rows[2]["label"] == "no"


def test_only_labels_that_are_known_are_scored():
    encoded = classes(targets=np.array([1, -100, 0]))
    assert answers.scores(CLASSES, encoded, answers.predictions(CLASSES, encoded, SCORES)) == {
        "rows": 2,
        "accuracy": 1.0,
    }
    nothing = classes(targets=np.array([-100, -100, -100]))
    assert answers.scores(CLASSES, nothing, answers.predictions(CLASSES, nothing, SCORES)) == {}


def test_numbers_are_in_the_unit_of_the_file():
    preparation = Preparation("text", {"text": "t"}, tokenizer="{}", label_scale=(10.0, 2.0))
    encoded = classes(targets=np.array([12.0, 10.0, np.nan]))
    made = answers.predictions(preparation, encoded, [np.array([1.0]), np.array([-1.0]), np.array([0.5])])
    assert made == [{"value": 12.0}, {"value": 8.0}, {"value": 11.0}]
    assert answers.scores(preparation, encoded, made) == pytest.approx({"rows": 2, "rmse": np.sqrt(2), "mae": 1})


@pytest.mark.parametrize("targets", [1, 2])
def test_forecasts_have_their_times(targets, tmp_path):
    columns = {"series": ["x", "y"], "time": "t"}
    preparation = Preparation(
        "forecast", columns, means=(10.0, 0.0), deviations=(2.0, 1.0), window=3, horizon=2, targets=targets
    )
    ends = np.arange(2)
    encoded = Encoded("forecast", NO_VALUES, ends[:1], ends[1:], names=[""], times=[["May 2020", "Jun 2020"]], window=3)
    (made,) = answers.predictions(preparation, encoded, [np.array([1.0, 2.0, 5.0, 6.0][: 2 * targets])])
    assert made["times"] == ["May 2020", "Jun 2020"]
    assert made["forecast"] == ([12.0, 14.0] if targets == 1 else {"x": [12.0, 14.0], "y": [5.0, 6.0]})
    answers.write_csv([made], tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["time t+2"] == "Jun 2020" and float(row["t+2" if targets == 1 else "x t+2"]) == 14


def test_steps_are_answered_in_the_order_of_the_rows():
    encoded = Encoded(
        "series", NO_VALUES, np.array([0, 2]), np.array([2, 4]), rows=np.array([1, 3, 0, 2]), names=list("abab")
    )
    preparation = Preparation("series", {"series": ["x"]}, ("no", "yes"), (0.0,), (1.0,), per_step=True)
    likely = [np.array([[0.0, 9], [9, 0]]), np.array([[9.0, 0], [0, 9]])]
    made = answers.predictions(preparation, encoded, likely)
    assert [one["label"] for one in made] == ["no", "yes", "yes", "no"] and [one["id"] for one in made] == list("abab")


def test_predictions_are_never_written_over_what_is_read(tmp_path, monkeypatch):
    read, other = tmp_path / "in.csv", tmp_path / "other.csv"
    read.write_text("text\na\n")
    (tmp_path / "link.csv").symlink_to(read)
    os.link(read, tmp_path / "hard.csv")
    monkeypatch.chdir(tmp_path)
    for out in ("in.csv", "./in.csv", "link.csv", "hard.csv", str(read)):
        with pytest.raises(UserError, match="is a file that is read"):
            answers.check_apart(type(read)(out), read, tmp_path / "run")
    answers.check_apart(other, read, tmp_path / "run")
    with pytest.raises(UserError, match="is a file that is read"):
        answers.check_apart(read, tmp_path / "link.csv")


def rows_of_texts(folder, numbers=False):
    words = ["good", "bad"]
    rows = [f"a {words[n % 2]} day {n % 7},{n % 2 * 10 + n % 7 / 10 if numbers else words[n % 2]}" for n in range(120)]
    (folder / "t.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return str(folder / "t.csv")


@pytest.mark.parametrize("numbers", [False, True], ids=["classes", "numbers"])
def test_the_command_answers_texts_and_scores_labels(numbers, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    path = rows_of_texts(tmp_path, numbers)
    task = TableFile(path=path, text="text", label="label", labels="numbers" if numbers else "auto")
    training.train(training.Training(task, units=4, epochs=1, out=tmp_path / "out", progress=False))
    told = CliRunner().invoke(
        app, ["predict", str(tmp_path / "out"), "--text", "a good day", "--text", "bad", "--json"]
    )
    assert told.exit_code == 0, told.output
    made = json.loads(told.stdout)["predictions"]
    assert len(made) == 2 and set(made[0]) == ({"value"} if numbers else {"label", "probability", "probabilities"})
    scores = prediction.predict(tmp_path / "out", tmp_path / "t.csv").get("scores", {})
    assert scores["rows"] == 120 and set(scores) == ({"rows", "rmse", "mae"} if numbers else {"rows", "accuracy"})
    before = (tmp_path / "t.csv").read_bytes()
    refused = CliRunner().invoke(app, ["predict", str(tmp_path / "out"), path, "--out", path])
    assert refused.exit_code == 2 and (tmp_path / "t.csv").read_bytes() == before


def test_options_of_a_file_reach_the_task():
    said = FileOptions(
        text="t", label="l", regression=True, no_header=True, series="", foreseen="", groups="p", decimal=","
    )
    task = TableFile(path="t.csv", **said.keywords)
    assert (task.labels, task.header, task.groups, task.spelling.decimal) == ("numbers", False, "p", ",")
    assert [FileOptions(regression=one).keywords["labels"] for one in (None, False)] == ["auto", "classes"]
    help_text = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output
    for name in ("--regression", "--date-format", "--decimal", "--missing", "--encoding", "--delimiter", "--no-header"):
        assert name in help_text
    assert "--group" in help_text and "--known" in help_text and "--resume" in help_text


def test_a_preparation_of_an_earlier_release_is_read():
    later = {"label_scale", "targets", "foreseen", "levels", "missing", "spelling", "remarks"}
    before = {name: value for name, value in CLASSES.to_json().items() if name not in later}
    assert Preparation.from_json(before) == CLASSES and CLASSES.spelling == Spelling()
