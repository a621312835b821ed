"""Selection of the tensors in which groups start."""

import warnings
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from weakref import WeakSet

from torch import nn

from sparsernn.errors import UserError
from sparsernn.structure.left_out import LeftOut, left_out
from sparsernn.structure.wiring import Wiring, unwrap

SAID: WeakSet[nn.Module] = WeakSet()  # layers about which a user was warned

Where = str | Sequence[str] | Callable[[str], bool] | tuple[type[nn.Module], str] | None


def select(wiring: Wiring, model: nn.Module, where: Where) -> list[str]:
    """Names of the tensors in which groups start; by default the weight matrices of recurrent layers.

    Arguments:
        where: a glob, several, a predicate on names, or (module type, suffix).
    Recurrent layers that the default leaves out are warned about.

    Raises: UserError if nothing matches.
    """
    candidates = [name for name, weight in wiring.weights.items() if weight.layout.incoming]
    matches, others = _predicate(wiring, model, where), []
    if where is None:
        others = list(left_out(unwrap(model), wiring.descriptions))
    selected = [name for name in candidates if matches(name)]
    if selected:
        for layer in others:
            _say_once(layer)
        return selected
    if others:
        raise UserError(
            "the model has recurrent layers, but " + ", and ".join(f"{layer.path} {layer.reason}" for layer in others),
            "at least one whose weights are parameters of a forward that is known",
            others[0].do,
        )
    raise UserError(
        f"the selection {where!r} matches no weight" if where is not None else "the model has no recurrent layer",
        "a selection of at least one of these weights: "
        + (", ".join(candidates) or "none: the model has no RNN, LSTM, GRU, Linear or Embedding"),
        "pass where= with one of these names or a glob such as 'lstm.weight_*'",
    )


def _say_once(layer: LeftOut) -> None:
    if layer.module not in SAID:
        SAID.add(layer.module)
        warnings.warn(f"{layer.path} keeps all of its weights, because it {layer.reason}: {layer.do}", stacklevel=5)


def _predicate(wiring: Wiring, model: nn.Module, where: Where) -> Callable[[str], bool]:
    """Whether a weight of this name is selected."""
    match where:
        case None:
            recurrent = {name for layer in wiring.layers for name in layer.weights.values()}
            return recurrent.__contains__
        case (type() as kind, str() as suffix):
            return lambda name: (
                isinstance(unwrap(model).get_submodule(wiring.weights[name].module), kind)
                and name.rpartition(".")[2].startswith(suffix)
            )
        case str():
            return lambda name: fnmatch(name, where)
        case Sequence() if all(isinstance(pattern, str) for pattern in where):
            return lambda name: any(fnmatch(name, pattern) for pattern in where)
        case _ if callable(where) and not isinstance(where, nn.Module):
            return where
    raise UserError(
        f"where is a {type(where).__name__}",
        "a name or glob, several, a function of a name, (module type, suffix), or Masks",
        "pass names, as model.named_parameters() gives them",
    )
