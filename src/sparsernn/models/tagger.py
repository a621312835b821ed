"""A label for every step."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from sparsernn.models.encoder import Encoder


class Tagger(Encoder):
    """(Embedding,) recurrent layers, a linear layer at every step.

    Arguments: as `Classifier`, without pooling.
    Shapes: x [batch time inputs] or ids [batch time], lengths [batch] -> logits [batch time classes].
    """

    objective: ClassVar[str] = "tagging"

    def __init__(
        self,
        inputs: int,
        classes: int,
        cell: str = "gru",
        units: int = 64,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        vocabulary: int | None = None,
        cell_options: dict[str, Any] | None = None,
    ):
        super().__init__(inputs, cell, units, layers, bidirectional, dropout, vocabulary, cell_options)
        self.head = nn.Linear(self.width, classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.head(self.encode(x, lengths))
