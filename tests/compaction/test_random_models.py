"""No silent difference: random models, compacted with one example, are called with what the example does not show."""

import copy
from collections import Counter

import pytest
import torch

from sparsernn.compaction.compact import compact
from sparsernn.errors import UserError
from tests.compaction.random_models import draw_case
from tests.structure.networks import flat, size_of

pytestmark = pytest.mark.filterwarnings("ignore:0 of ", "ignore:no example ran")
TOLERANCE = 1e-9


def answers(model, calls) -> list:
    """What a model gives for each call, one after the other, as its states may be kept."""
    results = []
    for call in copy.deepcopy(calls):
        try:
            results.append(flat(model(**call)))
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            results.append(error)
    return results


@torch.no_grad()
def outcome(seed: int) -> str:
    """Compact one case. Returns: "cut", "untouched" or "refused". Raises: AssertionError if the network is another."""
    case = draw_case(seed)
    try:
        small, _ = compact(case.model, case.masks, example=case.example)
    except UserError:
        return "refused"
    for training in (False, True):
        expected = answers(copy.deepcopy(case.model).train(training), case.held_back)
        results = answers(copy.deepcopy(small).train(training), case.held_back)
        for call, (want, got) in enumerate(zip(expected, results, strict=True)):
            if isinstance(want, Exception):
                continue
            assert not isinstance(got, Exception), (seed, call, training, case.plan, got)
            for left, right in zip(want, got, strict=True):
                assert left.shape == right.shape, (seed, call, training, case.plan)
                scale = float(left.abs().max()) if left.numel() else 0.0
                gap = float((left - right).abs().max()) if left.numel() else 0.0
                assert gap <= TOLERANCE * scale or scale == gap == 0, (seed, call, training, gap, case.plan)
    return "cut" if size_of(small) < size_of(case.model) else "untouched"


def check(seeds: range) -> Counter:
    counts = Counter(outcome(seed) for seed in seeds)
    assert counts["cut"] > counts["untouched"] > counts["refused"], counts
    return counts


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_nothing_differs_silently(start):
    check(range(start, start + 50))


@pytest.mark.slow
def test_nothing_differs_silently_in_three_thousand():
    print(check(range(1000, 4000)))
