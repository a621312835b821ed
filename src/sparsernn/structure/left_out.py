"""Recurrent layers whose weights cannot be named, with the reason and the way out."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from sparsernn.structure.neighbour import has_another_forward

KINDS = (nn.RNNBase, nn.RNNCellBase)
NAMES = {"LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"}


class LeftOut(NamedTuple):
    """A recurrent layer that no mask can be laid over.

    Attributes:
        module: the layer.
        path: of it in the model, in words.
        reason: what is the matter with it, to follow its name.
        do: the way out.
    """

    module: nn.Module
    path: str
    reason: str
    do: str


def left_out(model: nn.Module, described: Collection[str]) -> Iterator[LeftOut]:
    """Every recurrent layer of a model that is not among the paths of its known modules."""
    for path, module in model.named_modules():
        if path not in described and (case := _case(module, path)) is not None:
            yield LeftOut(module, path or "the model", *case)


def _case(module: nn.Module, path: str) -> tuple[str, str] | None:
    """Why a layer is unknown, and what to do; None where it is no recurrent layer."""
    place = f"model.{path}" if path else "model"
    if isinstance(module, torch.jit.ScriptModule):
        scripted = getattr(module, "original_name", "") in NAMES
        return ("is scripted", "pass the model as it was before torch.jit.script") if scripted else None
    if type(module).__name__ in NAMES and "quantized" in type(module).__module__:
        return "is quantised", "pass the model as it was before it was quantised"
    if not isinstance(module, KINDS):
        return None
    if parametrize.is_parametrized(module):
        names = [name for name, _ in module.get_submodule("parametrizations").named_children()]
        calls = [f"torch.nn.utils.parametrize.remove_parametrizations({place}, {name!r})" for name in names]
        return f"computes its {' and '.join(names)} by a parametrization", f"call {' and '.join(calls)} first"
    for name, _ in module.named_parameters(recurse=False):
        plain = name.rpartition("_")[0]
        if name.endswith("_orig"):
            return f"has its {plain} from torch.nn.utils.prune", f"call torch.nn.utils.prune.remove({place}, {plain!r})"
        if name.endswith("_g"):
            remove = f"call torch.nn.utils.remove_weight_norm({place}, {plain!r}) first"
            return f"computes its {plain} by weight normalisation", remove
    parameters = dict(module.named_parameters(recurse=False))
    names = getattr(module, "_flat_weights_names", ("weight_ih", "weight_hh"))
    if missing := [name for name in names if name not in parameters]:
        put = f"let {place} hold it as a parameter, and change a copy of it in the forward of a class of its own"
        return f"has no parameter {missing[0]}, which somebody puts in its place anew", put
    if has_another_forward(module):
        return "runs a forward that was put into it", f"take {place}.forward off, and do what it does around the layer"
    kind = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules"))
    return (
        f"is of {type(module).__name__}, a subclass with a forward of its own",
        f"write behaves_as = torch.nn.{kind.__name__} into that class if its forward uses the weights as that one does",
    )
