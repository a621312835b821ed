"""Pictures of what one setting did, and of how masks moved."""

import json

import made_runs
import pytest

from sparsernn.reports import movement, page, sweeps, tables
from sparsernn.reports.reading import read_run, read_runs

EVENTS = [
    {"step": 0, "event": "start", "overlap": 1.0},
    {"step": 101, "event": "rewire", "born": 30, "died": 30, "overlap": 0.8},
    {"step": 201, "event": "rewire", "born": 20, "died": 25, "overlap": 0.7},
]


def moved_run(folder, row="ST-RNN", moving=True):
    masks = made_runs.scattered_masks(16, 8, 0.2)
    run = made_runs.make_run(folder, row, {"accuracy": 0.9}, masks=masks)
    lines = []
    for number, event in enumerate(EVENTS):
        change = 0.05 * number if moving else 0.0
        gates = {"reset": 0.2 + change, "update": 0.2, "candidate": 0.2 - change}
        density = {"rnn.weight_ih_l0": 0.2 + change, "rnn.weight_hh_l0": 0.2}
        lines.append(json.dumps(event | {"density": density, "gate_density": {"rnn.weight_hh_l0": gates}}))
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    return run


def test_births_deaths_and_overlap_are_drawn_for_all_runs_together(tmp_path):
    runs = read_runs([moved_run(tmp_path / "a"), moved_run(tmp_path / "b", "SET")])
    titles = [picture.title for picture in movement.pictures(runs)]
    assert titles == ["Births and deaths", "Overlap with the first mask"]


def test_densities_are_drawn_for_tensors_whose_density_changes(tmp_path):
    picture = movement.densities(read_run(moved_run(tmp_path / "a")))
    assert picture is not None and picture.svg.count('id="axes_') == 2
    assert movement.densities(read_run(moved_run(tmp_path / "b", moving=False))) is None


def test_a_run_without_events_has_no_pictures(tmp_path):
    run = read_run(made_runs.make_run(tmp_path / "a", "dense", {"accuracy": 0.9}))
    assert movement.pictures([run]) == [] and movement.densities(run) is None
    assert "How the masks moved" not in page.render([run])


@pytest.mark.parametrize(
    "event", [{}, {"step": 3}, {"step": "x", "density": 3, "overlap": None}, {"density": {"a": "b"}}]
)
def test_events_of_another_form_are_passed_over(tmp_path, event):
    run = made_runs.make_run(tmp_path / "a", "odd", {"accuracy": 0.9})
    (run / "events.jsonl").write_text(json.dumps({"step": 1, "born": 3}) + "\n" + json.dumps(event) + "\n")
    assert page.render([read_run(run)])


def swept(folder, rates, method="st_rnn", seeds=(0,), **settings):
    runs = []
    for rate in rates:
        for seed in seeds:
            run = made_runs.make_run(folder / f"{rate}-{seed}", f"rate_{rate}", {"accuracy": rate / 2 + 0.01 * seed})
            recipe = {"method": {"name": method, "rate": rate}, "settings": {"seed": seed, "epochs": 3} | settings}
            (run / "recipe.json").write_text(json.dumps(recipe | {"task": {"name": "digits", "seed": seed}}))
            runs.append(run)
    return runs


def test_a_number_with_three_values_in_runs_otherwise_alike_is_a_sweep(tmp_path):
    runs = read_runs(swept(tmp_path, (0.3, 0.5, 0.7), seeds=(0, 1, 2)))
    (picture,) = sweeps.sweeps(runs)
    assert picture.title == "Accuracy over the method's rate" and "sample deviations" in picture.caption
    assert "Sweeps" in page.render(runs) and tables.over_seeds(runs).rows[0][:2] == ("rate_0.3", "3")


def test_two_values_or_runs_that_differ_elsewhere_are_none(tmp_path):
    assert sweeps.sweeps(read_runs(swept(tmp_path / "a", (0.3, 0.5)))) == []
    apart = [
        run
        for number, rate in enumerate((0.3, 0.5, 0.7))
        for run in swept(tmp_path / f"b{number}", (rate,), schedule=str(number))
    ]
    assert sweeps.sweeps(read_runs(apart)) == []


def test_a_sweep_has_a_line_for_each_method(tmp_path):
    runs = swept(tmp_path / "a", (0.3, 0.5, 0.7)) + swept(tmp_path / "b", (0.3, 0.5, 0.7), method="set")
    (picture,) = sweeps.sweeps(read_runs(runs))
    described = [(sweeps.fields(run.recipe), 1.0) for run in read_runs(runs)]
    lines = sweeps._lines(described, "method.rate")
    assert sweeps._labels(list(lines)) == ["st_rnn", "set"] and picture.svg.startswith("<?xml")
