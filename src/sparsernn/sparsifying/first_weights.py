"""Weights before the first masks, as long as they may have been trained ones that are to be trained on."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class FirstWeights:
    """What the first masks zero or rescale, so that it can come back.

    A model may be loaded before its `Sparsifier` is made, and the state of the `Sparsifier` afterwards: then the first
    masks, which have nothing to do with that state, have done harm. From the first step or forward of training on
    nothing is remembered.

    Attributes:
        before: name -> values before the first masks.
        rescaled: name -> values after them, where more than zeros was written.
        forgotten: whether training has begun.
    """

    def __init__(self) -> None:
        self.before: dict[str, Tensor] = {}
        self.rescaled: dict[str, Tensor] = {}
        self.forgotten = False

    def remember(self, name: str, parameter: nn.Parameter) -> None:
        """A weight that masks are about to be written into."""
        if name not in self.before:
            self.before[name] = parameter.detach().clone()

    def compare(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """The first masks are done."""
        for name, before in self.before.items():
            parameter = model.get_parameter(name)
            if not torch.equal(parameter, before.masked_fill(~masks[name], 0)):
                self.rescaled[name] = parameter.detach().clone()

    @torch.no_grad()
    def bring_back(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Undo what was done to weights that are still as the first masks left them."""
        for name, before in self.before.items():
            parameter = model.get_parameter(name)
            left = self.rescaled[name] if name in self.rescaled else before.masked_fill(~masks[name], 0)
            if torch.equal(parameter, left):
                parameter.copy_(before)
        self.forget()

    def forget(self) -> None:
        """Training has begun."""
        self.before, self.rescaled, self.forgotten = {}, {}, True
