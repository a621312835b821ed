"""Facts of Lobacheva et al. 2020, Structured sparsification of gated recurrent neural networks: Table 1, small LSTM."""

from __future__ import annotations

import dataclasses

NAME = "Lobacheva et al. 2020"


@dataclasses.dataclass(frozen=True)
class SmallLstm:
    """The dense word language model from which pruning starts.

    Arguments:
        learning_rate, clip: for a loss that is a sum over the steps read and a mean over the batch.
        decay: of the learning rate after every epoch from `decay_after` on.
        init: every weight and the output's bias begin in U(-init, init).
        perplexity: of the test text after the last epoch.
    """

    units: int = 200
    layers: int = 2
    steps_read: int = 20
    batch_size: int = 20
    learning_rate: float = 1.0
    clip: float = 5.0
    epochs: int = 20
    decay: float = 0.6
    decay_after: int = 4
    init: float = 0.1
    perplexity: float = 114.41


SMALL = SmallLstm()
