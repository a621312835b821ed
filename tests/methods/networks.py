"""Small recurrent networks of a user's own, and the loops that train them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsernn import Masks, Sparsifier
from sparsernn.methods.method import Method

INPUTS, UNITS, CLASSES = 4, 8, 3


class Network(nn.Module):
    """An LSTM of two layers, of whose last hidden state a linear layer makes logits."""

    def __init__(self, units: int = UNITS, layers: int = 2):
        super().__init__()
        self.rnn = nn.LSTM(INPUTS, units, layers, batch_first=True)
        self.head = nn.Linear(units, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[1][0][-1])


def network(seed: int = 0, **options: int) -> Network:
    torch.manual_seed(seed)
    return Network(**options)


def batch(seed: int = 0, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 5, INPUTS, generator=generator), torch.randint(CLASSES, (size,), generator=generator)


def loss_of(model: nn.Module, seed: int = 0) -> Tensor:
    inputs, labels = batch(seed)
    return nn.functional.cross_entropy(model(inputs), labels)


def start(
    method: Method, steps: int, rate: float = 0.05, **options
) -> tuple[Network, torch.optim.Optimizer, Sparsifier]:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    return model, optimizer, Sparsifier(model, method, optimizer, steps=steps, **options)


@contextmanager
def interrupted(module: nn.Module) -> Iterator[None]:
    """Ctrl-C is pressed while this module runs."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    handle = module.register_forward_pre_hook(stop)
    try:
        yield
    finally:
        handle.remove()


def steps_of(sparsifier: Sparsifier, steps: int, first: int = 0) -> Iterator[int]:
    """Train; after every step its number, counted from 1."""
    for number in range(first, first + steps):
        loss = loss_of(sparsifier.model, number) + sparsifier.penalty()
        sparsifier.optimizer.zero_grad()
        loss.backward()
        sparsifier.optimizer.step()
        yield number + 1


def train(sparsifier: Sparsifier, steps: int, first: int = 0) -> None:
    for _ in steps_of(sparsifier, steps, first):
        pass


def absent_are_zero(model: nn.Module, masks: Masks) -> bool:
    return all(bool((model.get_parameter(name)[~kept] == 0).all()) for name, kept in masks.kept.items())


def same_masks(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def same_weights(left: nn.Module, right: nn.Module) -> bool:
    return all(torch.equal(ours, theirs) for ours, theirs in zip(left.parameters(), right.parameters(), strict=True))
