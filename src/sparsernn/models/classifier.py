"""One label for a whole sequence."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sparsernn.models.constructor import taking
from sparsernn.models.encoder import Encoder, LabelOptions
from sparsernn.models.layers import POOLS, pool
from sparsernn.typed import choose


@dataclass(frozen=True)
class ClassifierOptions(LabelOptions):
    """Arguments of a classifier."""

    pool: str = "last"


class Classifier(Encoder):
    """(Embedding,) recurrent layers, pooling over time, a linear layer.

    Arguments:
        inputs: features of each step, or the embedding's width where `vocabulary` is given.
        classes: number of labels.
        cell: a file name in `sparsernn.cells`; cell_options: its own arguments.
        units, layers, bidirectional, dropout: of the recurrent layers; dropout also after the embedding and them.
        pool: "last" step, "mean" or "max" over steps, or "mean_max_last", all three beside each other.
        vocabulary: number of token ids, 0 being padding; None for numeric inputs.
        embedding_init: the embedding ~ U(-embedding_init, embedding_init), as Keras has it with 0.05; None: N(0, 1),
            as torch.
        embedding_dropout: rate of dropping whole word types from a batch while training (Gal & Ghahramani 2016).
        embedding_frozen: leave the embedding as it begins, with the word vectors of the task for instance.
        noise: deviation of the noise that is added to numeric inputs while training.
    Shapes: x [batch time inputs] or ids [batch time], lengths [batch] -> logits [batch classes].
    """

    objective: ClassVar[str] = "classification"

    @taking(ClassifierOptions)
    def __init__(self, options: ClassifierOptions):
        choose("pool", options.pool, POOLS)
        super().__init__(options.inputs, options)
        self.pool = options.pool
        self.head = nn.Linear(self.width * len(options.pool.split("_")), options.classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        output, finals = self.cell(self.embed(x), lengths=lengths)
        if self.pool == "last" and self.directions == 1:
            hidden = finals[0] if isinstance(finals, tuple) else finals
            return self.head(self.dropout(hidden[-1]))
        return self.head(self.dropout(pool(output, lengths, self.pool, self.forward_units)))
