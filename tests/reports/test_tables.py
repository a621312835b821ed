import json

import made_runs
import numpy as np
import pytest

from sparsernn.errors import UserError
from sparsernn.reports import quantities, tables
from sparsernn.reports.reading import read_run, read_runs


def write_result(folder, row, metrics, seed=0, size="cpu", published=None):
    folder = folder / "quickstart"
    folder.mkdir(exist_ok=True)
    result = {"recipe": "quickstart", "row": row, "size": size, "seed": seed, "metrics": metrics}
    result |= {"published": published or {}, "command": "", "seconds": 1, "environment": {}}
    (folder / f"{row}-{size}-seed{seed}.json").write_text(json.dumps(result))


def test_results_have_a_row_for_each_run_and_only_columns_that_some_run_has(tmp_path):
    table = tables.results(read_runs(made_runs.make_recipe(tmp_path)))
    assert table.columns[:4] == ("network", "accuracy", "weights kept", "bytes")
    assert "sparsity" not in table.columns
    assert [row[0] for row in table.rows] == list(made_runs.ROWS)
    dense = dict(zip(table.columns, table.rows[0], strict=True))
    assert dense["accuracy"] == "97.25 %" and dense["bytes"] == "59.2 kB" and dense["weights kept"] == "14,400"
    assert dense["against dense, batch 1"] == "1.00×"


def test_the_task_names_the_metric_that_leads(tmp_path):
    metrics = {"perplexity": 3.1, "bits_per_character": 1.63, "loss": 1.13}
    folder = made_runs.make_run(tmp_path / "a", "dense", metrics)
    assert tables.results([read_run(folder)]).columns[1] == "perplexity"
    (folder / "recipe.json").write_text(json.dumps({"data": {"metric": "bits_per_character"}}))
    assert tables.results([read_run(folder)]).columns[1] == "bits per character"


def test_seeds_become_mean_and_spread_beside_what_was_published(tmp_path):
    for seed, accuracy in enumerate((0.96, 0.97, 0.98)):
        write_result(tmp_path, "dense", {"accuracy": accuracy, "bytes": 4000}, seed, published={"accuracy": 97.5})
    write_result(tmp_path, "small", {"accuracy": 0.9, "bytes": 400})
    lines = tables.results_table(tmp_path, "quickstart").splitlines()
    assert (
        lines[0]
        == "| network | seeds | accuracy ± sample deviation | accuracy, published | accuracy, difference | bytes |"
    )
    assert lines[2] == "| dense | 3 | 97.00 ± 1.00 % | 97.50 % | −0.50 % | 4.00 kB |"
    assert lines[3] == "| small | 1 | 90.00 % | – | – | 400 B |"


def test_sizes_are_named_or_chosen(tmp_path):
    write_result(tmp_path, "dense", {"accuracy": 0.96})
    write_result(tmp_path, "dense", {"accuracy": 0.97}, size="full")
    assert "| dense (full) | 97.00 % |" in tables.results_table(tmp_path, "quickstart")
    assert "| dense | 97.00 % |" in tables.results_table(tmp_path, "quickstart/full")


def test_a_name_cannot_break_out_of_its_cell():
    text = quantities.Table(("network",), (("a|b <script>alert(1)</script>\nnext",),)).markdown()
    assert text.splitlines()[2] == "| a\\|b &lt;script>alert(1)&lt;/script> next |"


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (quantities.percent, 0.0123, "1.23 %"),
        (quantities.percent, 1.0, "100.0 %"),
        (quantities.size, 999, "999 B"),
        (quantities.size, 1_234_567, "1.23 MB"),
        (quantities.significant, 0.04567, "0.0457"),
        (quantities.significant, 1234.5, "1,234"),
        (quantities.times, 12.34, "12.3×"),
        (quantities.score, 0.9725, "97.25 %"),
    ],
)
def test_numbers_are_written_for_people(write, value, text):
    assert write(value) == text


def test_layers_count_gates_units_and_gates_that_read_nothing(tmp_path):
    masks = made_runs.neuron_masks(units=64, inputs=8, alive=24)
    alive = np.flatnonzero(masks["rnn.weight_hh_l0"][:64].any(1))
    for name in masks:
        masks[name][alive[:5]] = False
    run = read_run(made_runs.make_run(tmp_path / "a", "neurons", {}, masks=masks))
    first, second = (dict(zip(tables.layers(run).columns, row, strict=True)) for row in tables.layers(run).rows)
    assert first["layer"] == second["layer"] == "rnn l0"
    assert first["still connected"] == second["still connected"] == "24 of 64 units"
    assert first["gates that read nothing"] == "5"
    assert first["kept by gate"] == "reset 29.7 %, update 37.5 %, candidate 37.5 %"


def test_a_matrix_without_a_mask_counts_as_whole(tmp_path):
    masks = made_runs.neuron_masks()
    del masks["rnn.weight_ih_l0"]
    run = read_run(made_runs.make_run(tmp_path / "a", "neurons", {}, masks=masks))
    assert tables.layers(run).rows[0][-2:] == ("64 of 64 units", "0")


def test_tables_are_filled_between_their_marks(tmp_path):
    write_result(tmp_path, "dense", {"accuracy": 0.96})
    text = "before\n<!-- table: quickstart -->\nold\n<!-- end table -->\nafter\n"
    filled = tables.fill(text, tmp_path)
    assert filled.startswith("before\n<!-- table: quickstart -->\n| network | accuracy |\n")
    assert filled.endswith("| dense | 96.00 % |\n<!-- end table -->\nafter\n")
    assert tables.fill(filled, tmp_path) == filled


def test_check_names_the_file_and_table_that_differ(tmp_path):
    write_result(tmp_path, "dense", {"accuracy": 0.96})
    page = tmp_path / "page.md"
    page.write_text("<!-- table: quickstart -->\n<!-- end table -->\n")
    assert tables.check([page], tmp_path) == [f"{page}: the tables quickstart differ from {tmp_path}"]
    page.write_text(tables.fill(page.read_text(), tmp_path))
    assert tables.check([page], tmp_path) == []


def test_a_table_without_end_or_result_is_refused(tmp_path):
    with pytest.raises(UserError, match="not closed"):
        tables.fill("<!-- table: quickstart -->\n| a |\n", tmp_path)
    with pytest.raises(UserError, match="holds no result"):
        tables.fill("<!-- table: quickstart -->\n<!-- end table -->\n", tmp_path)
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "a-cpu-seed0.json").write_text('{"metrics": {}}')
    with pytest.raises(UserError, match="incomplete"):
        tables.results_table(tmp_path, "quickstart")
