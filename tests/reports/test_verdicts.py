"""The verdict on the page: its sentences first, every network in one colour, pictures that say what the figures say."""

import json

import made_runs

from sparsernn.reports import page, verdicts
from sparsernn.reports.figures import COLOURS

NAMES = ("majority", "baseline", "dense", "small_dense", "sparse")


def verdict(metric: str, evidence: dict, figures=(50.0, 76.3, 77.1, 75.9, 77.4)) -> dict:
    return {
        "metric": metric,
        "network": figures[-1],
        "baseline": figures[1],
        "majority": figures[0],
        "test_rows": 1066,
        "says": "Use the network. On 1,066 test rows <b>it</b> has 77.4 % right.",
        "sentences": ["Use the network.", "On 1,066 test rows <b>it</b> has 77.4 % right."],
        "figures": dict(zip(NAMES, figures, strict=True)),
        "bytes": dict(zip(NAMES, (0, 2_400_000, 1_100_000, 86_000, 85_000), strict=True)),
        "microseconds": dict(zip(NAMES, (0, 540.0, 900.0, 60.0, 50.0), strict=True)),
        "evidence": evidence,
    }


LABELS = {
    "recalls": {"baseline": {"no": 0.7, "yes": 0.8}, "sparse": {"no": 0.1, "yes": 0.9}},
    "reliability": {"baseline": [[0.55, 0.5, 50], [0.9, 0.95, 50]], "sparse": [[0.6, 0.6, 100]]},
}
FORECASTS = {
    "error_by_step": {name: [1.0, 2.0] for name in NAMES},
    "forecasts": [{"truth": [1.0, 2.0], "baseline": [1.0, 1.0], "sparse": [1.0, 2.5]}] * 3,
}


def test_labels_are_shown_class_by_class_and_by_probability():
    shown = verdicts.shown(verdict("accuracy", LABELS))
    titles = [picture.title for picture in shown.pictures]
    assert titles == ["Accuracy against bytes", "Class by class", "Can the probabilities be trusted?"]
    assert shown.table.rows[-1] == ("sparse", "77.4 %", "85.0 kB", "50.0 µs")
    assert shown.table.rows[0] == ("majority", "50.0 %", "–", "–")


def test_forecasts_are_drawn_and_their_errors_by_step():
    shown = verdicts.shown(verdict("rmse", FORECASTS, (4.3, 4.2, 4.1, 4.2, 4.1)))
    assert [picture.title for picture in shown.pictures][1:] == [
        "A good forecast",
        "A middling forecast",
        "A bad forecast",
        "Error by step ahead",
    ]


def test_each_column_of_a_forecast_has_pictures_of_its_own():
    shown = verdicts.shown(
        verdict("rmse", {"columns": {"load": FORECASTS, "heat": FORECASTS}}, (4.3, 4.2, 4.1, 4.2, 4.1))
    )
    titles = [picture.title for picture in shown.pictures][1:]
    assert len(titles) == 8 and titles[0] == "A good forecast of load" and titles[7] == "Error by step ahead of heat"


def test_a_network_has_one_colour_in_every_picture():
    first, *_, last = verdicts.shown(verdict("accuracy", LABELS)).pictures
    for picture in (first, last):
        assert COLOURS[0] in picture.svg and COLOURS[3] in picture.svg
    assert verdicts.shade("sparse") == COLOURS[3] != verdicts.shade("dense") == COLOURS[1]


def test_the_page_begins_with_it_and_shows_names_as_text(tmp_path):
    folders = made_runs.make_recipe(tmp_path)
    (folders[0].parent / "verdict.json").write_text(json.dumps(verdict("accuracy", LABELS)))
    shown = page.write(folders, tmp_path / "report.html").read_text()
    assert shown.index("Verdict") < shown.index("The networks in detail")
    assert (
        '<p class="summary">Use the network.</p>' in shown and "&lt;b&gt;it&lt;/b&gt;" in shown and "<b>it" not in shown
    )
    assert "prefers-color-scheme: dark" in shown
