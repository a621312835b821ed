"""A network taken apart for a step at a time: an embedding, layers of any cell in one direction, a head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as tree

from sparsernn.cells.cell import Cell, Sizes
from sparsernn.deploy.packing import KINDS, array_of, arrays_of, words_of
from sparsernn.deploy.plain import plain_copy
from sparsernn.deploy.to_onnx.calls import refused_example
from sparsernn.errors import UserError
from sparsernn.models.classifier import Classifier
from sparsernn.models.forecaster import Forecaster
from sparsernn.models.language_model import LanguageModel
from sparsernn.running.filled_results import FillResults
from sparsernn.running.modules import Recurrent
from sparsernn.running.torch_layers import parts_of
from sparsernn.runtime import numpy_math
from sparsernn.runtime.artifact import load
from sparsernn.runtime.layers import checked_sizes
from sparsernn.runtime.network import Network, NetworkSpec
from sparsernn.runtime.numpy_math import Products

STACKS = (Recurrent, nn.LSTM, nn.GRU, nn.RNN)
CLOSE = 2e-5
"""A difference that rounding explains, for the largest number being 1."""
ENDS = "an embedding or none, recurrent layers of one direction, a linear head or none"
CHOOSING = frozenset(
    "__get__ __getitem__ select narrow squeeze unsqueeze transpose permute movedim swapaxes contiguous view reshape"
    " flatten size dim unbind expand dropout zeros new_zeros zeros_like to float detach clone is_floating_point"
    " __len__".split()
)
"""Functions that a chain may call between its modules: none computes with the numbers."""


class NoChain(UserError):
    """A model that does more than its layers one after the other, and a head."""


@dataclass(frozen=True)
class Layer:
    """One recurrent layer. weights: local name -> float32 array; sizes: units along each axis."""

    cell: Cell
    weights: Mapping[str, np.ndarray]
    sizes: Sizes


@dataclass(frozen=True)
class Parts:
    """A network, bottom first; see `runtime.network.NetworkSpec`.

    Attributes:
        filled: for each output its place among the numbers of the top, -1 for one that is zero as its unit was cut;
            None: outputs are those numbers.
    """

    layers: Sequence[Layer]
    embedding: np.ndarray | None = None
    rows: np.ndarray | None = None
    head: np.ndarray | None = None
    bias: np.ndarray | None = None
    residual: int | None = None
    filled: np.ndarray | None = None

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Outputs of all steps of one sequence by numpy. Shapes: [time input] or, of words, [time] -> [time output]"""
        if self.embedding is not None:
            places = x if self.rows is None else self.rows[x]
            x = np.where((places >= 0)[:, None], self.embedding[np.maximum(places, 0)], np.float32(0))
        inputs, top = x, x
        for layer in self.layers:
            top = _run(layer, top)
        if self.head is not None:
            top = top @ self.head.T + (0 if self.bias is None else self.bias)
        top = top if self.residual is None else top + inputs[:, self.residual, None]
        return top if self.filled is None else np.where(self.filled < 0, np.float32(0), top[:, self.filled])


def _run(layer: Layer, x: np.ndarray) -> np.ndarray:
    multiply, sizes = Products(layer.cell, layer.weights), layer.sizes
    values = zip(layer.cell.state_axes, layer.cell.starting_values(sizes), strict=True)
    state = tuple(np.full(sizes[axis], value, np.float32) for axis, value in values)
    outputs = []
    for vector in x:
        projected = layer.cell.project(vector, multiply, numpy_math)
        state = layer.cell.step(projected, state, multiply, numpy_math)
        outputs.append(state[0])
    return np.stack(outputs)


def parts_of_network(network: Any, example: Any = None) -> Parts:
    """The parts of a model, an artifact or a file of one. Raises: UserError for one that is no such chain."""
    if isinstance(network, str | Path):
        network = load(network)
    if isinstance(network, Network):
        return _of_spec(network.spec)
    if not isinstance(network, nn.Module):
        raise UserError(f"the network is a {type(network).__name__}", "a model, or an artifact", "pass one of them")
    network = plain_copy(network).float()
    if isinstance(network, tuple(KINDS)):
        return _of_model(network)
    if isinstance(network, STACKS):
        example = torch.arange(5.0 * network.input_size).sin().view(5, -1).to(next(network.parameters()))  # type: ignore[operator]
    return _of_chain(network, example)


def _of_spec(spec: NetworkSpec) -> Parts:
    require_stream(
        spec.directions,
        spec.pool if spec.kind == "classification" else "last",
        spec.skip is None and spec.kernels is None,
    )
    layers = [Layer(one.cell, one.weights, checked_sizes(one.cell, one.weights)) for one in spec.layers]
    return Parts(layers, spec.embedding, spec.rows, spec.head, spec.bias, spec.residual)


def _of_model(network: Any) -> Parts:
    recurrent = list(network.cells) if isinstance(network, LanguageModel) else [network.cell]
    pool = network.pool if isinstance(network, Classifier) else "last"
    require_stream(getattr(network, "directions", 1), pool, not getattr(network, "window", 0))
    residual = network.residual if isinstance(network, Forecaster) else None
    return _joined(_layers(recurrent), network.embedding, network.head, residual)


def _joined(layers: Sequence[Layer], embedding: Any, head: Any, residual: int | None = None) -> Parts:
    parts = Parts(layers, **words_of(embedding), residual=residual)
    if not isinstance(head, nn.Linear):
        return parts
    return replace(parts, head=array_of(head.weight), bias=None if head.bias is None else array_of(head.bias))


@torch.no_grad()
def _of_chain(network: nn.Module, example: Any) -> Parts:
    """A model of one's own whose forward is such a chain, as its output on the example shows."""
    if example is None:
        raise UserError(f"there is no example for {type(network).__name__}", "its arguments", "pass example=(...)")
    arguments = example if isinstance(example, tuple | list) else (example,)
    if not arguments or not isinstance(arguments[0], Tensor) or not arguments[0].numel():
        raise _no_chain(network)
    called, states, further_calls, result = _called(network, arguments)
    stacks = [module for module in called if isinstance(module, STACKS)]
    embedding = called[0] if called and isinstance(called[0], nn.Embedding) else None
    head = called[-1] if called and isinstance(called[-1], nn.Linear) else None
    chain = [*([embedding] if embedding else []), *stacks, *([head] if head else [])]
    further = tree.tree_leaves(result)[1:]
    if further_calls or not stacks or chain != called or not {*map(id, further)} <= {*map(id, states)}:
        raise _no_chain(network)
    parts = replace(_joined(_layers(stacks), embedding, head), filled=_filled(network))
    if not _widths_fit(parts):
        raise _no_chain(network)
    first, *others = arguments
    for x in (first, *([] if others else _longer(first))):  # a forward may do something else with more steps
        try:
            result = network(x, *others)
        except Exception:
            if x is first:
                raise
            continue  # more sequences than it takes
        _compare(network, parts, x, result[0] if isinstance(result, tuple) else result)
    return parts


def _longer(x: Tensor) -> list[Tensor]:
    """The same three times over in each dimension that may be time."""
    return [torch.cat([x] * 3, dimension) for dimension in range(min(x.dim(), 2))]


class _Further(TorchFunctionMode):
    """Names of functions that a forward calls between its modules and that do more than choose among numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.depth and func.__name__ not in CHOOSING:
            self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))

    def enter(self, *_: object) -> None:
        self.depth += 1

    def leave(self, *_: object) -> None:
        self.depth -= 1


def _called(network: nn.Module, arguments: Sequence[Any]) -> tuple[list[nn.Module], list[Tensor], list[str], Any]:
    """The modules of a chain that ran, in order, the final states that they gave, what ran between, and the result."""
    called: list[nn.Module] = []
    states: list[Tensor] = []
    further = _Further()

    def note(module: nn.Module, _: object, result: object) -> None:
        called.append(module)
        states.extend(tree.tree_leaves(result[1]) if isinstance(result, tuple) else ())

    kinds = (*STACKS, nn.Embedding, nn.Linear)
    hooks = []
    for module in network.modules():
        if isinstance(module, kinds):
            before = module.register_forward_pre_hook(further.enter, prepend=True)
            hooks += [before, module.register_forward_hook(note), module.register_forward_hook(further.leave)]
    if _filled(network) is not None:  # what fills in zeros is no part of the forward
        hooks.append(network.register_forward_hook(further.enter, prepend=True))
    try:
        with further:
            result = network(*arguments)
        return called, states, further.names, result
    except Exception as error:  # whatever a forward raises for an example that it does not take
        raise refused_example(error) from error
    finally:
        for hook in hooks:
            hook.remove()


def _widths_fit(parts: Parts) -> bool:
    """Whether each layer, and the head, reads as many numbers as the one before gives."""
    written = [layer.sizes[layer.cell.state_axes[0]] for layer in parts.layers]
    read = [layer.sizes["input"] for layer in parts.layers[1:]]
    read += [] if parts.head is None else [parts.head.shape[1]]
    return all(one == other for one, other in zip(written, read, strict=False))


def _filled(network: nn.Module) -> np.ndarray | None:
    """Where the numbers of a compacted network stand in what it returns. [output]"""
    for hook in network._forward_hooks.values():
        for tensor in hook.tensors if isinstance(hook, FillResults) else ():
            if tensor.place == 0 and tensor.positions.shape[tensor.dimension] == tensor.positions.numel():
                return tensor.positions.flatten().numpy()
    return None


def _compare(network: nn.Module, parts: Parts, x: Tensor, result: Any) -> None:
    """Raises: UserError unless the steps of the parts give what the forward gives, at each step or at the last."""
    width = 1 if parts.embedding is not None else parts.layers[0].sizes["input"]
    sequences = x.unsqueeze(-1) if parts.embedding is not None else x
    fits = isinstance(result, Tensor) and sequences.dim() in (2, 3) and sequences.shape[-1] == width
    for batch_first in (True, False) if fits else ():
        turned = sequences if sequences.dim() == 3 else sequences.unsqueeze(0)
        turned = turned if batch_first or sequences.dim() == 2 else turned.transpose(0, 1)
        arrays = [array_of(one if parts.embedding is None else one[:, 0]) for one in turned]
        outputs = np.stack([parts.outputs(array) for array in arrays])
        for wanted_array in (outputs, outputs.swapaxes(0, 1), outputs[:, -1], outputs[0]):
            if wanted_array.shape != tuple(result.shape):
                continue
            computed = array_of(result)
            if np.abs(wanted_array - computed).max(initial=0) <= CLOSE * np.abs(computed).max(initial=1e-3):
                return
    raise _no_chain(network)


def _no_chain(network: nn.Module) -> NoChain:
    return NoChain(
        f"the forward of {type(network).__name__} is not a chain that can run a step at a time",
        ENDS,
        "export its recurrent layers alone, or the whole model by export_onnx",
    )


def require_stream(directions: int, pool: str = "last", steps_alone: bool = True) -> None:
    """Raises: UserError for what reads backwards, pools over all steps, or reads a whole window."""
    if directions == 2 or pool != "last" or not steps_alone:
        raise UserError(
            "this network needs whole sequences: it reads backwards, or pools over all steps, or reads a whole window",
            "layers of one direction, and the last step read",
            "export it by export_onnx",
        )


def _layers(modules: Sequence[nn.Module]) -> list[Layer]:
    layers = []
    for module in modules:
        require_stream(1 + int(module.bidirectional))  # type: ignore[arg-type]
        layers += [Layer(part.cell, arrays_of(part.weights), part.sizes) for part in parts_of(module)]
    return layers


def reordered(weight: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Gates along the first dimension in another order: for each its number before."""
    pieces = np.split(weight, len(order))
    return np.concatenate([pieces[number] for number in order])
