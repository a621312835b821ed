"""The network of a run folder as torch runs it, for predictions."""

from pathlib import Path

import numpy as np
import torch

from sparsernn.data.preparation import Encoded
from sparsernn.denormals import set_flush_denormal
from sparsernn.experiments.trained import described, final_of
from sparsernn.own_data.predictor import check_sizes
from sparsernn.own_data.runs import read_preparation
from sparsernn.training import objectives


class TrainedRun:
    """A finished run's network.

    Raises: UserError for a folder that is none.
    """

    def __init__(self, folder: Path):
        set_flush_denormal()
        self.preparation, (row, data) = read_preparation(folder), described(folder)
        check_sizes(self.preparation, data["inputs"], data["outputs"], folder)
        self.network = final_of(folder, row, data).eval()

    @torch.inference_mode()
    def run(self, inputs: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        arguments = [torch.from_numpy(one) for one in (inputs, lengths) if one is not None]
        return self.network(*arguments).numpy()

    def loss(self, encoded: Encoded) -> float:
        return objectives.evaluate(self.network, encoded.split, "language_model", 1)["loss"]
