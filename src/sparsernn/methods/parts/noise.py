"""Noise of normal posteriors: on weights, on groups by sequence, on the output of a linear layer, on words."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsernn.methods.draw import Change
from sparsernn.running.sequences import Sequences

SMALLEST_VARIANCE = 1e-8


class Normal(NamedTuple):
    """Independent normal variables. [n] or of the shape of a weight."""

    mean: Tensor
    log_sigma: Tensor

    def sample(self, generator: torch.Generator, times: Sequence[int] = ()) -> Tensor:
        """mean + sigma noise. [*times, n]"""
        noise = _noise((*times, *self.mean.shape), self.mean, generator)
        return torch.addcmul(self.mean, self.log_sigma.exp().to(noise.dtype), noise)


def _noise(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)


def of_outputs(sigma: Tensor, generator: torch.Generator) -> Change:
    """Local reparametrisation: noise of the size that the noise of the weights has in the output.

    b ~ N(x mu, x^2 sigma^2 + 1e-8), the standard noise drawn once for each sequence and output and held over time.
    Shapes: sigma [output input].
    """

    def change(inputs: Tensor, output: Tensor, sequences: Sequences) -> Tensor:
        leading = output.shape[:-1]
        noise = _noise((sequences.count(leading), output.shape[-1]), output, generator)
        variance = F.linear(inputs.square(), sigma.square()) + SMALLEST_VARIANCE
        return output + variance.sqrt() * sequences.spread(noise, leading)

    return change


def of_words(variables: Normal, generator: torch.Generator) -> Change:
    """The vector of a word times its variable, drawn once for each sequence and word. variables: one a word."""

    def change(inputs: Tensor, output: Tensor, sequences: Sequences) -> Tensor:
        words = inputs
        count = sequences.count(words.shape)
        numbers = torch.arange(count, device=words.device).unsqueeze(1)
        which = sequences.spread(numbers, words.shape).expand(*words.shape, 1).squeeze(-1)
        pairs, places = torch.unique(which * len(variables.mean) + words, return_inverse=True)
        noise = _noise(pairs.shape, variables.mean, generator)[places]
        factors = torch.addcmul(variables.mean[words], variables.log_sigma.exp()[words], noise)
        return output * factors.unsqueeze(-1).to(output.dtype)

    return change
