"""Facts of Lobacheva et al. 2020, Structured sparsification of gated recurrent neural networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

NAME = "Lobacheva et al. 2020"


@dataclasses.dataclass(frozen=True)
class Pruning:
    """How a network is pruned; strengths are for a loss that is a sum over the steps read and a mean over the batch.

    Arguments:
        groups: strength of every group's norm.
        l1: strength of the sum of magnitudes.
        zero_below: magnitude below which a weight is set to zero after every step.
    """

    groups: float
    l1: float = 1e-5
    zero_below: float = 1e-4


@dataclasses.dataclass(frozen=True)
class SmallLstm:
    """The word language model that is pruned while it is trained.

    Arguments:
        learning_rate, clip: for a loss that is a sum over the steps read and a mean over the batch.
        decay: of the learning rate after every epoch from `decay_after` on.
        init: every weight and the output's bias begin in U(-init, init).
        neurons_and_gates: by neurons; by gates, which are groups of their own, and neurons.
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
    dropout: float = 0.0
    neurons: Pruning = Pruning(0.002)
    neurons_and_gates: Pruning = Pruning(0.0017)


SMALL = SmallLstm()
TABLE_1: Mapping[str, Mapping[str, object]] = {
    "dense": {"test_perplexity": 114.41, "compression": 1.0, "neurons": [200, 200], "gates": [800, 800]},
    "W+N": {"test_perplexity": 106.25, "compression": 1.44, "neurons": [72, 123], "gates": [288, 492]},
    "W+G+N": {"test_perplexity": 105.64, "compression": 1.49, "neurons": [64, 115], "gates": [193, 442]},
}
"""Small LSTM, after the last epoch: the compression is of all matrices, embedding and output included."""
