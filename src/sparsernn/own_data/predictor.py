"""What predicts: a network, and how a file becomes its input."""

from pathlib import Path
from typing import Protocol

import numpy as np

from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.errors import UserError


class Predictor(Protocol):
    """A network, and how a file becomes its input."""

    @property
    def preparation(self) -> Preparation: ...

    def run(self, inputs: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        """Outputs of examples of one length, or padded to it. [batch ...]"""

    def loss(self, encoded: Encoded) -> float:
        """Mean negative log-likelihood of the tokens of a running text but the first, in nats."""


def check_sizes(preparation: Preparation, inputs: int, outputs: int, folder: Path) -> None:
    """Raises: UserError if a preparation is not that of a network with such inputs and outputs."""
    words = len(encoder_from_json(preparation.tokenizer).words) if preparation.tokenizer else 0
    sizes = words or preparation.inputs, preparation.outputs or words
    if sizes != (inputs, outputs):
        raise UserError(
            f"The preparation of {folder} is for {sizes[0]} inputs and {sizes[1]} outputs, its network for {inputs}"
            f" and {outputs}",
            "both as one training left them",
            "use another copy of the run",
        )
