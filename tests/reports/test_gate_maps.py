"""Maps of gates in the page."""

import json
import re

import made_runs
import numpy as np
import pytest

from sparsernn.reports import gate_maps, page
from sparsernn.reports.reading import read_run, read_runs

GATES = ["input", "forget", "candidate", "output"]


def structure(units, alive, seed=0, label="cells.0.l0"):
    """What a run leaves, with one unit in four of each kind."""
    generator = np.random.default_rng(seed)
    values = generator.uniform(-0.9, 0.9, (4, units))
    varies = np.array([[1, 1, 1, 1], [0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]], dtype=bool)[np.arange(units) % 4].T
    constant = {}
    for gate, row, moving in zip(GATES, values, varies, strict=True):
        constant[gate] = [None if moves else float(value) for value, moves in zip(row, moving, strict=True)]
    lives = [number < alive for number in range(units)]
    return {"label": label, "cell": "LSTM", "gates": GATES, "units": units, "alive": lives, "constant": constant}


def made(folder, row, layers, words=()):
    run = made_runs.make_run(folder, row, {"accuracy": 0.9})
    (run / "structure.json").write_text(json.dumps({"layers": layers, "words": list(words)}))
    return run


@pytest.mark.parametrize("units", [2, 8, 200])
def test_a_picture_a_layer_counts_units_and_gates(tmp_path, units):
    alive = max(1, units // 2)
    layers = [structure(units, alive), structure(units, units, label="<b>")]
    run = read_run(made(tmp_path / "a", "W+G+N", layers))
    first, second = gate_maps.pictures(run)
    varying = sum([4, 1, 2, 0][unit % 4] for unit in range(alive))
    assert first.caption.startswith(f"{alive} of {units} units live; {varying} of their {4 * alive} gates vary (input ")
    assert second.title == "<b>" and first.svg == gate_maps.pictures(run)[0].svg
    assert "<image" not in first.svg
    # Units that vary in stretches share a shape, so that a map of many units stays small.
    assert len(re.findall(r"<path", first.svg)) < 300 + 4 * units


def test_kinds_are_counted_beside_the_map(tmp_path):
    run = read_run(made(tmp_path / "a", "W+G+N", [structure(8, 6)]))
    assert gate_maps.kinds(run).rows == (
        ("cells.0.l0", "all", "2", "33.3 %"),
        ("cells.0.l0", "forget, output", "1", "16.7 %"),
        ("cells.0.l0", "output", "2", "33.3 %"),
        ("cells.0.l0", "none", "1", "16.7 %"),
        ("cells.0.l0", "removed", "2", "–"),
    )


def test_the_page_shows_maps_words_and_how_alike_runs_are(tmp_path):
    words = {"label": "embedding.weight", "count": 9, "alive": 2}
    words["largest"] = [{"number": 1, "norm": 1.5, "word": "<i>"}, {"number": 2, "norm": 1.25}]
    whole = structure(8, 8) | {"constant": dict.fromkeys(GATES, [None] * 8)}
    folders = [
        made(tmp_path / "a", "first", [structure(8, 6)], [words]),
        made(tmp_path / "b", "second", [structure(8, 7, seed=1)]),
        made(tmp_path / "c", "other layers", [structure(8, 6, label="cells.1.l0")]),
        made(tmp_path / "d", "dense", [whole]),
    ]
    runs = read_runs(folders)
    assert [row[:2] for row in gate_maps.agreements(runs).rows] == [("first", "second")]
    text = page.render(runs)
    assert "Do the networks keep the same gates?" in text and text.count("Gates and units that live") == 3
    assert "2 of 9 words of embedding.weight are left; the longest vectors: &lt;i&gt; (1.50)." in text


@pytest.mark.parametrize("content", [{}, {"layers": 3}, {"layers": [3]}, {"layers": [{"gates": ["a"]}], "words": [3]}])
def test_a_folder_without_maps_is_shown_as_before(tmp_path, content):
    run = made_runs.make_run(tmp_path / "a", "old", {"accuracy": 0.9})
    before = page.render([read_run(run)])
    (run / "structure.json").write_text(json.dumps(content))
    assert page.render([read_run(run)]) == before and "that live" not in before
