"""How much gradient of a loss at the last step reaches the states before it, by lag and by kind of unit."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sparsernn.measure.gradient_flow import Loss, state_gradients
from sparsernn.structure.layer import Layer
from sparsernn.structure.wiring import Wiring, unwrap

Kinds = Mapping[str, Mapping[str, Sequence[int]]]  # layer -> name of a kind -> its units


def gradient_by_lag(
    model: nn.Module, loss: Loss, kinds: Kinds | None = None, lengths: Tensor | None = None
) -> dict[str, dict[str, object]]:
    """The norm of d loss / d h_(T - lag) for every lag, over all sequences: of all units and of each kind of units.

    The gradient counts every way from a state to the loss, through later states too. Layers are run step by step.

    Arguments:
        loss: a zero-argument callable that returns the loss at the last step, on one batch; each recurrent module runs
            once in it.
        kinds: by the layer's label, as of `GateMap.kinds`.
        lengths: of each sequence, where they are padded on the right; T is then each one's own last step. [batch]
    Returns: the layer's label -> {"all": [one norm a lag, from lag 0 on], "kinds": name -> the same}. JSON values.
    Raises: UserError as `gradient_over_time`.
    Source: Lobacheva et al. 2020, Figure 5.
    """
    labels = {_name_of(layer): layer.label for layer in Wiring.local(unwrap(model)).layers}
    measured: dict[str, dict[str, object]] = {}
    for name, gradients in state_gradients(model, loss).items():
        by_lag = _by_lag(torch.stack(gradients), lengths)
        label = labels.get(name, name)
        of_kinds = {kind: _norms(by_lag[:, :, list(units)]) for kind, units in (kinds or {}).get(label, {}).items()}
        measured[label] = {"all": _norms(by_lag), "kinds": of_kinds}
    return measured


def _name_of(layer: Layer) -> str:
    """What `Watcher` calls a layer: "cell l0_reverse"."""
    suffix = next(iter(layer.weights.values())).rpartition("_l")[2]
    return f"{layer.module} l{suffix}".strip()


def _by_lag(gradients: Tensor, lengths: Tensor | None) -> Tensor:
    """Time turned round from each sequence's last step on; 0 before its first. Shapes: [time batch unit], the same."""
    if lengths is None:
        return gradients.flip(0)
    places = lengths.to(gradients.device) - 1 - torch.arange(len(gradients), device=gradients.device)[:, None]
    gathered = gradients.gather(0, places.clamp_min(0)[..., None].expand_as(gradients))
    return torch.where(places[..., None] >= 0, gathered, 0)


def _norms(by_lag: Tensor) -> list[float]:
    return by_lag.flatten(1).norm(dim=1).tolist()
