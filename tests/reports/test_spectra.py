"""Pictures of step Jacobians and of connections."""

import json

import made_runs

from sparsernn.reports import page, spectra
from sparsernn.reports.reading import read_run, read_runs

LAYER = {"singular_values": [2.0, 1.0, 0.0], "eigenvalues": [[0.3, 0.4], [0.1, 0.0]]}
CONNECTIONS = {
    "input": {"reset": {"kept": 1, "dense": 4}, "update": {"kept": 0, "dense": 4}},
    "recurrent": {"reset": {"kept": 2, "dense": 4}, "update": {"kept": 4, "dense": 4}},
}
WHOLE = {"spectra": {"rnn": LAYER}, "connections": {"rnn": CONNECTIONS, "rnn.1": CONNECTIONS}}
TITLES = ["Singular values of a step", "Eigenvalues of a step", "Connections left"]


def measured(folder, row, content):
    run = made_runs.make_run(folder, row, {"accuracy": 0.9})
    (run / "spectra.json").write_text(json.dumps(content))
    return run


def test_runs_that_measured_them_are_drawn_together(tmp_path):
    runs = read_runs(
        [
            measured(tmp_path / "a", "SNIP <b>", {"start": WHOLE, "trained": WHOLE}),
            measured(tmp_path / "b", "random", {"trained": WHOLE}),
            made_runs.make_run(tmp_path / "c", "dense", {"accuracy": 0.9}),
        ]
    )
    assert [picture.title for picture in spectra.pictures(runs)] == TITLES
    text = page.render(runs)
    assert "What a step does" in text and "<b>" not in text.split("</style>")[1]


def test_shares_are_those_of_all_layers(tmp_path):
    run = read_run(measured(tmp_path / "a", "SNIP", {"trained": WHOLE}))
    assert spectra._densities(run) == {
        ("input", "reset"): 0.25, ("input", "update"): 0.0, ("recurrent", "reset"): 0.5, ("recurrent", "update"): 1.0,
    }  # fmt: skip


def test_a_run_without_them_has_no_pictures(tmp_path):
    for number, content in enumerate([{}, {"start": 3}, {"start": {"spectra": []}}]):
        run = read_run(measured(tmp_path / str(number), "dense", content))
        assert spectra.pictures([run]) == [] and "What a step does" not in page.render([run])
