"""Pictures of gradients by lag and of log alpha."""

import json
import re

import made_runs
import pytest

from sparsernn.reports import lags, log_alpha, movement, page
from sparsernn.reports.reading import read_run

LAYER = {
    "all": [4.0, 2.0, 0.0],
    "kinds": {"output": [2.0, 1.0, 0.0], "none": [1.0, 0.5, 0.25]},
    "units": {"all": 4, "output": 1, "none": 3},
}
HISTOGRAM = {"edges": [-8.0, 0.0, 3.0, 8.0], "counts": [1, 2, 5]}


def made(folder, name, content):
    run = made_runs.make_run(folder, "W+G+N", {"accuracy": 0.9})
    text = content if isinstance(content, str) else json.dumps(content)
    (run / name).write_text(text)
    return read_run(run)


def test_lines_are_root_mean_squares_over_units(tmp_path):
    run = made(tmp_path / "a", "lags.json", {"layers": {"cells.0": LAYER, "cells.1": LAYER}})
    ((_, lines), _) = lags._measured(run.lags["layers"])
    assert lines == {"all": [2.0, 1.0, 0.0], "none": pytest.approx([3**-0.5, 0.5 * 3**-0.5, 0.25 * 3**-0.5])} | {
        "output": [2.0, 1.0, 0.0]
    }
    assert lags.picture(run).title == "Gradient by lag" and "data:image" in page.render([run])


@pytest.mark.parametrize("content", [{}, {"layers": 3}, {"layers": {"a": 3}}, {"layers": {"a": {"all": ["x"]}}}])
def test_a_run_that_did_not_measure_them_has_no_picture(tmp_path, content):
    assert lags.picture(made(tmp_path / "a", "lags.json", content)) is None


def events(*lines):
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_histograms_are_drawn_a_panel_each_with_the_threshold(tmp_path):
    last = {"kind": "finalize", "log_alpha": {"<b>": HISTOGRAM, "cells.0 gates": HISTOGRAM}, "threshold": 3.0}
    density = [{"step": step, "density": {"w": 1 / step}, "gate_density": {}} for step in (1, 2)]
    run = made(tmp_path / "a", "events.jsonl", events(*density, last))
    picture = log_alpha.picture(run)
    assert "above 3 (dashed)" in picture.caption and len(re.findall(r'id="axes_\d+"', picture.svg)) == 2
    assert "Log alpha after training" in page.render([run])
    # The densities before it are those of the last event that has some.
    assert movement.densities(run) is not None


@pytest.mark.parametrize(
    "histogram", [3, {"edges": [1], "counts": []}, {"edges": [1, 0], "counts": [1]}, {"edges": [0, 1], "counts": ["a"]}]
)
def test_what_is_no_histogram_is_left_out(tmp_path, histogram):
    run = made(tmp_path / "a", "events.jsonl", events({"kind": "finalize", "log_alpha": {"w": histogram}}))
    assert log_alpha.picture(run) is None


def test_many_tensors_are_counted_not_drawn(tmp_path):
    names = {f"w{number}": HISTOGRAM for number in range(log_alpha.MOST_PANELS + 2)}
    run = made(tmp_path / "a", "events.jsonl", events({"kind": "finalize", "log_alpha": names}))
    assert log_alpha.picture(run).caption.endswith("2 more are left out.")
