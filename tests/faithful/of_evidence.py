"""Faults of evidence: intervals, what figures are called, what result files say, which rivals there are."""

from __future__ import annotations

import dataclasses
import importlib
import math
import statistics
from collections.abc import Sequence

import numpy as np

from sparsernn import folders
from sparsernn.data.splits import TensorSplit
from sparsernn.reports import comparison
from tests.faithful.faults import Outcome, equal, fault, first_of
from tests.faithful.of_recipes import rows

STUDENT = {2: 4.3027, 3: 3.1824, 4: 2.7764}
"""The 97.5th percentile of Student's t by degrees of freedom."""


def group(row: str, accuracies: Sequence[float]) -> tuple[str, list[dict]]:
    """Results of splits that were drawn from the same rows, half as many to test as to train."""
    splits = {"train": 100, "valid": 10, "test": 50, "drawn": True, "scored": "test"}
    named = {"recipe": "quickstart", "row": row, "size": "cpu", "published": {}, "environment": {}}
    results = [
        {**named, "seed": seed, "metrics": {"accuracy": value}, "splits": splits, "command": "", "seconds": 1}
        for seed, value in enumerate(accuracies)
    ]
    return row, results


def against(differences: Sequence[float], prefix: str = "") -> list[tuple[str, list[dict]]]:
    """A dense row and a sparse one that is better by so many points."""
    dense = [0.8] * len(differences)
    sparse = [0.8 + points / 100 for points in differences]
    return [group(f"{prefix}dense", dense), group(f"{prefix}sparse", sparse)]


def interval_of(table, title: str = "95 % interval") -> str:
    return table.rows[-1][table.columns.index(title)]


def written(middle: float, half: float) -> str:
    """An interval in points as the tables write it."""
    ends = (f"{middle + sign * half:+.2f} %".replace("-", "−") for sign in (-1, 1))
    return " to ".join(ends)


@fault
def interval_over_drawn_splits() -> Outcome:
    """Nadeau & Bengio: the variance of a mean over splits of the same rows is s² (1/n + test/train)."""
    points = [1.0, 2.0, 0.5, 3.0, 1.5]
    half = STUDENT[4] * statistics.stdev(points) * math.sqrt(1 / 5 + 50 / 100)
    return equal(written(statistics.fmean(points), half), interval_of(comparison.paired(against(points))))


@fault
def interval_over_sets() -> Outcome:
    """A claim over four data sets has four observations, however many splits each has."""
    sets = {"a_": [1.0, 1.4, 0.8], "b_": [-0.5, 0.1, -0.3], "c_": [2.0, 2.4, 1.6], "d_": [0.2, 0.4, 0.6]}
    groups = [row for prefix, points in sets.items() for row in against(points, prefix)]
    means = [statistics.fmean(points) for points in sets.values()]
    half = STUDENT[3] * statistics.stdev(means) / 2
    return equal(written(statistics.fmean(means), half), interval_of(comparison.pooled(groups, "dense")))


@fault
def interval_of_two_values() -> Outcome:
    """Two differences say nothing of how much others would differ."""
    return equal("–", interval_of(comparison.paired(against([1.0, 2.0]))))


@fault
def probabilities_of_many_comparisons() -> Outcome:
    """Holm: the smallest of k probabilities is multiplied by k, the next by k - 1, and none is below one before it."""
    first, second = [1.0, 1.1, 0.9, 1.0], [0.6, -0.2, 0.9, 0.3]
    dense, sparse = against(first)
    groups = [dense, sparse, group("other", [0.8 + points / 100 for points in second])]
    table = comparison.paired(groups)
    title = next((name for name in table.columns if name.startswith("p")), "")
    if not title:
        return Outcome("a p for each comparison", "none", False)
    from scipy.stats import t as student

    probabilities = []
    for points in (first, second):
        error = statistics.stdev(points) * math.sqrt(1 / 4 + 50 / 100)
        probabilities.append(2 * student.sf(abs(statistics.fmean(points)) / error, 3))
    low, high = sorted(probabilities)
    expected = sorted([f"{min(1, 2 * low):.3f}", f"{max(min(1, 2 * low), high):.3f}"])
    return equal(expected, sorted(row[table.columns.index(title)] for row in table.rows))


HEADLINES = {
    "dodge2019_figure3": ("kitchen_goal_20", "mix_goal_20", "books_goal_20", "dvd_goal_20"),
    "liu2021_table4": ("imdb_st_rnn", "sanders_st_rnn"),
    "liu2021_table6": ("imdb_st_rnn",),
}


@fault
def settings_chosen_in_sight_are_said() -> Outcome:
    """Rows at cpu whose settings were chosen with their test figures in sight say so, and result files with them."""
    silent = []
    for recipe, names in HEADLINES.items():
        for name in names:
            answer = getattr(rows(recipe, "cpu")[name].measure, "test_in_sight", "")
            silent += [] if answer.startswith("yes") else [name]
    return Outcome("no headline is silent", f"{len(silent)} of 7 are", not silent)


@fault
def bits_of_words_are_not_of_characters() -> Outcome:
    """A language model that reads words has bits per token."""
    objective = importlib.import_module("sparsernn.training.objectives").OBJECTIVES["language_model"]
    sums = {"loss": (math.log(2), 1.0), "correct": (0.0, 1.0), "accuracy": (0.0, 1.0)}
    names = sorted(name for name in objective.figures(sums) if name.startswith("bits"))
    return equal(["bits_per_token"], names)


@fault
def figures_of_validation_digits_are_called_so() -> Outcome:
    """Zhang & Stadie score the digits that they validate on: what is loaded, or the result, says which part it is."""
    task = folders.find("data", "sequential_mnist")(division="one_shot")
    fields = {field.name for field in dataclasses.fields(first_of("sparsernn.data.task:Loaded"))}
    if "scored" not in fields:
        return Outcome("scored on: valid", "not said, so test", False)
    module = importlib.import_module(type(task).__module__)
    images = np.zeros((70, 28, 28), np.uint8)
    parts = {"images": iter([images[:60], images[60:]]), "labels": iter([np.zeros(60, int), np.zeros(10, int)])}
    before = module.find_file, module._read_idx
    try:
        module.find_file = lambda task, name, folder: name
        module._read_idx = lambda name: next(parts["images" if "images" in name else "labels"])
        loaded = task.load()
    finally:
        module.find_file, module._read_idx = before
    return equal("valid", loaded.scored)


@fault
def result_files_say_where_figures_come_from() -> Outcome:
    """Commit, settings, checksums of the data, number type, the part that was scored, and what was in sight."""
    results = first_of("sparsernn.experiments.results:write", "sparsernn.recipes.results:write")
    module = importlib.import_module(results.__module__)
    fields = set(getattr(module, "FIELDS", ())) or set(module.Content.__annotations__)
    missing = sorted({"splits", "provenance"} - fields)
    if missing:
        return Outcome("splits and provenance", f"no {' and no '.join(missing)}", False)
    provenance = first_of("sparsernn.experiments.provenance:provenance")
    row = folders.find("recipes", "quickstart").at("quick")[0]
    needed = {"commit", "settings", "files", "precision", "test_in_sight"}
    return equal(sorted(needed), sorted(needed & set(provenance(row, None))))


@fault
def users_file_has_a_small_dense_rival() -> Outcome:
    """Dense, small dense and sparse networks of a user's file have as many epochs and the same help."""
    table = users_rows()
    dense, sparse, small = (table.get(name) for name in ("dense", "sparse", "small_dense"))
    epochs = sparse.settings.epochs + (dense.settings.epochs if begins_with(sparse, "dense") else 0)
    measured = epochs / dense.settings.epochs, small is not None, is_taught(sparse) == is_taught(dense)
    return equal((1.0, True, True), measured)


def begins_with(row, name: str) -> bool:
    return getattr(row, "start", None) == name or any(getattr(one, "row", "") == name for one in sources(row))


def sources(row) -> tuple:
    return tuple(getattr(row, "sources", ()))


def is_taught(row) -> bool:
    return getattr(row, "teacher", None) is not None or any(hasattr(one, "temperature") for one in sources(row))


def users_rows() -> dict:
    """The networks of a file of series, by name."""
    import torch

    from sparsernn.data.table_file import TableFile
    from sparsernn.methods.magnitude import Magnitude

    split = TensorSplit(torch.randn(400, 6, 1), torch.arange(400) % 2)
    task = TableFile(path="t.csv", id="id", time="time", series=("x",), label="label")
    loaded_class = first_of("sparsernn.data.task:Loaded")
    figures = {"objective": "classification", "inputs": 1, "tokens": False, "outputs": 2, "metric": "accuracy"}
    loaded = loaded_class(split, split, split, labels=("a", "b"), **figures)
    try:
        networks = importlib.import_module("sparsernn.recipes.own_networks")
        return {row.name: row for row in networks.rows(task, loaded, Magnitude(0.9), cell="gru")}
    except ImportError:
        kind = importlib.import_module("sparsernn.own_data.kinds.series").KIND
        file = first_of("sparsernn.own_data.kinds.kind:File")
        wishes = first_of("sparsernn.own_data.kinds.kind:Wishes")("gru", Magnitude(0.9))
        return {row.name: row for row in kind.rows(file_of(file, task, loaded), wishes)}


def file_of(file: type, task, loaded):
    """A user's file with these parts; whatever else it has is left empty."""
    parts = {"task": task, "loaded": loaded, "sampled": loaded, "parts": {}, "most": 0}
    return file(**{name: parts.get(name) for name in file._fields})
