"""Running text whose next token is predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sparsernn.data.task import Split
from sparsernn.experiments.compacted import COMPACT, read_final
from sparsernn.own_data.kinds.kind import Choice, File, Kind
from sparsernn.own_data.scored import Scored
from sparsernn.own_data.verdict import Answers
from sparsernn.training.objectives import detached

UNIT = 200  # tokens that are taken together


class LanguageModel(Kind):
    """Frequencies of words, and a network of two layers."""

    about = "frequencies of words"
    choice = Choice("language_model", 200, 40, 6000, {"layers": 2, "dropout": 0.2})
    valid_batch_size, test_batch_size = 10, 1

    def batch_size(self, file: File) -> int:
        return 20

    def baselines(self, file: File) -> list[Scored]:
        counts = np.ones(file.loaded.outputs)
        for batch in file.loaded.train.batches(20):
            counts += np.bincount(batch.targets.flatten().numpy(), minlength=file.loaded.outputs)
        scores = np.log(counts / counts.sum())[tokens_of(file.loaded.test)]
        return [Scored("majority", self.about, scores), Scored("baseline", self.about, scores)]

    def answers(self, file: File) -> Answers:
        tokens = tokens_of(file.loaded.test)
        return Answers("perplexity", tokens, units=np.arange(len(tokens)) // UNIT)

    def trained(self, file: File, name: str, folder: Path) -> Scored:
        scores = np.concatenate(list(log_probabilities(read_final(folder).eval(), file.loaded.test)))
        return Scored(name, f"the {name.replace('_', ' ')} network", scores, (folder / COMPACT).stat().st_size)

    def packed(self, file: File, folder: Path, out: Path) -> Scored:
        return self.trained(file, "sparse", folder)


def tokens_of(split: Split) -> np.ndarray:
    """The tokens that are predicted, in their order."""
    return np.concatenate([batch.targets.flatten().numpy() for batch in split.batches(1)])


@torch.inference_mode()
def log_probabilities(network: torch.nn.Module, split: Split) -> Iterator[np.ndarray]:
    """The logarithm of the probability of every token, read as one stream."""
    state = None
    for batch in split.batches(1):
        logits, state = network(batch.inputs, state)
        state = detached(state)
        yield logits.log_softmax(-1).gather(-1, batch.targets[..., None]).flatten().numpy()


KIND = LanguageModel()
