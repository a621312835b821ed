"""Words that a network keeps: the most frequent ones and those that tell classes apart."""

import numpy as np
import pytest

from sparsernn.data.splits import SequenceSplit
from sparsernn.data.task import Loaded
from sparsernn.errors import UserError
from sparsernn.experiments.sources.chosen_words import ChosenWords, chosen_words

# Word 2 is in all texts, 3 in all of class 1, 4 in one of it, 5 in half of each, 6 in none.
TEXTS = [[2, 5], [2], [2, 5], [2], [2, 3, 5], [2, 3, 4], [2, 3, 5], [2, 3, 1]]


def loaded():
    ends = np.cumsum([0, *map(len, TEXTS)])
    split = SequenceSplit(np.concatenate(TEXTS).astype(np.int32), ends, np.array([0] * 4 + [1] * 4))
    words = ("<pad>", "<unk>", "of", "fine", "rare", "even", "never")
    return Loaded.of_classes([split, split, split], ("bad", "good"), inputs=7, vocabulary=words)


@pytest.mark.parametrize(
    ("count", "frequent", "words"),
    [(1, 1, [2]), (1, 0, [3]), (2, 1, [2, 3]), (3, 0, [3]), (7, 0, [2, 3, 4, 5]), (7, 7, [2, 3, 4, 5])],
)
def test_which_words_are_kept(count, frequent, words):
    chosen = chosen_words(loaded(), count, frequent)
    assert set(words) <= set(chosen.tolist()) <= {2, 3, 4, 5}
    assert len(chosen) <= count and (np.diff(chosen) > 0).all()


@pytest.mark.parametrize(("count", "frequent"), [(0, 0), (2, 3), (2, -1)])
def test_counts_that_make_no_sense(count, frequent):
    with pytest.raises(UserError, match="words"):
        ChosenWords(count, frequent)
