"""Units, gates and compression of a pruned network beside the source's."""

from sparsernn.reports import comparison, quantities

SOURCE = {"test_perplexity": 105.64, "compression": 1.49, "neurons": [64, 115], "gates": [193, 442]}


def result(row, seed=0, published=None, **metrics):
    return {"row": row, "seed": seed, "size": "full", "metrics": metrics, "published": published or {}}


def columns(*groups):
    main = quantities.goal(result for _, results in groups for result in results)
    table = comparison.compare(groups, main)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def measured(seed, perplexity, compression, neurons, gates):
    figures = {"perplexity": perplexity, "test_perplexity": perplexity, "lstm_compression": 4.25}
    return result("W+G+N", seed, SOURCE, **figures, compression=compression, neurons=neurons, gates=gates)


def test_lists_and_ratios_stand_beside_the_published_ones():
    dense = result("dense", perplexity=114.0, test_perplexity=114.0, compression=1.0, neurons=[200, 200])
    plain, pruned = columns(("dense", [dense]), ("W+G+N", [measured(0, 106.0, 1.5, [60, 120], [193, 450])]))
    assert [pruned[f"neurons{more}"] for more in ("", ", published", ", difference")] == ["60-120", "64-115", "−4, +5"]
    assert [pruned[f"gates{more}"] for more in ("", ", published", ", difference")] == ["193-450", "193-442", "0, +8"]
    assert pruned["compression"] == "1.50×" and pruned["compression, difference"] == "+0.01×"
    assert pruned["LSTM compression"] == "4.25×" and "LSTM compression, published" not in pruned
    assert plain["neurons"] == "200-200" and plain["neurons, difference"] == plain["gates"] == "–"


def test_a_perplexity_published_of_the_test_split_is_compared_with_it_and_shown_once():
    (row,) = columns(("W+G+N", [measured(0, 106.0, 1.5, [60, 120], [193, 450])]))
    assert [title for title in row if "perplexity" in title] == [
        "perplexity", "perplexity, published", "perplexity, difference",
    ]  # fmt: skip
    assert row["perplexity"] == "106.00" and row["perplexity, difference"] == "+0.36"


def test_seeds_become_mean_and_spread_layer_by_layer():
    results = [measured(seed, 106.0, 1.5, [60 + 2 * seed, 120], [193, 442]) for seed in range(2)]
    (row,) = columns(("W+G+N", results))
    assert row["neurons"] == "61.0 ± 1.4, 120.0 ± 0.0" and row["neurons, difference"] == "−3, +5"
    assert row["gates"] == "193-442" and row["gates, difference"] == "0, 0"


def test_results_without_them_have_no_column_and_other_lengths_no_difference():
    (row,) = columns(("dense", [result("dense", published=SOURCE, perplexity=114.0)]))
    assert not any("neurons" in title or "compression" in title for title in row)
    (row,) = columns(("one", [result("one", published=SOURCE, perplexity=114.0, neurons=[5])]))
    assert row["neurons"] == "5" and row["neurons, difference"] == "–"
