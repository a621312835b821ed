"""The best and worst paths of automata against all paths, one by one."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsernn.errors import UserError
from sparsernn.explain.paths import search_both


def search(main, loop, lengths=None, worst=False, one_sided=False):
    return search_both(main, loop, lengths, one_sided)[int(worst)]


def every_path(main, loop, tokens):
    """(score, positions) of all paths of so many main-path tokens through one text."""
    for positions in itertools.combinations(range(len(main)), tokens):
        score = 1.0
        for time in range(positions[0], len(main)):
            if time in positions:
                score *= main[time, positions.index(time)]
            else:
                score *= loop[time, sum(position < time for position in positions) - 1]
        yield score, positions


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), worst=st.booleans())
def test_both_searches_find_the_best_of_all_paths(seed, worst):
    random = np.random.default_rng(seed)
    main, loop = random.normal(size=(7, 3, 4)), random.uniform(size=(7, 3, 4))
    lengths = random.integers(1, 8, size=3)
    paths = search(main, loop, lengths, worst)
    positive = search(np.abs(main), loop, lengths, one_sided=True)
    for row, length in enumerate(lengths):
        for tokens in range(1, 5):
            of = [every_path(u[:length, row], loop[:length, row], tokens) for u in (main, np.abs(main))]
            if tokens > length:
                assert math.isnan(paths.scores[row, tokens - 1]) and (paths.tokens[row, tokens - 1] == -1).all()
                continue
            for found, candidates, best in ((paths, of[0], min if worst else max), (positive, of[1], max)):
                score, positions = best(candidates)
                assert math.isclose(found.scores[row, tokens - 1], score, rel_tol=1e-12)
                assert found.tokens[row, tokens - 1].tolist() == [*positions, *[-1] * (4 - tokens)]


def test_the_one_sided_search_misses_two_negative_tokens():
    main = np.array([[1.0, 0.1], [-3.0, 0.2], [0.5, -2.0]]).reshape(3, 1, 2)
    loop = np.full((3, 1, 2), 0.5)
    assert search(main, loop).scores[0, 1] == 6.0
    assert search(main, loop).tokens[0, 1].tolist() == [1, 2]
    assert search(main, loop, one_sided=True).scores[0, 1] < 6.0


def test_equal_scores_go_to_the_latest_match():
    paths = search(np.ones((5, 1, 2)), np.ones((5, 1, 2)))
    assert paths.tokens[0].tolist() == [[4, -1], [3, 4]]


def test_scores_that_do_not_fit():
    with pytest.raises(UserError, match="self-loops not negative"):
        search(np.ones((2, 1, 1)), -np.ones((2, 1, 1)))
    with pytest.raises(UserError, match="two arrays"):
        search(np.ones((2, 1)), np.ones((2, 1)))
