"""What a result file says of the way to its figures."""

import gzip
import hashlib
import json
import subprocess
from types import SimpleNamespace

import pytest

from sparsernn import folders
from sparsernn.data.files import checksums
from sparsernn.data.mr import MovieReviews
from sparsernn.data.sanders_twitter import SandersTwitter
from sparsernn.data.sequential_digits import SequentialDigits
from sparsernn.errors import UserError
from sparsernn.experiments import provenance, results, scoring
from sparsernn.experiments.baseline_row import BaselineRow
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.rows import Row
from sparsernn.experiments.seeds import Seeds


def test_the_commit_is_that_of_the_checkout():
    answered = subprocess.run(["git", "rev-parse", "HEAD"], cwd=provenance.__file__.rpartition("/")[0], text=True,
                              capture_output=True)  # fmt: skip
    assert (provenance.commit() or "").rstrip("+") == answered.stdout.strip()


def test_a_checkout_of_something_else_has_no_say(tmp_path, monkeypatch):
    package = tmp_path / "venv" / "sparsernn"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(provenance.version, "__file__", str(package / "__init__.py"))
    assert provenance.commit.__wrapped__() is None


def test_settings_files_and_precision_are_stated(tmp_path):
    row = Row("a", SequentialDigits(), measure=Measure(test_in_sight="yes: the rate"))
    stated = provenance.provenance(row, tmp_path)
    assert stated["settings"] == row.to_json() and stated["files"] == {} and stated["precision"] == "float32"
    assert stated["test_in_sight"] == "yes: the rate"
    assert provenance.provenance(BaselineRow("b", SequentialDigits(), "features"), None)["test_in_sight"] == "no"


def test_no_folder_of_this_machine_is_stated():
    settings = {"task": {"path": "/home/me/loads.csv", "series": ["/a/b", "heat"]}, "epochs": 2}
    assert provenance.without_folders(settings) == {"task": {"path": "loads.csv", "series": ["b", "heat"]}, "epochs": 2}


def test_the_sums_of_data_and_vectors_are_of_their_content(tmp_path):
    contents = {"mr/rt-polarity.pos.gz": b"good\n", "mr/rt-polarity.neg.gz": b"bad\n", "vectors.txt": b"good 1\n"}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    sums = checksums(MovieReviews(vectors="vectors.txt"), tmp_path)
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def test_splits_say_what_they_are():
    loaded = SequentialDigits().load()
    row = Row("a", SequentialDigits())
    assert provenance.splits(row, loaded) == {
        "train": 1197,
        "valid": 200,
        "test": 400,
        "drawn": False,
        "scored": "test",
    }


def test_bits_are_called_by_what_they_are_of():
    figures = {"valid_bits_per_token": 2.0, "loss": 1.0}
    words, characters = (
        SimpleNamespace(objective="language_model", metric=metric) for metric in ("perplexity", "bits_per_character")
    )
    assert scoring.named(figures, words) == figures
    assert scoring.named(figures, characters) == {"valid_bits_per_character": 2.0, "loss": 1.0}


def test_files_of_earlier_versions_are_read_and_written_as_they_are(tmp_path):
    texts = dict.fromkeys(("recipe", "row", "size", "command"), "")
    old = texts | dict.fromkeys(("metrics", "published", "environment"), {}) | {"seed": 0, "seconds": 1.0}
    results.write(tmp_path / "old.json", old)
    assert results.read(tmp_path / "old.json") == old
    new = old | {"splits": {}, "provenance": {}}
    results.write(tmp_path / "new.json", new)
    assert results.read(tmp_path / "new.json") == new
    (tmp_path / "new.json").write_text(json.dumps(new | {"provenance": 3}))
    with pytest.raises(UserError, match=r"new.json.provenance cannot be 3. Expected an object"):
        results.read(tmp_path / "new.json")


def test_a_split_drawn_when_the_settings_were_fixed_was_not_in_sight():
    def said(seed, resplit):
        row = Row("a", SandersTwitter(), measure=Measure(test_in_sight="yes: the rate"), seeds=Seeds(resplit=resplit))
        return provenance.in_sight(row.seeded(seed))

    assert [said(seed, True).partition(":")[0] for seed in (0, 99, 100, 2_000)] == ["yes", "yes", "no", "no"]
    assert said(100, False) == "yes: the rate"


def test_every_row_that_was_chosen_with_test_figures_in_sight_says_what_was_chosen():
    for recipe in folders.names("recipes"):
        for row in folders.find("recipes", recipe).at("cpu"):
            said = getattr(getattr(row, "measure", None), "test_in_sight", "no")
            assert said == "no" or said.startswith("yes: "), (recipe, row.name)
