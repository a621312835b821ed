"""A word or character language model: embedding, recurrent layers, softmax."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn


class LanguageModel(nn.Module):
    """Predict the next token at every step.

    Arguments:
        vocabulary: number of different tokens.
        units: width of every recurrent layer.
        layers: number of recurrent layers.
        cell: "lstm", "gru" or "rnn".
        embedding: width of the embedding; None takes `units`.
        tied: the head's weights are the embedding's.
        dropout: on the embedding's output, between layers and before the head.
    Shapes: ids [time batch] -> logits [time batch vocabulary], and the state as torch gives it.
    """

    objective: ClassVar[str] = "language_model"

    def __init__(
        self,
        vocabulary: int,
        units: int = 200,
        layers: int = 2,
        cell: str = "lstm",
        embedding: int | None = None,
        tied: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        width = embedding or units
        self.embedding = nn.Embedding(vocabulary, width)
        kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
        self.rnn = kind(width, units, layers, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(units, vocabulary)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, state = self.rnn(self.dropout(self.embedding(ids)), state)
        return self.head(self.dropout(output)), state
