"""The search for a strength: against a known curve, through a turn round, given up, and resumed."""

import json
import math

import pytest

from sparsernn.errors import UserError
from sparsernn.experiments import target_search
from sparsernn.experiments.experiment import Request
from sparsernn.experiments.size_search import STATE, TargetSearch, Trial


def searched(search: TargetSearch, size_at) -> list[Trial]:
    tried: list[Trial] = []
    while (strength := search.following(tried)) is not None:
        size = size_at(strength)
        tried.append(Trial(strength, size, search.verdict(size)))
    return tried


def test_it_finds_a_size_on_a_falling_curve():
    tried = searched(TargetSearch(40, 2), lambda strength: 96 / (1 + strength / 1e-4))
    assert abs(tried[-1].size - 40) <= 2 and len(tried) <= 25


def test_the_factor_shrinks_when_the_direction_turns():
    search = TargetSearch(40, 1, strength=1.0)
    assert search.following([Trial(1.0, 90, "large")]) == 2.0
    turned = [Trial(1.0, 90, "large"), Trial(2.0, 10, "small")]
    assert search.following(turned) == pytest.approx(2.0 / 1.5)
    assert search.following([*turned, Trial(4 / 3, 50, "large")]) == pytest.approx(4 / 3 * 1.25)


def test_it_gives_up_with_the_nearest_size():
    with pytest.raises(UserError, match="nearest was 96"):
        searched(TargetSearch(40, 2), lambda strength: 96)
    with pytest.raises(UserError, match="in 3 trainings"):
        searched(TargetSearch(40, 0, trials=3), lambda strength: 96 - math.log10(strength))


def test_a_row_is_driven_to_a_size_and_a_search_resumes(tmp_path):
    search = TargetSearch(2500, 2500 * 0.35, strength=1e-3, rate=4.0, trials=6)
    request = Request("quickstart", "quick", assignments=("settings.epochs=2",), out=tmp_path / "out", progress=False)
    found = target_search.run(search, request, "group_lasso", "weights_kept")
    assert abs(found["size"] - 2500) <= 2500 * 0.35
    state = tmp_path / "out" / STATE
    saved = json.loads(state.read_text())
    saved["tried"] = saved["tried"][:-1]
    state.write_text(json.dumps(saved))
    again = target_search.run(search, Request(**{**request.__dict__, "resume": True}), "group_lasso", "weights_kept")
    assert again == found


def test_an_unknown_figure_is_named(tmp_path):
    request = Request("quickstart", "quick", assignments=("settings.epochs=1",), out=tmp_path / "out", progress=False)
    with pytest.raises(UserError, match="weights_kept"):
        target_search.run(TargetSearch(1, 1), request, "group_lasso", "colour")
