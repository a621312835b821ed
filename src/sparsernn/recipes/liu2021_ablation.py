"""From SET to ST-RNN in three steps: uniform masks, one rule for both signs, a rate that falls (Liu et al. 2021)."""

from dataclasses import replace

from sparsernn.experiments.deviations import Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021
from sparsernn.recipes.papers import liu2021_words as language

SPARSITY = liu2021.STACKED_LSTM.sparsities[0]


def rows(size: Size) -> list[Row]:
    """Each row changes one thing of the row before it.

    `set` is the original method. `uniform` gives every tensor the same sparsity. `absolute` drops the smallest
    magnitudes whatever their sign. `decay` lets the rate fall: at "full" from 0.7, with a mean of 0.35 beside SET's
    0.3; at "cpu" from 0.3, with a mean of 0.15, so that half as much is rewired. `st_rnn` also lets a weight that is
    dropped and grown in one event keep its value.
    """
    words = language.Words("lstm", size)
    original, uniform = (words.set(language.budget(distribution, SPARSITY)) for distribution in ("er", "uniform"))
    absolute = replace(uniform, drop="magnitude")
    st_rnn = words.st_rnn(language.budget("uniform", SPARSITY))
    decay = replace(absolute, rate=st_rnn.rate, decay=st_rnn.decay, floor=st_rnn.floor)
    steps = {"set": original, "uniform": uniform, "absolute": absolute, "decay": decay, "st_rnn": st_rnn}
    return [words.row(name, method) for name, method in steps.items()]


recipe = Recipe(
    title="Penn Treebank, words: from SET to ST-RNN in three steps",
    source="Liu et al. 2021, what ST-RNN changes in SET",
    rows=rows,
    paper=language.compared(
        "what ST-RNN changes in SET",
        *language.TRAINING,
        *language.STRNN_RATES,
        language.RATES_OF_RIVALS[0],
        *(replace(language.RATES_OF_RIVALS[0], rows=name) for name in ("uniform", "absolute")),
        Deviation(
            "steps between SET and ST-RNN", "all at once, in Table 2", "one by one", "to see which of them helps"
        ),
    ),
    scaled=language.SCALED,
)
