"""The verdict: figures, intervals and sentences, against what can be said by hand."""

import numpy as np
import pytest

from sparsernn.own_data.evidence import evidence
from sparsernn.own_data.scored import Scored
from sparsernn.own_data.verdict import Answers, difference, judge

ROWS = 400


def one_hot(numbers: np.ndarray, classes: int = 2) -> np.ndarray:
    return np.eye(classes)[numbers]


def wrong_at(targets: np.ndarray, places) -> np.ndarray:
    numbers = targets.copy()
    numbers[places] = 1 - numbers[places]
    return one_hot(numbers)


@pytest.fixture
def targets() -> np.ndarray:
    return np.arange(ROWS) % 2


def verdict(targets, sparse, baseline, labels=("no", "yes")):
    answers = Answers("accuracy", targets, labels)
    majority = one_hot(np.full(len(targets), np.bincount(targets).argmax()))
    return judge(
        answers,
        [
            Scored("majority", "the majority class", majority),
            Scored("baseline", "a linear model", baseline, 4000, 300.0),
            Scored("sparse", "the sparse network", sparse, 1000, 100.0),
        ],
    )


def test_a_better_network_is_recommended(targets):
    made = verdict(targets, wrong_at(targets, slice(0, 20)), wrong_at(targets, slice(0, 100)))
    assert made.figures == {"majority": 50.0, "baseline": 75.0, "sparse": 95.0}
    off = made.differences["baseline"]
    # 80 rows of 400 differ, all in our favour: the deviation of the mean difference is sqrt(.2 * .8 / 400) = 2 points.
    assert off.points == pytest.approx(20) and off.low == pytest.approx(16.1, abs=0.7)
    assert off.high == pytest.approx(23.9, abs=0.7)
    says = " ".join(made.says)
    assert "4.0 times smaller" in says and "3.0 times faster" in says and says.startswith("Use the network.")


def test_a_worse_network_is_not_hidden(targets):
    made = verdict(targets, wrong_at(targets, slice(0, 100)), wrong_at(targets, slice(0, 20)))
    assert made.says[0] == "Use the baseline." and "worse than the baseline" in " ".join(made.says)
    close = verdict(targets, wrong_at(targets, slice(0, 21)), wrong_at(targets, slice(1, 21)))
    assert "level with the baseline" in " ".join(close.says) and "too few to be sure" in close.says[0]


def test_a_network_that_finds_none_of_a_rare_class_is_said_to():
    targets = (np.arange(ROWS) >= 390).astype(int)
    never = one_hot(np.zeros(ROWS, int))
    made = verdict(targets, never, one_hot(targets), ("ham", "spam"))
    says = " ".join(made.says)
    assert made.recalls == {"ham": 1.0, "spam": 0.0} and "balanced accuracy is 50.0 %" in says and "'spam' 0 %" in says
    assert made.says[0].startswith("Use the baseline. ") and "do not use it" in made.says[0]
    neither = verdict(targets, never, never, ("ham", "spam"))
    assert "Use the baseline" not in neither.says[0] and "do not use it" in neither.says[0]
    unseen = " ".join(verdict(targets * 0, never, never, ("ham", "spam")).says)
    assert "No test row is of 'spam'" in unseen


def test_another_baseline_that_is_as_good_and_smaller_is_recommended(targets):
    answers, half = Answers("accuracy", targets, ("no", "yes")), one_hot(np.zeros(ROWS, int))
    names = {"majority": (half, 0), "baseline": (wrong_at(targets, slice(0, 9)), 4000)}
    names |= {"other_baseline": (wrong_at(targets, slice(8)), 500), "sparse": (wrong_at(targets, slice(8)), 1000)}
    scored = {name: Scored(name, name, outputs, bytes) for name, (outputs, bytes) in names.items()}
    assert judge(answers, list(scored.values())).says[0].startswith("Use the other baseline")
    worse = {**scored, "other_baseline": Scored("other_baseline", "", wrong_at(targets, slice(20)), 500)}
    assert judge(answers, list(worse.values())).says[0] == "Use the network."


def test_columns_of_a_forecast_are_told_apart():
    right = np.array([[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 100.0]])
    answers = Answers("rmse", right, columns=("small", "large"))
    ours, other = right + [1, 1, 30, 30], right + [2, 2, 20, 20]
    names = (("majority", right + 50), ("baseline", other), ("dense", other), ("sparse", ours))
    scored = [Scored(name, name, outputs) for name, outputs in names]
    (sentence,) = (line for line in judge(answers, scored).says if "each by itself" in line)
    assert "small 1 (the baseline 2), large 30 (the baseline 20)" in sentence
    shown = evidence(answers, scored, "sparse")["columns"]
    assert shown["small"]["error_by_step"]["sparse"] == [1, 1] and shown["large"]["error_by_step"]["dense"] == [20, 20]
    assert shown["large"]["forecasts"][0]["truth"] == [100, 100]


def test_rows_of_a_unit_are_drawn_together(targets):
    first, second = wrong_at(targets, slice(0, 40)), wrong_at(targets, slice(40, 80))
    by_row, by_unit = (
        difference(Answers("accuracy", targets, units=units), Scored("a", "", first), Scored("b", "", second))
        for units in (None, np.arange(ROWS) // 40)
    )
    assert by_unit.high - by_unit.low > 4 * (by_row.high - by_row.low) and not by_unit.sure


def test_forecasts_and_texts_have_their_own_figures():
    right = np.zeros((50, 2))
    answers = Answers("rmse", right)
    assert answers.of(Scored("a", "", np.full((50, 2), 3.0))) == pytest.approx(3.0)
    worse = difference(answers, Scored("a", "", np.full((50, 2), 3.0)), Scored("b", "", np.full((50, 2), 1.0)))
    assert worse.points == pytest.approx(2.0) and worse.sure
    tokens = Answers("perplexity", np.arange(10))
    assert tokens.of(Scored("a", "", np.full(10, np.log(1 / 80)))) == pytest.approx(80)


def test_a_smaller_baseline_that_is_level_is_recommended(targets):
    answers, right = Answers("accuracy", targets, ("no", "yes")), one_hot(targets)
    names = {"majority": 0, "baseline": 1000, "sparse": 4000}
    scored = [Scored(name, name, one_hot(0 * targets) if not size else right, size) for name, size in names.items()]
    assert judge(answers, scored).says[0].startswith("Use the baseline: ")


def test_one_stretch_of_time_tells_nothing():
    answers = Answers("rmse", np.zeros((8, 2)), units=np.zeros(8))
    naive, worse, better = (Scored(name, name, np.full((8, 2), error)) for name, error in
                            (("majority", 9.0), ("sparse", 2.0), ("baseline", 1.0)))  # fmt: skip
    made = judge(answers, [naive, better, worse])
    assert not made.differences["baseline"].sure and "do not tell which is better" in " ".join(made.says)
