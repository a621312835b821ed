"""A label for every step."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.models.constructor import taking
from sparsernn.models.encoder import Encoder, LabelOptions


@dataclass(frozen=True)
class TaggerOptions(LabelOptions):
    """Arguments of a tagger."""

    at_once: int = 1


class Tagger(Encoder):
    """(Embedding,) recurrent layers, a linear layer at every step.

    Arguments: as `Classifier`, without pooling; at_once: labels that are told at every step, where one step of the
        network stands for several of a series.
    Shapes: x [batch time inputs] or ids [batch time], lengths [batch] -> logits [batch time classes], or of several
        labels at once [batch time at_once classes].
    Raises: UserError for fewer labels at once than one.
    """

    objective: ClassVar[str] = "tagging"

    @taking(TaggerOptions)
    def __init__(self, options: TaggerOptions):
        if options.at_once < 1:
            raise UserError(f"at_once is {options.at_once}", "a whole number of at least 1", "1 is usual")
        super().__init__(options.inputs, options)
        self.at_once = options.at_once
        self.head = nn.Linear(self.width, options.classes * options.at_once)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        logits = self.head(self.encode(x, lengths))
        return logits if self.at_once == 1 else logits.unflatten(-1, (self.at_once, -1))
