"""Facts of Zhang & Stadie 2020, One-shot pruning of recurrent neural networks by Jacobian spectrum evaluation.

The tables stand in the section "Evaluation" and in the appendix; what the text leaves open is read in the first
author's public code, and said so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NAME = "Zhang & Stadie 2020"


@dataclass(frozen=True)
class Training:
    """How every network of the paper is trained.

    Arguments:
        scored: examples in the one batch that a criterion sees.
        pixel_scale: a pixel from 0 to 255 is divided by it (the code).
        normal: standard deviation of the kernel's first weights for the paper's own method (the text).
        l2_every: steps between two rungs of the ladder.
        l2_ladder: sparsities of its rungs in the code, the first of which is never used.
    """

    optimizer: str = "adam"
    learning_rate: float = 1e-3
    batch_size: int = 64
    scored: int = 64
    digits_epochs: int = 50
    pixel_scale: int = 2550
    normal: float = 0.1
    horizon: int = 4
    sparsity: float = 0.95
    l2_every: int = 10_000
    l2_ladder: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Text:
    """One text of Table 4.

    Arguments:
        steps: of training. words: of the training text, which a pass reads.
    """

    steps: int
    words: int
    vocabulary: int = 0


@dataclass(frozen=True)
class Words:
    """A language model: a frozen random embedding, one layer, windows that are read apart from each other."""

    cell: str
    units: int
    embedding: int = 400
    embedding_scale: float = 0.1
    init: str = "he"
    steps_read: int = 20
    layers: int = 1


TRAINING = Training()
DIGITS_UNITS = 400
TABLE_2_UNITS = (100, 400, 1600)
TABLE_3_SPARSITIES = (0.90, 0.95, 0.98)
TABLE_4 = Words("lstm", 2000)
TABLE_4_SCORED = 0.01
"""The share of the training text whose perplexity Table 4 has."""
TEXTS: Mapping[str, Text] = {
    "wiki2": Text(20_000, 2_088_628),
    "wiki103": Text(12_000, 103_227_021),
    "1b": Text(30_000, 798_950_000, vocabulary=100_000),
}
TABLE_5 = Words("gru", 800)
TABLE_5_SPARSITIES = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
TABLE_5_SMALL = (200, 100)

# Validation errors in per cent, mean over runs.
TABLE_1: Mapping[str, float] = {
    "rnn_random": 9.51,
    "rnn_jacobian": 7.57,
    "rnn_dense": 7.08,
    "lstm_random": 2.17,
    "lstm_jacobian": 1.66,
    "lstm_dense": 0.80,
    "peephole_lstm_random": 1.80,
    "peephole_lstm_jacobian": 1.24,
    "peephole_lstm_dense": 0.74,
    "gru_random": 1.50,
    "gru_jacobian": 1.46,
    "gru_dense": 0.77,
}
TABLE_2: Mapping[str, float] = {
    "jacobian_100": 3.09,
    "random_100": 2.78,
    "snip_100": 88.9,
    "snip_400": 88.8,
    "snip_1600": 89.0,
    "l2_400": 0.71,
    # The same networks as in Table 1.
    "jacobian_400": TABLE_1["gru_jacobian"],
    "random_400": TABLE_1["gru_random"],
    "dense_400": TABLE_1["gru_dense"],
}
TABLE_3: Mapping[str, float] = {
    "dense": TABLE_1["gru_dense"],
    "jacobian_95": TABLE_1["gru_jacobian"],
    "random_95": TABLE_1["gru_random"],
}
TABLE_6: Mapping[str, float] = {
    "jacobian_glorot": 1.219,
    "jacobian_normal_0.1": 1.46,
    "random_glorot": 1.36,
    "random_normal_0.1": 1.50,
}
# Perplexities of a random part of the training text.
TABLE_4_PERPLEXITIES: Mapping[str, float] = {"wiki2_dense": 10.479, "wiki2_jacobian": 20.54}


def accuracy(error: float) -> float:
    """Of an error in per cent."""
    return round(1 - error / 100, 5)
