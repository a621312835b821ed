"""The network in the one file that a training leaves, for predictions without torch."""

from pathlib import Path

import numpy as np

from sparsernn import runtime
from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.grams import GramEncoder
from sparsernn.data.preparation import Encoded, Preparation
from sparsernn.errors import UserError
from sparsernn.own_data.predictor import check_sizes
from sparsernn.reading import parsed, readable
from sparsernn.runtime.grams import VALUE, GramNetwork


class PackedNetwork:
    """A network in one file, without torch.

    Raises: UserError for another file, or one whose parts do not belong together.
    """

    def __init__(self, path: Path):
        self.artifact = runtime.load_any(path)
        if not self.artifact.preparation:
            raise UserError(
                f"{path} does not say how a file becomes its input",
                "a network that `sparsernn train` made",
                "pack a run that `sparsernn train` left, or give the run's folder",
            )
        with readable(path, expected="a network that `sparsernn train` made", do="pack the run again"):
            self.preparation = Preparation.from_json(parsed(self.artifact.preparation))
        if isinstance(self.artifact, GramNetwork):
            encoder = encoder_from_json(self.preparation.tokenizer)
            labels = self.preparation.labels or (VALUE,)
            if self.artifact.labels != labels or not isinstance(encoder, GramEncoder):
                raise UserError(
                    f"The preparation of {path} is not that of its network",
                    "both as one training left them",
                    "use another copy of the file",
                )
            return
        spec = self.artifact.spec
        words = spec.embedding if spec.rows is None else spec.rows
        inputs = self.artifact.inputs if words is None else len(words)
        check_sizes(self.preparation, inputs, self.artifact.outputs, path)

    def run(self, inputs: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        return self.artifact.run(inputs, lengths)

    def loss(self, encoded: Encoded) -> float:
        if isinstance(self.artifact, GramNetwork):
            raise TypeError("a network of n-grams predicts no running text")
        return -float(self.artifact.log_probabilities(encoded.values).mean())
