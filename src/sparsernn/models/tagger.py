"""A label for every step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sparsernn.models.constructor import taking
from sparsernn.models.encoder import Encoder, LabelOptions


class Tagger(Encoder):
    """(Embedding,) recurrent layers, a linear layer at every step.

    Arguments: as `Classifier`, without pooling.
    Shapes: x [batch time inputs] or ids [batch time], lengths [batch] -> logits [batch time classes].
    """

    objective: ClassVar[str] = "tagging"

    @taking(LabelOptions)
    def __init__(self, options: LabelOptions):
        super().__init__(options.inputs, options)
        self.head = nn.Linear(self.width, options.classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.head(self.encode(x, lengths))
