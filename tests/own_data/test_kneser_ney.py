"""The n-gram model: against the textbook's recursion by dictionaries, its file, and its choice of length."""

import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from sparsernn.errors import UserError
from sparsernn.own_data import kneser_ney
from sparsernn.own_data.kneser_ney import KneserNey, discounts_of, grams_of

VOCABULARY = 9


def text(tokens, seed, step=0.6):
    """Each token is often one more than the one before it."""
    chance = random.Random(seed)
    made = [0]
    for _ in range(tokens - 1):
        made.append((made[-1] + 1) % 7 if chance.random() < step else min(int(chance.expovariate(0.6)), 7))
    return np.array(made)


def model_of(train, order):
    grams = [one for one, _ in zip(grams_of(train, VOCABULARY), range(order), strict=False)]
    return KneserNey.of_grams(grams, VOCABULARY)


def textbook(train, order):
    """p(token | context) as Chen & Goodman write it: one dictionary an order, the recursion as it stands."""
    runs = {n: [tuple(train[i : i + n]) for i in range(len(train) - n + 1)] for n in range(1, order + 1)}
    counts = {order: Counter(runs[order])}
    for n in range(1, order):
        before = defaultdict(set)
        for gram in runs[n + 1]:
            before[gram[1:]].add(gram[0])
        counts[n] = {gram: len(before[gram]) for gram in set(runs[n])}
    discounts = {}
    for n in counts:
        of = Counter(counts[n].values())
        discounts[n] = [0.0, 0.5, 1.0, 1.5]
        for c in (1, 2, 3):
            if of[1] and of[c]:
                told = c - (c + 1) * of[1] / (of[1] + 2 * of[2]) * of[c + 1] / of[c]
                discounts[n][c] = min(max(told, 0.1), c)

    def probability(token, context):
        if not context:
            lower = 1 / VOCABULARY
        else:
            lower = probability(token, context[1:])
        n = len(context) + 1
        followers = {gram[-1]: count for gram, count in counts[n].items() if gram[:-1] == context and count}
        if not followers:
            return lower
        total = sum(followers.values())
        taken = {follower: discounts[n][min(count, 3)] for follower, count in followers.items()}
        share = (followers[token] - taken[token]) / total if token in followers else 0.0
        return share + sum(taken.values()) / total * lower

    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_textbook_and_sum_to_one(order):
    train, other = text(80, 0).tolist(), text(30, 1, step=0.3).tolist()
    probability, model = textbook(train, order), model_of(np.array(train), order)
    wanted = [
        math.log(probability(token, tuple(other[max(0, i - order + 1) : i]))) for i, token in enumerate(other) if i
    ]
    np.testing.assert_allclose(model.log_probabilities(np.array(other)), wanted, rtol=1e-10)
    for context in ([2, 3, 4], [8, 8, 8], [6, 0, 5]):
        ends = [model.log_probabilities(np.array([*context, token]))[-1] for token in range(VOCABULARY)]
        assert np.exp(ends).sum() == pytest.approx(1) and min(ends) > -math.inf


def test_a_file_is_read_back_and_another_is_refused(tmp_path):
    train, valid = text(3000, 0), text(500, 1)
    model = KneserNey.learn(train, valid, VOCABULARY)
    model.save(tmp_path / "model")
    again = KneserNey.load(tmp_path / "model")
    assert again.order == model.order and (tmp_path / "model").stat().st_size == len(model.to_bytes())
    np.testing.assert_array_equal(again.log_probabilities(valid), model.log_probabilities(valid))
    whole = (tmp_path / "model").read_bytes()
    for damaged in (b"", b"a text", whole[: len(whole) // 2], whole[:100] + b"xxxxxxxx" + whole[108:]):
        (tmp_path / "model").write_bytes(damaged)
        with pytest.raises(UserError, match="model cannot be read"):
            KneserNey.load(tmp_path / "model")


def test_n_grams_are_as_long_as_helps_another_text():
    chance = np.random.default_rng(0)
    alone = chance.integers(VOCABULARY, size=4000)
    assert KneserNey.learn(alone[:3000], alone[3000:], VOCABULARY).order in (0, 1)
    pairs = text(4000, 0)
    assert KneserNey.learn(pairs[:3000], pairs[3000:], VOCABULARY).order == 2
    sums = [1, 2]
    while len(sums) < 4000:
        sums.append((sums[-1] + sums[-2]) % 5 if chance.random() < 0.9 else int(chance.integers(5)))
    model = KneserNey.learn(np.array(sums[:3000]), np.array(sums[3000:]), VOCABULARY)
    # 9 in 10 follow from two tokens before; of the others one in five does by chance.
    least = -(0.92 * math.log(0.92) + 0.08 * math.log(0.02))
    assert model.order == 3 and -model.log_probabilities(np.array(sums[3000:])).mean() == pytest.approx(least, abs=0.1)


def test_texts_that_are_too_short_or_too_regular():
    with pytest.raises(UserError, match="1 and 5 tokens"):
        KneserNey.learn(np.array([1]), text(5, 0), VOCABULARY)
    same = np.zeros(50, np.int64)
    scores = KneserNey.learn(same, same, VOCABULARY).log_probabilities(np.array([0, 0, 5]))
    assert scores[0] > math.log(0.9) and -math.inf < scores[1] < math.log(0.1)
    assert list(discounts_of(np.array([7, 9]))) == list(kneser_ney.FALLBACK)
