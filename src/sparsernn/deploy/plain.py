"""A copy of a model that computes nothing but its forward: weights are what the model makes of them."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from sparsernn.errors import UserError
from sparsernn.structure.wiring import unwrap
from sparsernn.tracing.copying import copy_of

REMOVING: dict[type, tuple[str, Callable[..., object]]] = {
    WeightNorm: ("name", remove_weight_norm),
    SpectralNorm: ("name", remove_spectral_norm),
    prune.BasePruningMethod: ("_tensor_name", prune.remove),
}
"""Hooks that compute a weight before each forward, what names it, and what puts the weight in its place."""


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without parametrizations and hooks that compute weights.

    Raises: UserError for a model that cannot be copied, or is a script.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise UserError("the model is a script of torch.jit", "a model of torch", "pass the model that it was made of")
    network = copy_of(unwrap(model)).eval()
    for module in network.modules():
        if parametrize.is_parametrized(module):
            _settle(module)
        for hook in list(module._forward_pre_hooks.values()):
            for kind, (attribute, remove) in REMOVING.items():
                if isinstance(hook, kind):
                    remove(module, getattr(hook, attribute))
    return network


def _settle(module: nn.Module) -> None:
    """Parameters in place of parametrizations; the class made for these is also the original's, and stays as it is."""
    names = [name for name, _ in module.get_submodule("parametrizations").named_children()]
    values = {name: getattr(module, name).detach().clone() for name in names}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, value in values.items():
        setattr(module, name, nn.Parameter(value))
