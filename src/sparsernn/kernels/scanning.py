"""Problem of the operation "scan": automata run over all tokens at once."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparsernn.cells.parts.automata import Automata, ScanConstants


@dataclass(frozen=True)
class ScanProblem:
    """The recurrence of one layer of weighted automata over a whole sequence.

    Attributes:
        projected: what the weights make of each token, main paths and then self-loops. [time batch 2*state]
        constants: tensors of what does not depend on the token. [state] each
        start: initial scores. [batch state]
        lengths: after its length a sequence keeps its scores and its output is zero. [batch] or None

    Kernels return outputs [time batch pattern] and final scores [batch state].
    """

    op: ClassVar[str] = "scan"
    automata: Automata
    projected: Tensor
    constants: ScanConstants
    start: Tensor
    lengths: Tensor | None = None
