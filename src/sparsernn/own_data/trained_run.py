"""The network of a run folder as torch runs it, for predictions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sparsernn.data.splits import TextSplit
from sparsernn.data.task import Split
from sparsernn.denormals import set_flush_denormal
from sparsernn.experiments.compacted import read_final
from sparsernn.experiments.trained import described
from sparsernn.own_data.predictor import check_sizes
from sparsernn.own_data.runs import read_preparation

STEPS = 35  # read at a time


class TrainedRun:
    """A finished run's network.

    Raises: UserError for a folder that is none.
    """

    def __init__(self, folder: Path):
        set_flush_denormal()
        self.preparation, (_, data) = read_preparation(folder), described(folder)
        check_sizes(self.preparation, data["inputs"], data["outputs"], folder)
        self.network = read_final(folder).eval()

    @torch.inference_mode()
    def run(self, inputs: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        arguments = [torch.from_numpy(one) for one in (inputs, lengths) if one is not None]
        return self.network(*arguments).numpy()

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        return np.concatenate(
            list(log_probabilities(self.network, TextSplit(tokens, self.preparation.length or STEPS)))
        )


@torch.inference_mode()
def log_probabilities(network: torch.nn.Module, split: Split) -> Iterator[np.ndarray]:
    """A language model's logarithm of the probability of every token, read as one stream."""
    state = None
    for batch in split.batches(1):
        logits, state = network(batch.inputs, state)
        yield logits.log_softmax(-1).gather(-1, batch.targets[..., None]).flatten().numpy()
