"""Modes that are as before after a block: training or evaluation of modules, and whether compiled code runs."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

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


def eagerly() -> AbstractContextManager[object]:
    """Inside, what torch.compile has compiled runs as it is written."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
