"""Faults of recipes: settings at full size that are not the paper's, missing rows, and what was said and is not so."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sparsernn
from sparsernn import folders
from sparsernn.errors import UserError
from sparsernn.methods.st_rnn import STRNN
from tests.faithful.faults import Outcome, equal, fault, near

PACKAGE = Path(sparsernn.__file__).parent
CHECKOUT = PACKAGE.parents[1]


def rows(recipe: str, size: str = "full") -> dict[str, Any]:
    """The rows of a recipe by name; none where there is no such recipe."""
    try:
        return {row.name: row for row in folders.find("recipes", recipe).at(size)}
    except UserError:
        return {}


def sentences(*places: str) -> str:
    """What the recipes, or other files, say, with single spaces."""
    paths = [path for place in places for path in sorted(CHECKOUT.glob(place))]
    return " ".join(" ".join(path.read_text("utf8").split()) for path in paths)


def unsaid(pattern: str, *places: str) -> Outcome:
    """Right if nothing in these files says so any more."""
    said = re.search(pattern, sentences(*places))
    return Outcome(f"not said: {pattern!r}", f"{said.group(0)!r}" if said else "not said", said is None)


def said(pattern: str, *places: str) -> Outcome:
    """Right if something in these files says so."""
    match = re.search(pattern, sentences(*places))
    return Outcome(f"said: {pattern!r}", f"{match.group(0)[:60]!r}" if match else "not said", match is not None)


def goals(recipe: str) -> Iterator[tuple[str, int]]:
    """The searches of a recipe: row and wanted size."""
    for name, row in rows(recipe).items():
        for part in (getattr(row, "search", None), *getattr(row, "sources", ())):
            if hasattr(part, "goal"):
                yield name, part.goal


@fault
def units_left_by_group_lasso_of_table_3() -> Outcome:
    """Liu et al., Table 3: 11.1 of 23.5 million weights; a dense network of about 518 of 830 units has as many."""
    method = rows("liu2021_table3")["iss"].method
    return near(518, round((1 - method.sparsity) * 830), 0.01)


@fault
def imdb_at_full_size() -> Outcome:
    """Liu et al.: Adam 5e-4, batches of 256."""
    networks = [row.settings for name, row in rows("liu2021_table4").items() if name in ("imdb_dense", "imdb_st_rnn")]
    return equal({(5e-4, 256)}, {(settings.learning_rate, settings.batch_size) for settings in networks})


@fault
def yelp_at_full_size() -> Outcome:
    """Liu et al.: the first 150,000 reviews, 30,000 of them to test."""
    task = rows("liu2021_table4")["yelp_2018_dense"].task
    return equal((150_000, 0.2), (task.limit, task.shares[-1]))


@fault
def splits_of_80_to_20() -> Outcome:
    """Liu et al.: 80 % of the tweets and of the food reviews to train and 20 % to test."""
    tables = rows("liu2021_table4")
    return equal([0.2, 0.2], [tables[name].task.shares[-1] for name in ("sanders_dense", "amazon_dense")])


@fault
def unknown_words_of_all_sets_alike() -> Outcome:
    """One rule for unknown words in the sets of a table."""
    return equal({"drop"}, {row.task.unknown for row in rows("liu2021_table4").values()})


@fault
def first_weights_of_the_language_models() -> Outcome:
    """Zhang & Stadie, Tables 4 and 5: He's."""
    networks = [rows("zhang2020_table4")["wiki2_dense"], rows("zhang2020_table5")["dense"]]
    return equal(["he", "he"], [row.options["cell_options"].get("init") for row in networks])


@fault
def steps_of_the_large_texts() -> Outcome:
    """Zhang & Stadie, Table 4: 20,000, 12,000 and 30,000 steps of 64 windows of 20 words."""
    words, steps = {"wiki2": 2_088_628, "wiki103": 103_227_021, "1b": 798_950_000}, []
    for text, count in words.items():
        row = rows("zhang2020_table4")[f"{text}_dense"]
        steps.append(round(row.settings.epochs * row.task.fraction * count / (64 * 20), -2))
    close = all(abs(a / b - 1) < 0.03 for a, b in zip(steps, (20_000, 12_000, 30_000), strict=True))
    return Outcome("20,000, 12,000 and 30,000 steps", ", ".join(f"{count:,.0f}" for count in steps), close)


@fault
def sparsities_of_table_5() -> Outcome:
    """Zhang & Stadie, Table 5, has a column of 70 % zeros."""
    return equal(True, "random_70" in rows("zhang2020_table5"))


@fault
def embedding_of_table_5() -> Outcome:
    """Zhang & Stadie, Table 5: 400 random frozen numbers a word, windows read apart from each other."""
    row = rows("zhang2020_table5")["dense"]
    measured = row.options["embedding"], bool(row.options.get("frozen_embedding")), row.task.windows
    return equal((400, True, True), measured)


@fault
def automata_of_table_1() -> Outcome:
    """Dodge et al., Table 1: three patterns with eight transitions, left of 24 patterns of four."""
    table = rows("dodge2019_table1")
    eights = [table[name].options["units"] for name, goal in goals("dodge2019_table1") if goal == 8]
    return Outcome("8 transitions searched in 24 patterns", eights or "no such row", eights == [24])


@fault
def automata_of_the_appendix() -> Outcome:
    """Dodge et al., appendix: on contextual vectors four patterns with eleven transitions."""
    return equal(True, 11 in {goal for _, goal in goals("dodge2019_contextual")})


@fault
def figures_2_and_3_on_tweets() -> Outcome:
    """Liu et al., Figures 2 and 3, are drawn for tweets too."""
    return equal([7, 18], [len(rows(f"liu2021_figure{number}_tweets")) for number in (2, 3)])


@fault
def published_figures_stand_beside_rows() -> Outcome:
    """Liu et al., Table 4: IMDb 85.3 and 86.0, tweets 77.8 and 79.2."""
    table = rows("liu2021_table4")
    names = ("imdb_dense", "imdb_st_rnn", "sanders_dense", "sanders_st_rnn")
    return equal([0.853, 0.86, 0.778, 0.792], [table[name].published.get("accuracy") for name in names])


@fault
def rivals_begin_with_the_same_weights() -> Outcome:
    """A row of masks that are scaled is set against one with the same first weights and the same masks, unscaled."""
    table = rows("zhang2020_table2")
    init = table["random_drive_400"].options["cell_options"]["init"]
    plain = [row for row in table.values() if row.method and type(row.method).__name__ == "RandomPruning"]
    pairs = [
        row.name
        for row in plain
        if row.method.rescale == "none"
        and row.options["units"] == 400
        and row.options["cell_options"].get("init") == init
    ]
    return Outcome(f"a random row of 400 units that begins with {init!r}", pairs or "none", bool(pairs))


@fault
def said_removed_half_way() -> Outcome:
    """Units of ISS go after seven tenths of the training, not half-way."""
    stop = rows("liu2021_table3")["iss"].method.stop
    told = "half-way" in sentences("src/sparsernn/recipes/**/*.py")
    return Outcome(f"{stop} of the training", "half-way" if told else "not half-way", not told or stop == 0.5)


@fault
def said_mean_rate_of_the_ablation() -> Outcome:
    """A rate that falls along a cosine from 0.3 to 0.005 has a mean of 0.153, not about SET's 0.3."""
    steps, end = rows("liu2021_ablation", "cpu"), 1000
    falls, constant = steps["decay"].method, steps["absolute"].method.rate
    cosine = [(1 + math.cos(math.pi * step / end)) / 2 for step in range(end)]
    average = sum(falls.floor + (falls.rate - falls.floor) * value for value in cosine) / end
    told = "is about the constant one" in sentences("src/sparsernn/recipes/*.py")
    so = abs(average / constant - 1) < 0.1
    claim = "about the constant one" if told else "not so said"
    return Outcome(f"a mean of {average:.3f} beside {constant}", claim, so or not told)


@fault
def said_rates_are_ours() -> Outcome:
    """Zhang & Stadie state Adam 1e-3 and batches of 64 for all of their tables."""
    return unsaid(r"batch size( and learning rate)? are ours", "src/sparsernn/recipes/zhang2020*.py")


@fault
def said_best_published_gru() -> Outcome:
    """Zhang & Stadie, Table 2, have 0.71 % errors by L2 at 400 units, 1.01 to 1.15 % at 1,600: 1.21 % is not best."""
    return unsaid(r"below the best that the source has[^.]*\.", "docs/*.md", "LOG.md")


@fault
def said_automata_of_the_source() -> Outcome:
    """Table 1 of Dodge et al. is of three automata, not of six with 16 transitions."""
    return unsaid(r"the source reads six automata", "src/sparsernn/recipes/*.py")


@fault
def said_a_deviation_that_is_none() -> Outcome:
    """Dodge et al. drop embedding and output at one rate too."""
    return unsaid(r"the dropout of the output and of the embedding are one rate", "src/sparsernn/recipes/**/*.py")


@fault
def said_loss_for_error() -> Outcome:
    """Dodge et al. halve the rate by the validation error; here the loss is watched, which is to be declared."""
    return said(r'validation error", "validation loss', "src/sparsernn/recipes/**/*.py")


@fault
def said_floor_of_st_rnn() -> Outcome:
    """The last rate, 0.005, is the related code's; the paper has none, which is to be declared."""
    deviations = " ".join((STRNN.__doc__ or "").partition("Deviations:")[2].split())
    return Outcome("the floor is a deviation", deviations[-60:], "floor" in deviations)


@fault
def citations_by_title() -> Outcome:
    """Sections of the papers are cited by their titles: numbers were wrong."""
    papers = r"(Dodge|Liu|Zhang & Stadie|Lobacheva)[^.;]{0,40}, section \d[\d.]*"
    numbers = re.findall(papers, sentences("src/sparsernn/**/*.py", "README.md", "docs/*.md"))
    return equal(0, len(numbers))
