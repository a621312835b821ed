"""Predictions of a network whose weights are random: their mean, their spread, and how far they can be trusted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.structure.budget import check_fraction
from sparsernn.structure.modes import modes_kept
from sparsernn.structure.wiring import unwrap
from sparsernn.typed import is_of


class HasModel(Protocol):
    """Whatever trains a model, such as a `Sparsifier`."""

    @property
    def model(self) -> nn.Module: ...


@dataclass(frozen=True)
class Predictions:
    """What a network said each time it was asked. samples: [time asked, batch ..]"""

    samples: Tensor

    @property
    def mean(self) -> Tensor:
        """The prediction. [batch ..]"""
        return self.samples.mean(0)

    def interval(self, share: float = 0.9) -> tuple[Tensor, Tensor]:
        """Between which two numbers this share of the samples lies, as many below as above. [batch ..] each"""
        check_fraction(share, "share")
        ends = torch.tensor([(1 - share) / 2, (1 + share) / 2], dtype=self.samples.dtype, device=self.samples.device)
        low, high = self.samples.quantile(ends, 0)
        return low, high


def predict_distribution(
    network: nn.Module | HasModel,
    *inputs: Any,
    samples: int = 20,
    of: Callable[[Any], Tensor] = lambda output: output,
    dropout: bool = False,
) -> Predictions:
    """Ask a network several times, each time with other random weights, as its forwards in training have them.

    A network without random weights gives the same every time. Modes are as before afterwards.

    Arguments:
        network: a model, or the `Sparsifier` that draws its weights.
        inputs: of the model.
        of: makes what is wanted of the model's output: ``lambda logits: logits.softmax(-1)``.
        dropout: whether the model's own dropout is random too.
    Raises: UserError for fewer than two samples.
    """
    if not is_of(samples, int) or samples < 2:
        raise UserError(f"samples is {samples!r}", "a whole number of at least 2", "pass samples=20, for example")
    model = unwrap(network if isinstance(network, nn.Module) else network.model)
    with modes_kept(model), torch.enable_grad():  # weights are drawn for a forward that can be differentiated
        model.train(dropout)
        model.training = True
        return Predictions(torch.stack([of(model(*inputs)).detach() for _ in range(samples)]))


class Bin(NamedTuple):
    """Predictions of about the same confidence: how many, how confident, and how many of them right."""

    count: int
    confidence: float
    accuracy: float


class Calibration(NamedTuple):
    """The mean distance of confidence and accuracy, and both in each bin that is not empty."""

    error: float
    bins: list[Bin]


def calibration(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Calibration:
    """Expected calibration error: sum over bins of n_b / n |accuracy_b - confidence_b|.

    Confidence is the largest probability; bins are equally wide.

    Shapes: probabilities [n class], labels [n].
    Raises: UserError for shapes that do not fit, or numbers that are no probabilities.
    Source: Guo et al. 2017, equation 3.
    """
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise UserError(
            f"probabilities of shape {list(probabilities.shape)} and labels of shape {list(labels.shape)}",
            "[n class] and [n]",
            "pass one row of probabilities for each label",
        )
    if bool((probabilities < 0).any()) or bool(((probabilities.sum(1) - 1).abs() > 1e-3).any()):
        raise UserError("a row is no distribution", "probabilities that add up to 1", "pass logits.softmax(-1)")
    confidence, guess = probabilities.double().max(1)
    right, number = (guess == labels).double(), (confidence * bins).ceil().clamp(1, bins).long() - 1
    filled = []
    for place in number.unique().tolist():
        here = number == place
        filled.append(Bin(int(here.sum()), float(confidence[here].mean()), float(right[here].mean())))
    error = sum(one.count * abs(one.accuracy - one.confidence) for one in filled) / len(labels)
    return Calibration(error, filled)
