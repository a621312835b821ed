"""How many weights stay, and which: exact counts, ties by position, the published Erdős–Rényi numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.errors import UserError
from sparsernn.structure.budget import (
    check_fraction,
    check_sparsity,
    erdos_renyi,
    from_epsilon,
    pick,
    settle,
    top,
    uniform,
)

STACKED_LSTM = [(10000, 1500)] + 4 * [(1500, 6000)] + [(1500, 10000)]
HIGHWAY = [(10000, 830)] + 11 * [(830, 1660)]
sparsities = st.floats(0, 0.99, allow_subnormal=False)
fans = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("shapes", "density", "eps", "wide", "narrow"),
    [
        (STACKED_LSTM, 0.33, 410.9, 0.3151, 0.3425),
        (STACKED_LSTM, 0.20, 249.1, 0.1909, 0.2075),
        (HIGHWAY, 0.472, 289.7, 0.3780, 0.5235),
    ],
)
def test_erdos_renyi_densities_of_the_dynamic_sparse_training_paper(shapes, density, eps, wide, narrow):
    kept = erdos_renyi(shapes, 1 - density)
    densities = [count / (a * b) for count, (a, b) in zip(kept, shapes, strict=True)]
    assert densities[0] == pytest.approx(wide, abs=6e-5) and densities[1] == pytest.approx(narrow, abs=6e-5)
    assert max(kept[1:5]) - min(kept[1:5]) <= 1
    assert kept[0] / sum(shapes[0]) == pytest.approx(eps, abs=0.05)
    assert sum(kept) == round(density * sum(a * b for a, b in shapes))
    given_eps = from_epsilon(shapes, eps)
    assert max(abs(a - b) / a for a, b in zip(kept, given_eps, strict=True)) < 2e-4


def test_epsilon_of_the_text_classification_model():
    kept = from_epsilon([(20000, 256)] + 8 * [(256, 256)], 10)
    assert kept == [202560] + 8 * [5120]


@given(fans, sparsities)
def test_erdos_renyi_meets_the_total_and_keeps_its_proportions(shapes, sparsity):
    sizes = [a * b for a, b in shapes]
    kept = erdos_renyi(shapes, sparsity)
    assert sum(kept) == round((1 - sparsity) * sum(sizes))
    assert all(0 <= count <= size for count, size in zip(kept, sizes, strict=True))
    free = [(count, sum(shape)) for count, size, shape in zip(kept, sizes, shapes, strict=True) if count < size - 1]
    if free:
        eps = max(count / scale for count, scale in free)
        assert all(count >= eps * scale - 2 - scale / min(other for _, other in free) for count, scale in free)


@given(fans, sparsities)
def test_uniform_is_within_half_a_weight_and_never_empty(shapes, sparsity):
    sizes = [a * b for a, b in shapes]
    for size, count in zip(sizes, uniform(sizes, sparsity), strict=True):
        assert count == 1 or abs(count - (1 - sparsity) * size) <= 0.5


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=8), st.data())
def test_settled_counts_add_up_and_move_by_less_than_one(fractions, data):
    sizes = [data.draw(st.integers(1, 30)) for _ in fractions]
    wanted = [fraction * size for fraction, size in zip(fractions, sizes, strict=True)]
    counts = settle(wanted, sizes, round(sum(wanted)))
    assert sum(counts) == round(sum(wanted))
    assert all(abs(count - want) < 1 + 1e-9 for count, want in zip(counts, wanted, strict=True))


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


@pytest.mark.parametrize("value", [1, 1.0, -0.1, 1.5, "0.9", None, True, float("nan")])
def test_sparsity_outside_its_range_is_refused(value):
    with pytest.raises(UserError, match="sparsity is"):
        check_sparsity(value)


@pytest.mark.parametrize("value", [1.1, -0.1, "1", None, True, float("nan")])
def test_fractions_outside_their_range_are_refused(value):
    with pytest.raises(UserError, match="stop is"):
        check_fraction(value, "stop")


def test_both_ends_that_are_allowed():
    check_sparsity(0), check_sparsity(0.999), check_fraction(0, "stop"), check_fraction(1, "stop")
