"""Facts of Lobacheva et al. 2020, Structured sparsification of gated recurrent neural networks; and what rows share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sparsernn.methods.sparse_variational_dropout import SparseVariationalDropout

NAME = "Lobacheva et al. 2020"


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class WordLstm:
    """A word language model that is pruned while it is trained.

    Arguments:
        learning_rate, clip: for a loss that is a sum over the steps read and a mean over the batch.
        decay: of the learning rate after every `decay_every` epochs from epoch `decay_after` on; of the rows that have
            another, by name, in `decays`.
        init: every weight and the output's bias begin in U(-init, init).
        neurons, neurons_and_gates: by neurons; by gates, which are groups of their own, and neurons.
    """

    units: int
    steps_read: int
    clip: float
    epochs: int
    decay: float
    decay_after: int
    init: float
    dropout: float
    neurons: Pruning
    neurons_and_gates: Pruning
    decay_every: int = 1
    layers: int = 2
    batch_size: int = 20
    learning_rate: float = 1.0
    decays: Mapping[str, float] = field(default_factory=dict)

    def pruning(self, row: str) -> Pruning:
        """How a row is pruned."""
        return self.neurons_and_gates if row == "W+G+N" else self.neurons


SMALL = WordLstm(
    200, 20, 5.0, epochs=20, decay=0.6, decay_after=4, init=0.1, dropout=0.0,
    neurons=Pruning(0.002), neurons_and_gates=Pruning(0.0017),
)  # fmt: skip
LARGE = WordLstm(
    1500, 35, 10.0, epochs=55, decay=0.1, decay_after=18, decay_every=18, init=0.04, dropout=0.4,
    neurons=Pruning(0.0015), neurons_and_gates=Pruning(0.00125, l1=1.5e-5), decays={"W+N": 0.2},
)  # fmt: skip
TABLE_1: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "small": {
        "dense": {"test_perplexity": 114.41, "compression": 1.0, "neurons": [200, 200], "gates": [800, 800]},
        "W+N": {"test_perplexity": 106.25, "compression": 1.44, "neurons": [72, 123], "gates": [288, 492]},
        "W+G+N": {"test_perplexity": 105.64, "compression": 1.49, "neurons": [64, 115], "gates": [193, 442]},
    },
    "large": {
        "W+N": {"compression": 2.97, "neurons": [324, 394], "gates": [1296, 1576]},
        "W+G+N": {"compression": 3.22, "neurons": [252, 394]},
    },
}
"""After the last epoch: the compression is of all matrices, embedding and output included. Of the large model only what
is at hand."""


@dataclass(frozen=True)
class Bayesian:
    """A network of which every matrix is random, trained by Adam at one rate, its last epoch scored.

    Arguments:
        examples: by which the divergence is divided: training documents, or predicted tokens.
        units, layers, embedding, vocabulary, length, batch_size, learning_rate, epochs, clip: of network and training.
        words: whether each word has a variable.
        local: whether noise of the output layer is drawn locally.
    """

    examples: int
    units: int
    embedding: int
    vocabulary: int
    length: int
    batch_size: int
    learning_rate: float
    epochs: int
    layers: int = 1
    clip: float | None = None
    words: bool = True
    local: bool = True


IMDB = Bayesian(21_250, 128, 300, 20_003, 200, batch_size=128, learning_rate=5e-4, epochs=800)
AG_NEWS = Bayesian(114_000, 512, 300, 20_003, 100, batch_size=128, learning_rate=5e-4, epochs=150)
PTB_WORDS = Bayesian(
    929_589, 200, 200, 10_000, 35, batch_size=32, learning_rate=2e-3, epochs=50, layers=2, words=False, local=False
)
CONFIGURATIONS: Mapping[str, tuple[str, ...]] = {
    "W": ("weight",),
    "W+N": ("weight", "neuron"),
    "W+G+N": ("weight", "gate", "neuron"),
}
"""Levels of the variables, by the name of the row."""
TABLE_2: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "imdb": {
        "W": {"accuracy": 0.8362, "compression": 18_567},
        "W+N": {"accuracy": 0.8398, "compression": 17_874},
        "W+G+N": {"accuracy": 0.8398, "compression": 19_747},
    },
    "ptb_char": {
        "W": {
            "valid_bits_per_character": 1.472,
            "test_bits_per_character": 1.429,
            "compression": 7.9,
            "neurons": [431],
            "gates": [1718],
        },
        "W+N": {
            "valid_bits_per_character": 1.478,
            "test_bits_per_character": 1.430,
            "compression": 10.2,
            "neurons": [390],
            "gates": [1560],
        },
        "W+G+N": {
            "valid_bits_per_character": 1.467,
            "test_bits_per_character": 1.425,
            "compression": 9.8,
            "neurons": [404],
            "gates": [1563],
        },
    },
    "ag_news": {
        "W": {"accuracy": 0.8914, "compression": 561, "neurons": [34], "gates": [76]},
        "W+N": {"accuracy": 0.8855, "compression": 645, "neurons": [17], "gates": [62]},
        "W+G+N": {"accuracy": 0.8841, "compression": 647, "neurons": [14], "gates": [39]},
    },
}


def variational(paper: Bayesian, row: str, **options: object) -> SparseVariationalDropout:
    """The method of a row of Table 2, other options given by name."""
    stated = {
        "levels": CONFIGURATIONS[row],
        "vocabulary": paper.words,
        "examples": paper.examples,
        "divergence": "chirkova2018",
        "local": ("head",) if paper.local else (),
        "learning_rate": paper.learning_rate,
        "group_learning_rate": paper.learning_rate,
    }
    return SparseVariationalDropout(**{**stated, **options})
