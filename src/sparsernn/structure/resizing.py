"""One module with fewer units: which of its units stay, and the same module built from what is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description
from sparsernn.structure.stacked import NarrowStates, Stacked, WidenStates
from sparsernn.structure.torch_modules import describe, weight_names
from sparsernn.structure.wiring import Wiring


@dataclass(frozen=True)
class Cut:
    """What stays of one module.

    Attributes:
        kept: axis key -> indices of the units that stay.
        sizes: axis key -> number of units before.
        narrow: initial states of the old width may come in.
        widen: states go out in the old width.
        renamed: parameter name before -> after, where layers became modules of their own.
    """

    kept: dict[str, Tensor]
    sizes: dict[str, int]
    narrow: bool = False
    widen: bool = False
    parts: dict[str, list[Tensor | None]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, wiring: Wiring, path: str, alive: Tensor) -> Cut:
        description, axes = wiring.descriptions[path], wiring.axes[path]
        kept = {key: alive[units].nonzero().squeeze(1) for key, units in axes.items()}
        return cls(kept, dict(description.sizes), path in wiring.fed, path in wiring.handed_out)

    @property
    def changes(self) -> bool:
        return any(len(kept) != self.sizes[key] for key, kept in self.kept.items())

    def select(self, local: str, tensor: Tensor) -> Tensor:
        """The surviving part of a parameter of the old module, or of a mask of it."""
        layout, indices = self.layouts[local]
        named = layout.view(tensor)
        for place, index in enumerate(indices):
            if index is not None:
                named = named.index_select(place, index.to(named.device))
        return layout.stack(named).contiguous() if tensor.dim() < len(layout.stored) else named.contiguous()

    @property
    def layouts(self) -> dict[str, tuple[Layout, list[Tensor | None]]]:
        return self._layouts  # type: ignore[attr-defined]

    def attach(self, description: Description) -> None:
        """Learn the module's parts, so that its tensors can be cut."""
        layouts = {}
        for part in description.parts:
            indices: list[Tensor | None] = []
            for axis in part.layout.stored:
                indices.append(None if axis == "gate" else self._indices(part.axes[axis]))
            layouts[part.name] = (part.layout, indices)
        object.__setattr__(self, "_layouts", layouts)

    def _indices(self, keys: tuple[str, ...]) -> Tensor:
        starts = torch.tensor([0, *(self.sizes[key] for key in keys)]).cumsum(0).tolist()
        return torch.cat([self.kept[key] + start for key, start in zip(keys, starts, strict=False)])

    def as_json(self) -> dict[str, Any]:
        return {"kept": {key: kept.tolist() for key, kept in self.kept.items()}, "sizes": self.sizes,
                "narrow": self.narrow, "widen": self.widen}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Cut:
        kept = {str(key): torch.tensor([int(unit) for unit in units], dtype=torch.long) for key, units in saved["kept"].items()}
        return cls(kept, {str(key): int(size) for key, size in saved["sizes"].items()}, bool(saved["narrow"]), bool(saved["widen"]))


def equalise(wiring: Wiring, alive: Tensor, paths: list[str]) -> Tensor:
    """Bring dead units back until all layers and directions of each named module are equally wide."""
    alive = alive.clone()
    while True:
        before = alive.clone()
        for path in paths:
            for keys in wiring.descriptions[path].states:
                rows = [wiring.axes[path][key] for key in keys]
                width = max(int(alive[row].sum()) for row in rows)
                for row in rows:
                    alive[row[~alive[row]][:max(0, width - int(alive[row].sum()))]] = True
        if torch.equal(alive, before):
            return alive


def resize(module: nn.Module, cut: Cut, shared: dict[int, nn.Parameter]) -> tuple[nn.Module, dict[str, str]]:
    """The module with the units of `cut`, and how its parameters were renamed.

    Arguments:
        shared: id of an old parameter -> its replacement, so that tied weights stay tied.
    """
    description = describe(module)
    if description is None or description.sizes != cut.sizes:
        raise ValueError(f"{type(module).__name__} has other sizes than those that were cut")
    cut.attach(description)
    tensors = {part.name: _new(module.get_parameter(part.name), part.name, cut, shared) for part in description.parts}
    if hasattr(module, "resized"):
        return module.resized(cut, tensors), {}
    if isinstance(module, nn.RNNBase) and len({len(cut.kept[key]) for key in description.states[-1]}
                                              | {len(cut.kept[key]) for key in description.states[0]}) > (2 if module.proj_size else 1):
        small, renamed = _stack(module, description, tensors)
        cut.renamed.update(renamed)
    else:
        small, renamed = _same_class(module, tensors), {}
    _exchange_states(small, cut, description)
    return small, renamed


def _new(parameter: nn.Parameter, local: str, cut: Cut, shared: dict[int, nn.Parameter]) -> nn.Parameter:
    if id(parameter) not in shared:
        shared[id(parameter)] = nn.Parameter(cut.select(local, parameter.detach()).clone(), parameter.requires_grad)
        shared[id(shared[id(parameter)])] = parameter
    return shared[id(parameter)]


def _same_class(module: nn.Module, tensors: dict[str, nn.Parameter]) -> nn.Module:
    """The module itself with its parameters exchanged and its size attributes set."""
    for name, parameter in tensors.items():
        setattr(module, name, parameter)
    _set_sizes(module)
    if isinstance(module, nn.RNNBase):
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
        module.flatten_parameters()
    return module


def _set_sizes(module: nn.Module) -> None:
    if isinstance(module, nn.RNNBase):
        gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
        module.input_size, module.hidden_size = module.weight_ih_l0.shape[1], module.weight_ih_l0.shape[0] // gates
        module.proj_size = module.weight_hr_l0.shape[0] if module.proj_size else 0
    elif isinstance(module, nn.RNNCellBase):
        module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)


def _stack(module: nn.RNNBase, description: Description, tensors: dict[str, nn.Parameter]) -> tuple[Stacked, dict[str, str]]:
    """Layers of unequal widths, each a torch module of its own."""
    directions = 1 + module.bidirectional
    locals_ = list(description.recurrences[0].weights)
    names = weight_names(module.num_layers, directions, locals_)
    options = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
    layers, renamed = [], {}
    for position, own in enumerate(names):
        rows, inputs = tensors[own["weight_ih"]].shape
        projection = {"proj_size": tensors[own["weight_hr"]].shape[0]} if "weight_hr" in own else {}
        gates = len(description.recurrences[0].gates)
        layer = type(module)(inputs, rows // gates, bias=module.bias, device="meta", **options, **projection)
        layer = _same_class(layer, {f"{local}_l0": tensors[name] for local, name in own.items()})
        layers.append(layer)
        renamed |= {name: f"layers.{position}.{local}_l0" for local, name in own.items()}
    stacked = Stacked(layers, directions, module.batch_first, module.dropout)
    return stacked.train(module.training), renamed


def _exchange_states(module: nn.Module, cut: Cut, description: Description) -> None:
    if not description.states:
        return
    kept = [[cut.kept[key].tolist() for key in keys] for keys in description.states]
    widths = [max(cut.sizes[key] for key in keys) for keys in description.states]
    if all(len(units) == width for state, width in zip(kept, widths, strict=True) for units in state):
        return
    if cut.narrow:
        module.register_forward_pre_hook(NarrowStates(kept, widths), with_kwargs=True)
    if cut.widen:
        module.register_forward_hook(WidenStates(kept, widths))
