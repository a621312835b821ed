"""Which kernel computes each recurrent layer of a model, and why no better one does."""

from dataclasses import dataclass

from torch import nn

from sparsernn.kernels.registry import Problem, candidates
from sparsernn.running.torch_layers import RUN_BY_US, is_run_here, nominal_problems
from sparsernn.structure.wiring import unwrap

TORCHS_OWN = "torch's own module, which this package runs only while a Sparsifier hands it masks"


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


def explain_kernels(model: nn.Module, batch: int = 32) -> list[LayerKernel]:
    """For each recurrent layer of a model, the kernel that a forward takes now, and why none before it does.

    Gradients count: call it within `torch.no_grad()` for what computes a prediction, with masks or without.

    Arguments:
        model: any module; its recurrent layers are those of torch and of `sparsernn.nn`.
        batch: how many sequences, all of one length, a forward has side by side.
    """
    layers = []
    for path, module in unwrap(model).named_modules():
        if not isinstance(module, RUN_BY_US):
            continue
        problems = nominal_problems(module, batch)
        for part, problem in problems:
            suffix = next(iter(part.names.values())).removeprefix(next(iter(part.names))).removeprefix("_")
            label = ".".join(piece for piece in (path, suffix if len(problems) > 1 else "") if piece)
            if is_run_here(module):
                layers.append(LayerKernel(label, *_choice(problem)))
            else:
                layers.append(LayerKernel(label, f"torch.nn.{type(module).__name__}", TORCHS_OWN))
    return layers


def _choice(problem: Problem) -> tuple[str, str]:
    """The kernel that takes a problem, and why those before it do not."""
    refusals = []
    for kernel, refusal in candidates(problem):
        if refusal is None:
            return kernel.provider, "; ".join(refusals)
        refusals.append(f"{kernel.provider}: {refusal}")
    return "none", "; ".join(refusals)
