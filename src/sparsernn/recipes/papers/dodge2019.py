"""Facts of Dodge et al. 2019, RNN architecture learning with sparse regularization.

The paper shows its accuracies in Figure 3 only. What its text leaves to the appendix on hyper-parameters is read in the
authors' code, and so is one assignment of them for all domains together and 20 transitions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NAME = "Dodge et al. 2019"


@dataclass(frozen=True)
class Assignment:
    """Hyper-parameters that the paper draws at random.

    Arguments:
        learning_rate, clip, weight_decay: of Adam; the norm at which its gradient is cut.
        dropout: of the word vectors and the output; input_dropout: of the automata's inputs, held over time.
    """

    learning_rate: float = 2.407e-2
    clip: float = 2.82
    weight_decay: float = 3.64e-7
    dropout: float = 0.3141
    input_dropout: float = 0.1537


@dataclass(frozen=True)
class Vectors:
    """The frozen vectors that automata read.

    Arguments:
        width: numbers a token. patterns: automata at first. goals: transitions that are wanted.
        rates: range of the learning rate, uniform in its logarithm.
    """

    width: int
    patterns: int
    batch_size: int
    goals: tuple[int, ...]
    rates: tuple[float, float]


@dataclass(frozen=True)
class Readable:
    """A network that the paper shows: its automata and their transitions."""

    patterns: int
    transitions: int


GLOVE = Vectors(300, 24, 64, (80, 60, 40, 20), (7e-3, 0.5))
BERT = Vectors(1024, 12, 4, (40, 30, 20, 10), (7e-5, 5e-3))
ASSIGNMENT = Assignment()
LONGEST = 4
TOLERANCE = 10
EPOCHS, PATIENCE = 500, 30
DECAY, DECAY_PATIENCE = 0.5, 10
"""The learning rate is halved after so many epochs whose validation error is no new best."""
THRESHOLD = 0.1
"""Of the norm of a state's weights, 2 * width + 1 of them."""
FIRST_STRENGTH = 8e-6
TRIES = 20
CLIPS, WEIGHT_DECAYS, DROPOUTS = (1.0, 5.0), (1e-7, 1e-5), (0.0, 0.5)
SHARES = (0.4, 0.1, 0.5)
"""Of training, validation and test; the sizes are the published appendix's from memory, not confirmed."""
DOMAINS: Mapping[str, str] = {"kitchen": "kitchen", "dvd": "dvd", "books": "books", "mix": "pooled"}
TABLE_1 = Readable(3, 8)
"""On all domains together, GloVe vectors."""
APPENDIX_TABLE = Readable(4, 11)
"""On kitchen reviews, contextual vectors."""
