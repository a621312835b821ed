"""What one forward of a model computes with in the place of the model's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from sparsernn.running.scaling import SequenceFactors
from sparsernn.running.sequences import Sequences


class Change(Protocol):
    """What becomes of the output of one module."""

    def __call__(self, inputs: Tensor, output: Tensor, sequences: Sequences) -> Tensor: ...


@dataclass(frozen=True)
class Draw:
    """Weights, factors and outputs of one forward, differentiable.

    Attributes:
        weights: by name, in the place of parameters.
        factors: of each sequence, around the products of recurrent layers.
        outputs: name of a module -> what becomes of its output.
    """

    weights: Mapping[str, Tensor] = field(default_factory=dict)
    factors: Sequence[SequenceFactors] = ()
    outputs: Mapping[str, Change] = field(default_factory=dict)
