"""From SET to ST-RNN in three steps: uniform masks, one rule for both signs, a rate that falls (Liu et al. 2021)."""

from __future__ import annotations

import dataclasses

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.liu2021_words import Words, budget

SPARSITY = 0.67


def rows(size: Size) -> list[Row]:
    """Each row changes one thing of the row before it.

    `set` is the original method. `uniform` gives every tensor the same sparsity. `absolute` drops the smallest
    magnitudes whatever their sign. `decay` lets the rate fall, from a first rate whose mean over the training is
    about the constant one. `st_rnn` also lets a weight that is dropped and grown in one event keep its value.
    """
    words = Words("lstm", size)
    original, uniform = (words.set(budget(distribution, SPARSITY)) for distribution in ("er", "uniform"))
    absolute = dataclasses.replace(uniform, drop="magnitude")
    st_rnn = words.st_rnn(budget("uniform", SPARSITY))
    decay = dataclasses.replace(absolute, rate=st_rnn.rate, decay=st_rnn.decay, floor=st_rnn.floor)
    steps = {"set": original, "uniform": uniform, "absolute": absolute, "decay": decay, "st_rnn": st_rnn}
    return [words.row(name, method) for name, method in steps.items()]


recipe = Recipe(
    title="Penn Treebank, words: from SET to ST-RNN in three steps",
    source="Liu et al. 2021, section 3",
    rows=rows,
)
