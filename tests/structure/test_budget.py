"""How many weights stay: exact counts, the published Erdős–Rényi numbers, shares in proportion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsernn.errors import UserError
from sparsernn.structure.budget import (
    apportion,
    check_fraction,
    check_number,
    check_positive,
    check_sparsity,
    erdos_renyi,
    from_epsilon,
    settle,
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


@pytest.mark.parametrize(("eps", "sparsity", "kept"), [(10, 95.686, 243520), (2, 99.137, 48704), (20, 91.37, 487040)])
def test_epsilon_of_the_text_classification_model(eps, sparsity, kept):
    counts = from_epsilon([(20000, 256)] + 8 * [(256, 256)], eps)
    assert counts == [eps * 20256] + 8 * [eps * 512] and sum(counts) == kept
    assert 100 * (1 - kept / 5_644_288) == pytest.approx(sparsity, abs=6e-4 if eps < 20 else 6e-3)


@given(fans, sparsities)
def test_the_rule_for_kernels_is_the_same_for_matrices_and_power_0_is_uniform(shapes, sparsity):
    sizes = [a * b for a, b in shapes]
    kept = erdos_renyi(shapes, sparsity, power=0.0)
    total = max(round((1 - sparsity) * sum(sizes)), len(sizes))
    assert all(abs(count - total * size / sum(sizes)) < 1 + len(sizes) for count, size in zip(kept, sizes, strict=True))
    assert from_epsilon([(3, 4, 5)], 1.0) == [12]
    assert from_epsilon([(3, 4, 5)], 2.0, power=0.5) == [round(2 * 60 * 0.2**0.5)]


def test_epsilon_fills_small_matrices():
    assert from_epsilon([(256, 2), (256, 256)], 10) == [512, 5120]


def test_no_tensor_is_left_without_a_weight():
    assert erdos_renyi([(1, 1), (100, 100)], 0.999) == [1, 9]
    assert erdos_renyi([(1, 1), (1, 1)], 0.9) == [1, 1]
    assert uniform([1, 1000], 0.999) == [1, 1]


@given(
    st.lists(st.tuples(st.floats(0, 1, allow_subnormal=False), st.integers(0, 30)), min_size=1, max_size=6), st.data()
)
def test_shares_add_up_fit_and_are_in_proportion(cases, data):
    importance, room = zip(*cases, strict=True)
    total, evenly = data.draw(st.integers(0, sum(room))), data.draw(st.booleans())
    shares = apportion(total, importance, room, evenly)
    assert sum(shares) == total and all(0 <= share <= most for share, most in zip(shares, room, strict=True))
    wanted = [total * one / sum(importance) for one in importance] if sum(importance) > 0 else []
    if wanted and all(want <= most for want, most in zip(wanted, room, strict=True)):
        assert all(abs(share - want) < 1 + 1e-6 for share, want in zip(shares, wanted, strict=True))


def test_what_does_not_fit_is_spread():
    assert apportion(100, [8, 1, 1], [40, 100, 100]) == [40, 30, 30]
    assert apportion(100, [8, 1, 3], [40, 100, 100], evenly=False) == [40, 15, 45]
    assert apportion(9, [0, 0, 0], [5, 5, 5]) == [3, 3, 3]


@given(fans, sparsities)
def test_erdos_renyi_meets_the_total_and_keeps_its_proportions(shapes, sparsity):
    sizes = [a * b for a, b in shapes]
    kept = erdos_renyi(shapes, sparsity)
    assert sum(kept) == max(round((1 - sparsity) * sum(sizes)), len(sizes))
    assert all(1 <= count <= size for count, size in zip(kept, sizes, strict=True))
    free = [(count, sum(shape)) for count, size, shape in zip(kept, sizes, shapes, strict=True) if 1 < count < size - 1]
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


@pytest.mark.parametrize("value", [1, 1.0, -0.1, 1.5, "0.9", None, True, float("nan")])
def test_sparsity_outside_its_range_is_refused(value):
    with pytest.raises(UserError, match="sparsity is"):
        check_sparsity(value)


@pytest.mark.parametrize("value", [1.1, -0.1, "1", None, True, float("nan")])
def test_fractions_outside_their_range_are_refused(value):
    with pytest.raises(UserError, match="stop is"):
        check_fraction(value, "stop")


@pytest.mark.parametrize("value", [-0.1, "1", None, True, float("nan"), float("inf")])
@pytest.mark.parametrize("check", [check_number, check_positive])
def test_numbers_out_of_range_are_refused(check, value):
    with pytest.raises(UserError, match="eps is"):
        check(value, "eps")


def test_zero_is_a_number_but_not_positive():
    check_number(0, "strength"), check_positive(1, "eps")
    with pytest.raises(UserError, match="eps is 0"):
        check_positive(0, "eps")


def test_both_ends_that_are_allowed():
    check_sparsity(0), check_sparsity(0.999), check_fraction(0, "stop"), check_fraction(1, "stop")
