import itertools
from xml.etree import ElementTree

import made_runs
import numpy as np
import pytest
from matplotlib.figure import Figure

from sparsernn.reports import axes as scales
from sparsernn.reports import figures
from sparsernn.reports.reading import read_run, read_runs


def test_every_curve_that_was_recorded_is_drawn(tmp_path):
    pictures = figures.training_curves(read_runs(made_runs.make_recipe(tmp_path)))
    assert [picture.title for picture in pictures] == ["Loss", "Accuracy", "Sparsity"]
    for picture in pictures:
        ElementTree.fromstring(picture.svg)


def test_the_same_runs_give_the_same_bytes(tmp_path):
    runs = read_runs(made_runs.make_recipe(tmp_path))
    for draw in (figures.training_curves, figures.trade_off):
        assert [picture.svg for picture in draw(runs)] == [picture.svg for picture in draw(runs)]


def test_no_curve_and_no_point_give_no_figure(tmp_path):
    folder = made_runs.make_run(tmp_path / "a", "dense", {"accuracy": 0.9})
    (folder / "metrics.jsonl").unlink()
    assert figures.training_curves([read_run(folder)]) == []
    assert figures.trade_off([read_run(folder)]) == []


def test_the_trade_off_names_every_run_without_names_on_names():
    with figures.style():
        figure = Figure(figsize=(5.4, 3.9), layout="constrained")
        axes = figure.add_subplot()
        points = [
            figures.Point((10_000 * 1.1**k,), (0.9 + 0.002 * (k % 4),), f"network {k} of some", k) for k in range(12)
        ]
        for point in points:
            axes.plot(*point.place, "o")
        scales.show_sizes(axes, [point.place[0] for point in points], in_bytes=False)
        axes.set_ylim(0.88, 0.92)
        figures._label_points(figure, axes, points)
        boxes = [text.get_window_extent() for text in axes.texts]
        frame = axes.get_window_extent()
    assert [text.get_text() for text in axes.texts] == [point.name for point in points]
    for one, other in itertools.combinations(boxes, 2):
        assert figures._overlap(one, other) < 1
    for box in boxes:
        assert figures._overlap(box, frame) == pytest.approx(box.width * box.height, rel=0.01)


def test_seeds_are_one_point_of_the_trade_off_with_bars_on_both_axes(tmp_path):
    figures_of = {0: (0.9, 40), 1: (0.92, 44), 2: (0.94, 48)}
    folders = [
        made_runs.make_run(tmp_path / f"a{seed}", "learned", {"accuracy": y, "transitions": x}, seed=seed)
        for seed, (y, x) in figures_of.items()
    ]
    folders.append(made_runs.make_run(tmp_path / "b", "given", {"accuracy": 0.9, "transitions": 96}))
    (picture,) = figures.trade_off(read_runs(folders))
    assert picture.svg.count("<!-- learned -->") == 1 and "sample deviations" in picture.caption
    point = figures.Point((40, 44, 48), (0.9, 0.92, 0.94), "learned", 0)
    assert point.place == pytest.approx((44, 0.92)) and point.spread == pytest.approx((4, 0.02))
    assert figures.Point((96,), (0.9,), "given", 1).spread == (0, 0)


@pytest.mark.parametrize("values", [(1_000, 1_000), (999, 1_200), (1e3, 1e7), (3, 8e9)])
def test_the_horizontal_axis_has_few_round_numbers(values):
    axes = Figure().add_subplot()
    scales.show_sizes(axes, values, in_bytes=False)
    assert 1 <= len(axes.get_xticks()) <= 8
    low, high = axes.get_xlim()
    assert low < min(values) and high > max(values)


def test_a_large_mask_is_shown_by_the_exact_share_of_each_square():
    kept = np.random.default_rng(0).random((650, 300)) < np.linspace(0, 1, 300)
    shares, (rows, columns) = figures._binned(kept)
    assert (rows, columns) == (6, 3) and shares.shape == (109, 100)
    assert shares[2, 7] == pytest.approx(kept[12:18, 21:24].mean())
    assert shares[108, 0] == pytest.approx(kept[648:650, 0:3].mean())


def test_a_small_mask_is_shown_weight_by_weight():
    kept = np.eye(20, dtype=bool)
    shares, step = figures._binned(kept)
    assert step == (1, 1)
    np.testing.assert_array_equal(shares, kept)


def test_one_picture_a_layer_with_a_panel_for_each_gate(tmp_path):
    gates = ("input", "forget", "candidate", "output")
    masks = made_runs.scattered_masks(200, 40, 0.1, gates=4)
    masks["head.weight"] = np.ones((3, 200), dtype=bool)
    folder = made_runs.make_run(tmp_path / "a", "rigl", {}, masks=masks, gates=gates)
    rnn, head = figures.mask_pictures(read_run(folder))
    assert rnn.title == "rnn l0" and "2 × 2 weights" in rnn.caption
    assert rnn.svg.count("<image ") >= 8
    assert head.title == "head"


def test_names_are_never_read_as_formulas_or_markup(tmp_path):
    names = ["$\\frac{$", "<script>alert(1)</script>", "--><b>", "中文"]
    folders = [
        made_runs.make_run(tmp_path / str(k), name, {"accuracy": 0.9 + k / 100, "bytes": 1000 + k})
        for k, name in enumerate(names)
    ]
    runs = read_runs(folders)
    for picture in (*figures.training_curves(runs), *figures.trade_off(runs)):
        ElementTree.fromstring(picture.svg)
        assert "<script" not in picture.svg and "<b>" not in picture.svg
