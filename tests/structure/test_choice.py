"""Which weights stay: exactly so many, ties by position, the same with the same seed, small and large alike."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.errors import UserError
from sparsernn.structure.choice import SMALL, count, pick, top

LARGE = 5 * SMALL + 17


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(-2, 35))
def test_top_takes_exactly_so_many_and_the_first_of_equals(values, keep):
    mask = top(torch.tensor(values, dtype=torch.float32), keep).tolist()
    order = sorted(range(len(values)), key=lambda place: (-values[place], place))
    assert [place for place, kept in enumerate(mask) if kept] == sorted(order[: max(keep, 0)])


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="score is NaN"):
        top(torch.tensor([1.0, float("nan"), 2.0]), 1)


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 40), st.integers(0, 99))
def test_picked_places_are_candidates_and_repeat_with_the_seed(candidates, count, seed):
    flags = torch.tensor(candidates, dtype=torch.bool)
    chosen = pick(flags, count, torch.Generator().manual_seed(seed))
    assert int(chosen.sum()) == min(count, sum(candidates)) and not bool((chosen & ~flags).any())
    assert torch.equal(chosen, pick(flags, count, torch.Generator().manual_seed(seed)))


def rank(scores, keep):
    """The same by a stable sort."""
    expected = torch.zeros(len(scores), dtype=torch.bool)
    expected[scores.sort(descending=True, stable=True).indices[:keep]] = True
    return expected


@pytest.mark.parametrize("keep", [1, 2, LARGE // 3, LARGE // 2, LARGE - 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda generator: torch.randn(LARGE, generator=generator),
        lambda generator: torch.randn(LARGE, generator=generator).relu(),
        lambda generator: torch.randint(4, (LARGE,), generator=generator).float(),
        lambda generator: torch.randn(LARGE, generator=generator).masked_fill(torch.arange(LARGE) % 3 > 0, -torch.inf),
        lambda generator: torch.arange(LARGE).float(),
        lambda generator: torch.zeros(LARGE),
        lambda generator: torch.randint(2**31 - 1, (LARGE,), generator=generator, dtype=torch.int32),
        lambda generator: torch.where(torch.arange(LARGE) % 5 == 0, 0.0, torch.rand(LARGE, generator=generator)),
    ],
    ids=["normal", "half zeros", "four values", "two thirds absent", "rising", "all the same", "keys", "every fifth"],
)
def test_top_of_many(make, keep):
    scores = make(torch.Generator().manual_seed(keep))
    assert torch.equal(top(scores, keep), rank(scores, keep))


@pytest.mark.parametrize("number", [0, 1, 100, LARGE // 6, LARGE // 2])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_picks_among_many(number, share):
    flags = torch.rand(LARGE, generator=torch.Generator().manual_seed(1)) < share
    chosen = pick(flags, number, torch.Generator().manual_seed(2))
    assert count(chosen) == min(number, count(flags)) and not bool((chosen & ~flags).any())


@pytest.mark.parametrize("number", [2, 6])
def test_every_place_is_picked_as_often(number):
    generator, often = torch.Generator().manual_seed(3), torch.zeros(12)
    flags = torch.tensor(10 * [True] + 2 * [False])
    for _ in range(2000):
        often += pick(flags, number, generator)
    assert not often[10:].any()
    assert (often[:10] - 200 * number).abs().max() < 5 * (200 * number * (1 - number / 10)) ** 0.5
