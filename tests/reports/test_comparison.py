"""Rows against the source and against the dense row, seed by seed."""

import json

import pytest

from sparsernn.errors import UserError
from sparsernn.reports import comparison, quantities, statistics, tables
from sparsernn.reports.quantities import GOALS, difference, mean

ACCURACY, PERPLEXITY = GOALS[0], GOALS[1]


def result(row, seed=0, size="cpu", published=None, splits=None, **metrics):
    made = {"recipe": "quickstart", "row": row, "size": size, "seed": seed, "metrics": metrics}
    made |= {"splits": {"drawn": False, "scored": "test"} | (splits or {})}
    return made | {"published": published or {}, "command": "", "seconds": 1, "environment": {}}


def group(row, *accuracies):
    return row, [result(row, seed, accuracy=value) for seed, value in enumerate(accuracies)]


def test_figures_stand_beside_the_published_ones_with_the_difference_on_both_splits():
    published = {"perplexity": 75.84, "valid_perplexity": 78.77}
    groups = [("st", [result("st", 0, "full", published, perplexity=75.0, valid_perplexity=79.0)])]
    table = comparison.compare([*groups, ("own", [result("own", perplexity=80.0, valid_perplexity=82.0)])], PERPLEXITY)
    ours = dict(zip(table.columns, table.rows[0], strict=True))
    assert ours["perplexity, published"] == "75.84" and ours["perplexity, difference"] == "−0.84"
    assert ours["perplexity on validation, difference"] == "+0.23"
    assert dict(zip(table.columns, table.rows[1], strict=True))["perplexity, difference"] == "–"


def test_the_validation_split_is_left_out_where_the_source_leaves_it_out():
    made = result("st", 0, "full", {"perplexity": 75.84}, perplexity=75.0, valid_perplexity=79.0)
    assert not any("validation" in column for column in comparison.compare([("st", [made])], PERPLEXITY).columns)


def test_pairs_share_their_seed():
    dense, sparse = group("a_dense", 0.80, 0.70, 0.75), group("a_sparse", 0.81, 0.72, 0.74)
    sparse[1].append(result("a_sparse", 9, accuracy=0.1))
    table = comparison.paired([dense, sparse])
    (row,) = table.rows
    assert row[:5] == ("a_sparse", "a_dense", "75.67 ± 4.73 %", "75.00 ± 5.00 %", "+0.67 ± 1.53 %")
    # by hand: 4.3027 (t of two degrees of freedom) * 1.5275 / sqrt(3) = 3.79 on both sides of 0.667
    assert row[5:] == ("−3.13 % to +4.46 %", "0.529", "3 seeds", "2 of 3")


def drawn(row, *accuracies, train=40, test=50):
    splits = {"train": train, "test": test, "drawn": True}
    return row, [result(row, seed, splits=splits, accuracy=value) for seed, value in enumerate(accuracies)]


def test_splits_drawn_from_the_same_rows_have_the_corrected_interval():
    (row,) = comparison.paired([drawn("dense", 0.80, 0.70, 0.75), drawn("sparse", 0.81, 0.72, 0.74)]).rows
    # by hand: 4.3027 * 1.5275 * sqrt(1/3 + 50/40) = 8.27 on both sides of 0.667
    assert row[5] == "−7.60 % to +8.94 %" and row[7] == "3 splits"


def test_results_that_do_not_state_their_splits_have_no_interval():
    groups = [group("dense", 0.80, 0.70, 0.75), group("sparse", 0.81, 0.72, 0.74)]
    del groups[1][1][0]["splits"]
    (row,) = comparison.paired(groups).rows
    assert row[5:7] == ("–", "–") and row[4] == "+0.67 ± 1.53 %"


def test_the_p_of_a_table_are_adjusted_for_how_many_there_are():
    dense, others = group("dense", 0.5, 0.5, 0.5), [group(name, 0.50, 0.54, 0.53) for name in "abcd"]
    (alone,) = comparison.paired([dense, others[0]]).rows
    together = comparison.paired([dense, *others]).rows
    assert float(together[0][6]) == pytest.approx(min(1, 4 * float(alone[6])), abs=0.003)
    assert {row[5] for row in together} == {alone[5]}


def test_a_row_is_paired_with_any_other_of_the_same_prefix_and_pooled_over_prefixes():
    groups = [group("a_random", 0.5, 0.6), group("a_snip", 0.7, 0.7), group("b_random", 0.5), group("b_snip", 0.4)]
    assert [row[:2] for row in comparison.paired(groups, "random").rows] == [
        ("a_snip", "a_random"),
        ("b_snip", "b_random"),
    ]
    (row,) = comparison.pooled(groups, "random").rows
    # the means of the settings are +15 and -10 points, whatever the number of pairs behind each
    assert row == ("snip", "+2.50 ± 17.68 %", "–", "–", "2 settings", "2 of 3")
    assert comparison.paired(groups, "grasp") is None and comparison.pooled(groups, "grasp") is None


def test_settings_are_the_unit_of_a_pooled_claim_and_the_pairs_that_of_a_claim_about_one():
    values = {"a": 0.6, "b": 0.7, "c": 0.8}
    groups = [group(f"{name}_random", 0.5, 0.5, 0.5) for name in values]
    groups += [group(f"{name}_snip", value, value + 0.02, value - 0.02) for name, value in values.items()]
    groups.append(group("a_grasp", 0.6, 0.7, 0.65))
    snip, grasp = comparison.pooled(groups, "random").rows
    # by hand: 4.3027 * 10 / sqrt(3) = 24.84 on both sides of 20
    assert snip[1:3] == ("+20.00 ± 10.00 %", "−4.84 % to +44.84 %") and snip[4:] == ("3 settings", "9 of 9")
    assert grasp[4:] == ("3 seeds", "3 of 3")


def test_two_pairs_have_no_interval_and_that_of_accuracies_ends_at_a_hundred_points():
    assert comparison.interval(ACCURACY, statistics.estimate([0.1, 0.2])) == "–"
    assert comparison.interval(ACCURACY, statistics.estimate([-0.8, -0.2, 0.4])) == "−100.00 % to +100.00 %"
    assert comparison.interval(PERPLEXITY, statistics.estimate([-80.0, -20.0, 40.0])) == "−169.05 to +129.05"


def test_rows_whose_settings_were_chosen_with_the_test_figures_in_sight_say_so():
    (_, tuned), (_, fresh), (_, older) = groups = [group("a", 0.5), group("b", 0.5), group("c", 0.5)]
    tuned[0]["provenance"], fresh[0]["provenance"] = {"test_in_sight": "yes: the rate"}, {"test_in_sight": "no"}
    table = comparison.compare(groups, ACCURACY)
    assert [dict(zip(table.columns, row, strict=True))[comparison.IN_SIGHT] for row in table.rows] == [
        "yes",
        "no",
        "not stated",
    ]
    assert comparison.IN_SIGHT not in comparison.compare(groups[1:], ACCURACY).columns


def test_splits_in_sight_and_fresh_ones_are_two_lines_each_against_its_own_partner():
    """A row that gains 4 points where it was tuned and 1 on splits drawn afterwards."""

    def results(row, gain):
        made = [result(row, seed, accuracy=0.5 + gain[seed >= 100]) for seed in (0, 1, 2, 100, 101, 102)]
        for one in made:
            answer = "no: drawn afterwards" if one["seed"] >= 100 else "yes: rates"
            one["provenance"], one["splits"] = {"test_in_sight": answer}, {"train": 8, "test": 1, "drawn": True}
        return row, made

    groups = [results("set_dense", (0.0, 0.0)), results("set_learned", (0.04, 0.01))]
    table = comparison.compare(groups, ACCURACY)
    assert [row[:2] for row in table.rows] == [
        ("set_dense", "3"),
        ("set_dense, fresh splits", "3"),
        ("set_learned", "3"),
        ("set_learned, fresh splits", "3"),
    ]
    lines = {row[0]: row for row in comparison.paired(groups).rows}
    assert lines["set_learned"][4].startswith("+4.00") and lines["set_learned, fresh splits"][4].startswith("+1.00")
    pooled = {row[0]: row for row in comparison.pooled(groups, "dense").rows}
    assert pooled["learned"][1].startswith("+4.00") and pooled["learned, fresh splits"][1].startswith("+1.00")


def test_figures_of_validation_rows_are_called_so():
    made = [result("a", splits={"scored": "valid"}, accuracy=0.5)]
    assert quantities.goal(made).title == "accuracy on validation" and quantities.goal(made).key == "accuracy"


def test_lower_is_better_for_a_perplexity():
    dense = "dense", [result("dense", seed, perplexity=100.0) for seed in (0, 1, 2)]
    sparse = "sparse", [result("sparse", seed, perplexity=value) for seed, value in enumerate((99.0, 98.0, 102.0))]
    assert comparison.paired([dense, sparse]).rows[0][4::2] == ("−0.33 ± 2.08", "0.808", "2 of 3")


@pytest.mark.parametrize(
    ("name", "partner"),
    [
        ("imdb_st_rnn", "imdb_dense"),
        ("imdb_dense", "dense"),
        ("small_dense", "dense"),
        ("small_dense_67", "dense"),
        ("imdbst", "dense"),
        ("dense", None),
    ],
)
def test_a_row_is_paired_with_the_dense_one_of_its_own_data(name, partner):
    assert comparison.partner_of(name, ["dense", "imdb_dense", "small_dense_67", name]) == partner


def test_without_a_dense_row_there_are_no_pairs():
    assert comparison.paired([group("a", 0.5), group("b", 0.6)]) is None


def test_differences_have_a_sign_and_zero_has_none():
    assert difference(ACCURACY, [0.01]) == "+1.00 %" and difference(ACCURACY, [-0.01]) == "−1.00 %"
    assert difference(PERPLEXITY, [0.001]) == "0.00" and difference(PERPLEXITY, []) == "–"
    assert mean(ACCURACY, [97.5]) == mean(ACCURACY, [0.975]) == "97.50 %"


def test_the_documentation_can_ask_for_pairs(tmp_path):
    folder = tmp_path / "quickstart"
    folder.mkdir()
    for _, results in (group("dense", 0.5, 0.6), group("sparse", 0.6, 0.6)):
        for made in results:
            (folder / f"{made['row']}-cpu-seed{made['seed']}.json").write_text(json.dumps(made))
    lines = tables.results_table(tmp_path, "quickstart/cpu/paired").splitlines()
    assert lines[2] == "| sparse | dense | 60.00 % | 55.00 ± 7.07 % | +5.00 ± 7.07 % | – | – | 2 seeds | 1 of 2 |"
    with pytest.raises(UserError, match="there is no table"):
        tables.results_table(tmp_path, "quickstart/cpu/pears")


def test_language_models_compete_on_perplexity_though_they_have_an_accuracy():
    made = result("dense", accuracy=0.2, perplexity=100.0, bits_per_character=6.6)
    assert tables.goal_of([]) is None
    assert quantities.goal([made]).key == "perplexity"
    assert quantities.goal([made], ["bits_per_character"]).key == "bits_per_character"
    assert quantities.goal([result("dense", accuracy=0.2)]).key == "accuracy"
