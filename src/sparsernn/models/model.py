"""Model: a network for one kind of task."""

import abc
from typing import ClassVar

from torch import nn


class Model(nn.Module, abc.ABC):
    """A module that says what it is trained for.

    Attributes:
        objective: "classification", "tagging", "forecasting" or "language_model".
    """

    objective: ClassVar[str]

    @abc.abstractmethod
    def forward(self, *inputs: object) -> object:
        """From inputs to outputs; each model says in which shapes."""
