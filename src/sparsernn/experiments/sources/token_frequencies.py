"""A row whose language model begins with the frequencies of its tokens."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sparsernn.data.splits import TextSplit
from sparsernn.errors import UserError
from sparsernn.experiments.rows import Prepared, Runs, Source


@dataclass(frozen=True)
class TokenFrequencies(Source):
    """Begin the biases of the output layer with the logarithms of the frequencies in the training text."""

    decides = "first output biases"

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        head, split = getattr(prepared.network, "head", None), prepared.loaded.train
        if not isinstance(head, nn.Linear) or not isinstance(split, TextSplit):
            raise UserError(
                f"row {prepared.row.name!r} reads no running text or has no output layer",
                "a language model on one text",
                "leave this source out",
            )
        counts = np.bincount(np.asarray(split.tokens), minlength=head.out_features) + 0.5
        with torch.no_grad():
            head.bias.copy_(torch.from_numpy(np.log(counts) - np.log(counts).mean()))
        return prepared
