"""Which kernel computes each recurrent layer of a model, and why no better one does."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sparsernn.kernels.registry import candidates
from sparsernn.running.torch_layers import RUN_BY_US, nominal_problems
from sparsernn.structure.wiring import unwrap


@dataclass(frozen=True)
class LayerKernel:
    """What computes one layer in one direction.

    Attributes:
        layer: "lstm.l0_reverse": the module's name and the layer's suffix.
        kernel: the name of the kernel.
        why: why those that are tried before it do not take the layer; "" if it is the first.
    """

    layer: str
    kernel: str
    why: str


def explain_kernels(model: nn.Module) -> list[LayerKernel]:
    """For each recurrent layer of a model, the kernel that a forward takes now, and why none before it does.

    Gradients count: call it within `torch.no_grad()` for what computes a prediction, with masks or without.

    Arguments:
        model: any module; its recurrent layers are those of torch and of `sparsernn.nn`.
    """
    inner, layers = unwrap(model), []
    for path, module in inner.named_modules():
        if not isinstance(module, RUN_BY_US):
            continue
        positions = nominal_problems(module)
        for part, problem in positions:
            suffix = next(iter(part.names.values())).removeprefix(next(iter(part.names))).removeprefix("_")
            layer = ".".join(piece for piece in (path, suffix if len(positions) > 1 else "") if piece)
            refusals = []
            for kernel, refusal in candidates(problem):
                if refusal is None:
                    layers.append(LayerKernel(layer, kernel.provider, "; ".join(refusals)))
                    break
                refusals.append(f"{kernel.provider}: {refusal}")
    return layers
