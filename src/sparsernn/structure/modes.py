"""Modes that are as before after a block: training or evaluation of modules, and whether compiled code runs."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock

import torch
from torch import nn


@contextmanager
def modes_kept(*models: nn.Module) -> Iterator[None]:
    """Afterwards every module of the models is in the mode it was in before."""
    modes = {module: module.training for model in models for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


class Eagerness(AbstractContextManager[None]):
    """The stance of torch.compile, which all threads share: the first block sets it, and the last one puts it back."""

    def __init__(self) -> None:
        self.lock, self.blocks = Lock(), 0
        self.stance: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        with self.lock:
            if self.stance is None and "torch._dynamo" in sys.modules:
                self.stance = torch.compiler.set_stance("force_eager")
            self.blocks += 1

    def __exit__(self, *details: object) -> None:
        with self.lock:
            self.blocks -= 1
            if not self.blocks and self.stance is not None:
                self.stance.__exit__(None, None, None)
                self.stance = None


EAGERNESS = Eagerness()


def eagerly() -> AbstractContextManager[None]:
    """Inside, what torch.compile has compiled runs as it is written."""
    return EAGERNESS
