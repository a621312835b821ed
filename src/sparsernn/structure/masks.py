"""Which weights exist, as data beside the model; and the promise that absent ones are exactly zero."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sparsernn import durable
from sparsernn.errors import UserError, reason
from sparsernn.reading import DAMAGE, arrays, parsed
from sparsernn.runtime.formats import pack_mask, unpack_mask
from sparsernn.structure.axes import Layout
from sparsernn.structure.constant_gates import constant_gates
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.structure.zeroing import count_alive, zero_absent_

BITS = ("|u1", "<i8")
"""Types of the numbers in a file of masks."""


class Masks:
    """A bool per weight, True = exists, for every tensor that may have absent weights.

    Arguments:
        kept: parameter name in the unwrapped model -> bool tensor of the parameter's shape; zeros and ones of another
            type are taken for it.
        layouts: parameter name -> its layout, for counts by gate.
        selected: names of the tensors that sparsity is counted over; default: all of `kept`.
    Attributes:
        final: whether they are of a finished run, so that the weights they are used with must be zero where they say.
    Raises: UserError for something else than zeros and ones.
    """

    def __init__(
        self, kept: dict[str, Tensor], layouts: dict[str, Layout] | None = None, selected: set[str] | None = None
    ):
        plain = all(map(_are_flags, kept.values()))
        self.kept = kept if plain else {name: _flags(name, values) for name, values in kept.items()}
        self.layouts = layouts or {}
        self.selected = set(kept) if selected is None else set(selected)
        self.constant_gates: list[tuple[str, str, int]] = []
        self.final = False

    @classmethod
    def of(cls, masks: Masks | Mapping[str, Tensor]) -> Masks:
        """Masks, from a dict of them too. Raises: UserError for anything else."""
        if isinstance(masks, Masks):
            return masks
        if not isinstance(masks, Mapping):
            expected = "Masks, or a dict: name of a weight -> bool tensor, True = it exists"
            raise UserError(f"masks is a {type(masks).__name__}", expected, "pass what Sparsifier.finalize returned")
        return cls(dict(masks))

    @classmethod
    def write_(cls, masks: Masks | Mapping[str, Tensor] | None, copy: nn.Module) -> None:
        """Write zeros into a copy of a model where masks, if there are any, leave weights out.

        Raises: UserError if they are of another model, or of a finished run and the weights are of another moment.
        """
        if masks is not None:
            masks = cls.of(masks)
            masks.check_step(copy)
            masks.apply_(copy)

    @classmethod
    def full(cls, wiring: Wiring, model: nn.Module, selected: set[str]) -> Masks:
        """Nothing absent yet, in any known weight."""
        kept = {
            name: torch.ones_like(p, dtype=torch.bool)
            for name, p in wiring.parameters(model).items()
            if name in selected
        }
        return cls(kept, {name: weight.layout for name, weight in wiring.weights.items()}, selected)

    @torch.no_grad()
    def apply_(self, module: nn.Module) -> None:
        """Write exact zeros where a weight is absent, in the model or in a copy of it (EMA, averaged, data parallel).

        Raises: UserError if a masked tensor is not there or has another shape.
        """
        for parameter, kept in self._pairs(module).values():
            zero_absent_(parameter.data, kept)

    @torch.no_grad()
    def alive(self, module: nn.Module) -> dict[str, int]:
        """Parameter name -> how many weights are absent and yet not zero; tensors without any are left out.

        Raises: UserError if a masked tensor is not there or has another shape.
        """
        alive = {}
        for name, (parameter, kept) in self._pairs(module).items():
            if number := count_alive(parameter.data, kept):
                alive[name] = number
        return alive

    def check_step(self, module: nn.Module) -> None:
        """Raises: UserError if these are masks of a finished run, and the weights are of another moment."""
        alive = self.alive(module) if self.final else {}
        if alive:
            name = next(iter(alive))
            raise UserError(
                f"{sum(alive.values())} weights that the masks call absent are not zero, {alive[name]} in {name}",
                "the weights that the masks were returned with",
                "load the masks that were saved with these weights, or call masks.apply_(model) if they are to be zero",
            )

    def _pairs(self, module: nn.Module) -> dict[str, tuple[nn.Parameter, Tensor]]:
        """Every masked parameter with its mask."""
        inner, pairs = unwrap(module), {}
        for name, kept in self.kept.items():
            try:
                parameter = inner.get_parameter(name)
            except AttributeError:
                raise _foreign(f"the model has no parameter {name}") from None
            if parameter.shape != kept.shape:
                raise _foreign(f"{name} has the shape {tuple(parameter.shape)}, its mask {tuple(kept.shape)}")
            pairs[name] = parameter, kept
        return pairs

    def to(self, device: torch.device) -> Masks:
        """Move the masks, in place."""
        self.kept = {name: kept.to(device) for name, kept in self.kept.items()}
        return self

    def sparsity(self) -> float:
        """The fraction of absent weights over the selected tensors."""
        total = sum(self.kept[name].numel() for name in self.selected)
        return 1 - sum(int(torch.count_nonzero(self.kept[name])) for name in self.selected) / total if total else 0.0

    def per_tensor(self) -> dict[str, float]:
        """Parameter name -> fraction of absent weights."""
        return {name: 1 - int(torch.count_nonzero(kept)) / max(kept.numel(), 1) for name, kept in self.kept.items()}

    def by_gate(self, model: nn.Module | None = None) -> dict[str, dict[str, float]]:
        """Parameter name -> gate -> fraction of weights kept, where the tensor has gates."""
        by_gate = {}
        for name, kept in self.kept.items():
            layout = self.layouts.get(name)
            if layout is not None and layout.incoming and "gate" in layout.stored:
                by_gate[name] = {
                    gate: int(torch.count_nonzero(part)) / max(part.numel(), 1)
                    for gate, part in zip(layout.gates, layout.view(kept), strict=True)
                }
        return by_gate

    def find_constant_gates(self, wiring: Wiring, model: nn.Module) -> list[tuple[str, str, int]]:
        """(layer, gate, unit) of every gate that never changes; see `structure.constant_gates`."""
        parameters, triples = wiring.parameters(model), []
        for layer in wiring.layers:
            weights = {local: parameters[name] for local, name in layer.weights.items()}
            kept = {local: self.kept[name] for local, name in layer.weights.items() if name in self.kept}
            triples += [(layer.label, gate, unit) for gate, unit, _ in constant_gates(layer, weights, kept)]
        return triples

    def save(self, path: Path | str) -> None:
        """Write one bit a weight: `<name>.bits`, `<name>.shape`, and the layouts as JSON bytes, in an .npz."""
        stored: dict[str, np.ndarray] = {}
        for name, kept in self.kept.items():
            stored[f"{name}.bits"] = pack_mask(kept.cpu().numpy())
            stored[f"{name}.shape"] = np.array(kept.shape, dtype=np.int64)
        described = {
            name: {
                "axes": list(self.layouts[name].stored),
                "gates": list(self.layouts[name].gates),
                "text": self.layouts[name].text,
            }
            for name in self.kept
            if name in self.layouts
        }
        about = {"layouts": described, "selected": sorted(self.selected), "constant_gates": self.constant_gates}
        about["final"] = self.final
        stored["layouts"] = np.frombuffer(json.dumps(described).encode(), dtype=np.uint8)
        stored["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **stored)  # pyright: ignore[reportArgumentType]
        durable.replace(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path | str) -> Masks:
        """Read what `save` wrote. Raises: UserError for a file that is damaged or something else."""
        try:
            stored = arrays(path, BITS)
            about = parsed(stored["about"].tobytes())
            names = [key.removesuffix(".bits") for key in stored if key.endswith(".bits")]
            kept = {name: _unpack(stored, name) for name in names}
            layouts = {
                str(name): Layout.parse(entry["text"], tuple(entry["gates"]))
                for name, entry in about["layouts"].items()
            }
            masks = cls(kept, layouts, {name for name in about["selected"] if name in kept})
            masks.constant_gates = [(str(layer), str(gate), int(unit)) for layer, gate, unit in about["constant_gates"]]
            masks.final = bool(about.get("final", False))
            return masks
        except DAMAGE as error:
            raise UserError(
                f"{path} is not a readable file of masks ({type(error).__name__}: {reason(error)})",
                "a file written by Masks.save",
                "use another copy, or finish the run again",
            ) from error

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of every mask, by parameter name."""
        return {name: kept.clone() for name, kept in self.kept.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Raises: UserError if the masks are of other tensors or shapes."""
        if set(state) != set(self.kept) or any(state[name].shape != kept.shape for name, kept in self.kept.items()):
            differing = (
                sorted(set(state) ^ set(self.kept))[:3]
                or [name for name, kept in self.kept.items() if state[name].shape != kept.shape][:3]
            )
            raise UserError(
                f"the saved masks do not fit this model ({', '.join(differing)})",
                "masks of the same tensors and shapes",
                "build the same model and method first",
            )
        for name, kept in self.kept.items():
            kept.copy_(state[name])


def fitting(masks: Masks | Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks of a model's weights, from whatever arrays they are, on the weights' devices.

    Raises: UserError if there are none, or a name or shape does not fit.
    """
    kept = Masks.of(masks).kept
    if not kept:
        raise UserError(
            "masks is empty", "name -> bool tensor for at least one weight", "pass masks=None for a random mask"
        )
    fitted = {}
    for name, mask in kept.items():
        if name not in weights:
            raise UserError(
                f'a mask is given for "{name}"',
                f"names of this model's weights: {', '.join(weights)}",
                "rename the mask",
            )
        if mask.shape != weights[name].shape:
            raise UserError(
                f"the mask of {name} has shape {tuple(mask.shape)}",
                f"{tuple(weights[name].shape)}",
                "give a mask of the weight's shape",
            )
        fitted[name] = mask.to(weights[name].device).clone()
    return fitted


def _foreign(happened: str) -> UserError:
    return UserError(
        happened, "a model with the tensors that are masked", "apply masks to the model they were made for"
    )


def _are_flags(values: object) -> bool:
    return isinstance(values, Tensor) and values.dtype == torch.bool and not values.is_meta


def _flags(name: str, values: object) -> Tensor:
    """A mask as a bool tensor. Raises: UserError for something else than zeros and ones."""
    try:
        numbers = torch.as_tensor(values).detach()
        numbers = numbers if numbers.layout == torch.strided else numbers.to_dense()
        if not numbers.is_meta and bool(((numbers == 0) | (numbers == 1)).all()):
            return numbers != 0
    except (TypeError, ValueError, RuntimeError):
        pass
    raise UserError(
        f"the mask of {name} holds something else than zeros and ones",
        "a bool tensor, True = the weight exists",
        "pass one, such as mask > 0.5 of a tensor of probabilities",
    )


def _unpack(stored: dict[str, np.ndarray], name: str) -> Tensor:
    shape = tuple(int(size) for size in stored[f"{name}.shape"])
    if any(size < 0 for size in shape):
        raise ValueError(f"{name} has the shape {shape}")
    return torch.from_numpy(np.array(unpack_mask(stored[f"{name}.bits"], shape), dtype=bool))
