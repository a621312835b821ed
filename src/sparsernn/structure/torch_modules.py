"""Layouts and steps of torch's own modules, so that a user's model is first-class as it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part, Producer, describe_layers
from sparsernn.structure.layer import Recurrence, State, Weights

LEVELS = {"neuron": "hidden", "gate": "gate hidden <-", "input": "input"}
PLAIN_AXES = {
    "weight_ih": "gate hidden <- input",
    "weight_hh": "gate hidden <- hidden",
    "bias_ih": "gate hidden",
    "bias_hh": "gate hidden",
}
RESET_AFTER = (("candidate", "bias_hh", "reset"),)
PROJECTED_AXES = PLAIN_AXES | {"weight_hh": "gate hidden <- projection", "weight_hr": "projection <- hidden"}


def lstm_advance(
    weights: Weights,
    projected: Tensor,
    state: State,
    squash: Callable[[Tensor], Tensor] = torch.sigmoid,
    activation: Callable[[Tensor], Tensor] = torch.tanh,
) -> State:
    """c' = f c + i g, h' = o tanh(c'); gates input, forget, candidate, output (Hochreiter & Schmidhuber 1997)."""
    hidden, memory = state
    gates = projected + F.linear(hidden, weights["weight_hh"], weights.get("bias_hh"))
    i, f, g, o = gates.chunk(4, -1)
    memory = squash(f) * memory + squash(i) * activation(g)
    hidden = squash(o) * activation(memory)
    if "weight_hr" in weights:
        hidden = F.linear(hidden, weights["weight_hr"])
    return hidden, memory


def gru_advance(
    weights: Weights,
    projected: Tensor,
    state: State,
    squash: Callable[[Tensor], Tensor] = torch.sigmoid,
    activation: Callable[[Tensor], Tensor] = torch.tanh,
) -> State:
    """h' = (1 - z) n + z h, n = tanh(W_n x + b_in + r (U_n h + b_hn)); gates reset, update, candidate (torch)."""
    (hidden,) = state
    r, z, n = projected.chunk(3, -1)
    u_r, u_z, u_n = F.linear(hidden, weights["weight_hh"], weights.get("bias_hh")).chunk(3, -1)
    update = squash(z + u_z)
    candidate = activation(n + squash(r + u_r) * u_n)
    return ((1 - update) * candidate + update * hidden,)


def rnn_advance(
    weights: Weights, projected: Tensor, state: State, activation: Callable[[Tensor], Tensor] = torch.tanh
) -> State:
    """h' = tanh(W x + U h + b) (Elman 1990)."""
    (hidden,) = state
    return (activation(projected + F.linear(hidden, weights["weight_hh"], weights.get("bias_hh"))),)


def relu_advance(weights: Weights, projected: Tensor, state: State) -> State:
    """h' = max(0, W x + U h + b)."""
    return rnn_advance(weights, projected, state, torch.relu)


LSTM = Recurrence(
    ("input", "forget", "candidate", "output"), ("hidden", "memory"), PLAIN_AXES, LEVELS, "candidate", lstm_advance
)
PROJECTED_LSTM = Recurrence(
    LSTM.gates, LSTM.states, PROJECTED_AXES, LEVELS | {"projection": "projection"}, "candidate", lstm_advance
)
GRU = Recurrence(
    ("reset", "update", "candidate"), ("hidden",), PLAIN_AXES, LEVELS, "candidate", gru_advance, modulated=RESET_AFTER
)
TANH_RNN = Recurrence(("candidate",), ("hidden",), PLAIN_AXES, LEVELS, "candidate", rnn_advance)
RELU_RNN = Recurrence(("candidate",), ("hidden",), PLAIN_AXES, LEVELS, "candidate", relu_advance)


def describe(module: nn.Module) -> Description | None:
    """The module in names, or None where it is unknown (its weights are then left alone).

    A module of one's own declares itself with a method ``describe() -> Description``; a subclass of a torch
    module whose forward reads the same weights in the same way says so with ``behaves_as = nn.Embedding``.
    """
    if callable(declared := getattr(module, "describe", None)):
        found = declared()
        return found if isinstance(found, Description) else None
    for kind, describer in _DESCRIBERS.items():
        if isinstance(module, kind) and (
            type(module).forward is kind.forward or getattr(module, "behaves_as", None) is kind
        ):
            found, own = describer(module), dict(module.named_parameters(remove_duplicate=False))
            return found if found is not None and all(part.name in own for part in found.parts) else None
    return None


def kind_of(module: nn.Module) -> Recurrence:
    """The declaration of one layer of a torch recurrent module."""
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return PROJECTED_LSTM if getattr(module, "proj_size", 0) else LSTM
    if isinstance(module, nn.GRU | nn.GRUCell):
        return GRU
    return TANH_RNN if module.nonlinearity == "tanh" else RELU_RNN


def weight_names(layers: int, directions: int, locals_: list[str]) -> list[dict[str, str]]:
    """torch's parameter names, layer by layer, the reverse direction second."""
    suffixes = [
        f"_l{layer}" + ("_reverse" if direction else "") for layer in range(layers) for direction in range(directions)
    ]
    return [{local: local + suffix for local in locals_} for suffix in suffixes]


def _describe_stack(module: nn.RNNBase) -> Description:
    kind, directions = kind_of(module), 1 + module.bidirectional
    locals_ = [local for local in kind.axes if module.bias or "bias" not in local]
    positions = module.num_layers * directions
    projection = (
        {f"projection_{position}": module.proj_size for position in range(positions)} if module.proj_size else None
    )
    return describe_layers(
        kind,
        input_size=module.input_size,
        widths=[module.hidden_size] * positions,
        directions=directions,
        names=weight_names(module.num_layers, directions, locals_),
        outputs=projection,
        state_axes=("projection", "hidden") if module.proj_size else (),
    )


def _describe_cell(module: nn.RNNCellBase) -> Description:
    kind = kind_of(module)
    names = [{local: local for local in kind.axes if module.bias or "bias" not in local}]
    return describe_layers(kind, input_size=module.input_size, widths=[module.hidden_size], directions=1, names=names)


def _describe_linear(module: nn.Linear) -> Description:
    parts = [Part("weight", Layout.parse("output <- input"), {"output": ("output",), "input": ("input",)})]
    if module.bias is not None:
        parts.append(Part("bias", Layout.parse("output"), {"output": ("output",)}))
    producer = Producer("output", tuple((part.name, None) for part in parts), recurrent=False)
    return Description(
        {"input": module.in_features, "output": module.out_features},
        tuple(parts),
        (producer,),
        ("input",),
        ("output",),
        levels={"neuron": "output", "input": "input"},
    )


def _describe_embedding(module: nn.Embedding) -> Description | None:
    if module.max_norm is not None:
        return None
    part = Part("weight", Layout.parse("word -> unit"), {"word": ("word",), "unit": ("unit",)})
    return Description(
        {"word": module.num_embeddings, "unit": module.embedding_dim},
        (part,),
        (Producer("unit", (("weight", None),), recurrent=False),),
        (),
        ("unit",),
        levels={"word": "word", "neuron": "unit"},
    )


def _describe_norm(module: nn.LayerNorm) -> Description | None:
    if len(module.normalized_shape) != 1:
        return None
    parts = tuple(
        Part(name, Layout.parse("unit"), {"unit": ("unit",)}) for name, weight in module.named_parameters(recurse=False)
    )
    return Description(
        {"unit": module.normalized_shape[0]},
        parts,
        (),
        ("unit",),
        ("unit",),
        mixes="a LayerNorm takes the mean over all units",
    )


_DESCRIBERS: dict[type[nn.Module], Callable[..., Description | None]] = {
    nn.LSTM: _describe_stack,
    nn.GRU: _describe_stack,
    nn.RNN: _describe_stack,
    nn.LSTMCell: _describe_cell,
    nn.GRUCell: _describe_cell,
    nn.RNNCell: _describe_cell,
    nn.Linear: _describe_linear,
    nn.Embedding: _describe_embedding,
    nn.LayerNorm: _describe_norm,
}
