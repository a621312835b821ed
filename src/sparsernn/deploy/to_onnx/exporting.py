"""Any model of torch as an ONNX file: traced with free axes, checked at other sizes, and only then kept."""

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import graph as fx_graph

from sparsernn import durable
from sparsernn.deploy.plain import plain_copy
from sparsernn.deploy.to_onnx import rolls
from sparsernn.deploy.to_onnx.axes import NAMES, Axes, Axis, find_axes, resized
from sparsernn.deploy.to_onnx.calls import HALVES, Forward, forward_of
from sparsernn.deploy.to_onnx.functions import (
    ONE_AT_A_TIME,
    ForeignPacking,
    forget_plain_forwards,
    free_len,
    intercepted,
    paths_of,
)
from sparsernn.deploy.to_onnx.nodes import LayerNodes
from sparsernn.errors import UserError, reason
from sparsernn.running.runner import running_by
from sparsernn.running.torch_layers import RUN_BY_US
from sparsernn.structure.masks import Masks

OLDEST = 18
NEWEST = 23
TOLERANCE = 1e-4
MODULES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path, bytes: of the file.
        inputs, outputs: names, in order.
        axes: for each input the names of its free axes by dimension.
        differences: (batch, time) -> largest difference between ONNX Runtime and the model.
        zeros: fraction of the recurrent weights that are zero; a stock runtime multiplies them like any other number.
    """

    path: Path
    bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, str]]
    differences: Mapping[tuple[int, int], float] = field(default_factory=dict)
    zeros: float = 0.0


def export_onnx(
    model: nn.Module,
    path: Path | str,
    example: Any = None,
    dynamic: Collection[str] | None = None,
    masks: Masks | Mapping[str, Tensor] | None = None,
    int8: bool = False,
    opset: int = OLDEST,
) -> Exported:
    """Write a model, whatever its forward does around its recurrent layers, as a file of ONNX.

    Every layer and direction of an LSTM, GRU or RNN becomes one node of that name, any other cell, and a loop of the
    forward over its steps, a Scan;
    packed sequences, initial states and lengths stay what they are. The file is compared with the model by ONNX Runtime
    at the example's size and at two others, and is kept only if it is equal. Its metadata say the order of the gates,
    where the reset gate acts, and the names of the states.

    Arguments:
        example: a tensor, a tuple of the forward's arguments, or a dictionary of them by name.
        dynamic: which of "batch" and "time" stay free; None: those that there are. They are found by running the model.
        masks: of the model; weights that they leave out are zero in the file.
        int8: whether matrices are stored in 8 bits with a scale a row; the runtime computes in float32 as before.
        opset: of the standard, from 18 to 23.
    Raises: UserError for a model that would be another one in the file, saying why.
    """
    _check_opset(opset)
    path = durable.path_of(path)
    names = _checked_names(dynamic)
    _require_modules()
    network = plain_copy(model).requires_grad_(False)
    forget_plain_forwards(network)
    _require_whole_floats(network)
    Masks.write_(masks, network)
    forward = forward_of(network, example)
    with quietly():
        forward.require_same_answer()
        axes = _free_axes(find_axes(forward, network), names, dynamic is not None)
        return _write(network, forward, axes, path, int8, opset)


def _free_axes(every: Axes, names: Collection[str], required: bool) -> Axes:
    """Those of the names. Raises: UserError where one that is required is missing."""
    if missing := [name for name in names if required and name not in every]:
        raise UserError(
            f"no axis of the inputs can change as the {missing[0]}",
            "a forward that takes other sizes than the example's",
            f"leave {missing[0]} out of dynamic",
        )
    return {name: group for name, group in every.items() if name.partition("_")[0] in names}


def _require_whole_floats(network: nn.Module) -> None:
    """Raises: UserError for weights of 16 bits."""
    for name, weight in network.state_dict().items():
        if isinstance(weight, Tensor) and weight.dtype in HALVES:
            kind = str(weight.dtype).removeprefix("torch.")
            raise UserError(f"{name} of the model is {kind}", "float32", "export model.float()")


def _check_opset(opset: int) -> None:
    """Raises: UserError for a version of the standard that is not written."""
    if isinstance(opset, bool) or not isinstance(opset, int) or not OLDEST <= opset <= NEWEST:
        raise UserError(f"opset is {opset!r}", f"a whole number from {OLDEST} to {NEWEST}", "pass a newer one")


def _checked_names(dynamic: Collection[str] | None) -> tuple[str, ...]:
    if dynamic is None:
        return NAMES
    if isinstance(dynamic, str) or not set(dynamic) <= set(NAMES):
        raise UserError(f"dynamic is {dynamic!r}", 'a set of "batch" and "time"', 'pass {"batch", "time"}')
    return tuple(name for name in NAMES if name in dynamic)


def _require_modules() -> None:
    for name in MODULES:
        try:
            __import__(name)
        except ImportError as error:
            raise UserError(
                f"{name} is not installed", f"the modules {', '.join(MODULES)}", 'pip install "sparsernn[export]"'
            ) from error


class Traced(nn.Module):
    """A model as a function of its input tensors, whose layers write nodes.

    Arguments:
        forward: of the model, which is a submodule for the sake of its parameters.
    Attributes:
        rolled: whether a loop over its steps has become a scan.
    """

    def __init__(self, network: nn.Module, forward: Forward):
        super().__init__()
        self.network = network
        self.forward_of_network = forward
        self.nodes = LayerNodes(paths_of(network))
        self.rolled = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self.nodes.forget()
        with intercepted(self.nodes), running_by(self.nodes), free_len():
            return tuple(self.forward_of_network.outputs(tensors).values())


def _write(network: nn.Module, forward: Forward, axes: Axes, path: Path, int8: bool, opset: int) -> Exported:
    from sparsernn.deploy.to_onnx import files, parity

    traced = Traced(network, forward)
    example = resized(forward.tensors, _example_sizes(forward.tensors, axes))
    program = _program(traced, example, axes, forward, opset)
    details = files.Details(forward.names, tuple(forward.outputs(example)), axes, traced.nodes.described)
    files.finish(program, traced.nodes.scanned, details, int8)
    content = _content(program, forward)
    differences = parity.differences(content, forward, axes, None if int8 else TOLERANCE, traced.rolled)
    durable.replace(path, content)
    shown = {name: details.named_axes(number) for number, name in enumerate(forward.names)}
    zeros = _zeros(network)
    return Exported(path, path.stat().st_size, tuple(forward.names), details.outputs, shown, differences, zeros)


def _content(program: torch.onnx.ONNXProgram, forward: Forward) -> bytes:
    """The bytes of a file. Raises: UserError if there are more than the format holds."""
    try:
        return program.model_proto.SerializeToString()
    except Exception as error:  # of protobuf, of another kind in each of its versions
        raise UserError(
            f"{type(forward.network).__name__} does not fit into a file of ONNX ({reason(error)})",
            "at most 2 GB",
            "export it with int8=True, or a smaller one",
        ) from error


def _zeros(network: nn.Module) -> float:
    modules = [module for module in network.modules() if isinstance(module, RUN_BY_US)]
    weights = [weight for module in modules for weight in module.parameters() if weight.dim() > 1]
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0


def _example_sizes(tensors: Sequence[Tensor], axes: Axes) -> dict[Axis, int]:
    """Sizes to trace with: more than one, and another for each name, so that none is taken for another."""
    sizes: dict[Axis, int] = {}
    used = {0, 1}
    for group in axes.values():
        size = tensors[group[0].input].shape[group[0].dimension]
        if size in used:
            size = next(larger for larger in (2 * size + 3, 2 * size + 5) if larger not in used)
        used.add(size)
        sizes |= dict.fromkeys(group, size)
    return sizes


def _program(traced: Traced, example: Sequence[Tensor], axes: Axes, forward: Forward, opset: int) -> Any:
    try:
        with torch.no_grad():
            program = _traced(traced, example, axes)
        if mutated := program.graph_signature.buffers_to_mutate:
            raise UserError(
                f"the forward writes into its buffer {next(iter(mutated.values())).removeprefix('network.')}",
                "states that go in and come out, as a file keeps none",
                "take the state as an argument and return it",
            )
        return torch.onnx.export(program, dynamo=True, opset_version=opset, verbose=False)
    except UserError:
        raise
    except Exception as error:  # the exporter of torch raises many kinds, none of them documented
        raise _refusal(error, axes, forward) from error


def _traced(traced: Traced, example: Sequence[Tensor], axes: Axes) -> torch.export.ExportedProgram:
    """What a model does with its inputs, a loop over their steps being a scan."""
    try:
        return _exported(traced, example, axes)
    except Exception as error:  # as in `_program`
        fixed = [name for name in _fixed(error, axes) if name.startswith("time")]
        if not fixed:
            raise
        others = {name: group for name, group in axes.items() if name != fixed[0]}

        def trace(count: int) -> torch.fx.GraphModule:
            program = _exported(traced, resized(example, dict.fromkeys(axes[fixed[0]], count)), others)
            return program.run_decompositions({}).module(check_guards=False)  # type: ignore[return-value]

        module = rolls.rolled(trace, axes[fixed[0]][0])
        if module is None or not _fits(module, traced.forward_of_network, axes[fixed[0]]):
            raise
        traced.rolled = True
        return _exported(module, example, axes)


def _fits(module: torch.fx.GraphModule, forward: Forward, axes: Sequence[Axis]) -> bool:
    """Whether a graph gives shapes as the forward does, for one step and several; layers in it give no numbers."""
    for count in (1, rolls.STEPS + 2):
        tensors = resized(forward.tensors, dict.fromkeys(axes, count))
        try:
            pairs = list(zip(forward.outputs(tensors).values(), module(*tensors), strict=True))
        except Exception:  # whatever a graph raises that is not the forward
            return False
        if not all(one.shape == other.shape for one, other in pairs):
            return False
    return True


def _exported(traced: nn.Module, example: Sequence[Tensor], axes: Axes) -> torch.export.ExportedProgram:
    free = [axis for group in axes.values() for axis in group]
    shapes = tuple(
        {axis.dimension: torch.export.Dim.DYNAMIC for axis in free if axis.input == number} or None
        for number in range(len(example))
    )
    dynamic = shapes if isinstance(traced, torch.fx.GraphModule) else (shapes,)
    return torch.export.export(traced, tuple(example), dynamic_shapes=dynamic, strict=False)


def _fixed(error: BaseException, axes: Axes) -> list[str]:
    """The names of the axes that a forward fixes to the example's."""
    text = " ".join(map(str, _causes(error)))
    return [
        name
        for name, group in axes.items()
        for axis in group
        if f"[{axis.input}].size()[{axis.dimension}] as dynamic but" in text
    ]


def _causes(error: BaseException) -> list[BaseException]:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 10:
        causes.append(cause)
    return causes


def _refusal(error: BaseException, axes: Axes, forward: Forward) -> UserError:
    """One sentence on why a model could not be exported, with the way out."""
    causes = _causes(error)
    text, model = " ".join(map(str, causes)), type(forward.network).__name__
    if fixed := _fixed(error, axes):
        name = fixed[0].partition("_")[0]
        return UserError(
            f"the forward of {model} fixes the {fixed[0]} to that of its example, as int() of a size and loops whose "
            "steps differ do",
            f"a forward that is the same for every {fixed[0]}",
            f"take x.shape as it is, torch's layer for a loop over its cell, or leave {name} out of dynamic",
        )
    if any(isinstance(one, ForeignPacking) for one in causes):
        return UserError(
            f"{model} packs sequences by hand",
            "batch sizes that pack_padded_sequence made",
            "pack by torch.nn.utils.rnn.pack_padded_sequence within the forward",
        )
    if "data-dependent" in text or "data dependent" in text:
        return UserError(
            f"the forward of {model} decides by the numbers in a tensor",
            "a forward whose course does not hang on its input's values",
            "use torch.where, keep lengths a tensor, or leave that part outside of the model",
        )
    return _untranslated(causes, model)


def _untranslated(causes: Sequence[BaseException], model: str) -> UserError:
    for one in causes:
        if "No ONNX function found" in str(one) or "No decompositions registered" in str(one):
            operator = str(one).partition("<OpOverload(op='")[2].partition("'")[0] or "an operator"
            return UserError(
                f"{operator} has no translation to ONNX", "operators of the standard", "compute it outside of the model"
            )
    return UserError(
        f"{model} cannot be traced ({reason(causes[-1])})",
        "a forward that torch.export takes",
        "export the part of the model that does not do this",
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Without what torch's exporter tells about itself, and alone, as it does not bear another one in a thread."""
    with ONE_AT_A_TIME:
        level, plain_format = logging.root.manager.disable, fx_graph._format_target
        try:
            fx_graph._format_target = _format_target
            logging.disable(logging.ERROR)
            with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.disable(level)
            fx_graph._format_target = plain_format


def _format_target(base: str, target: str) -> str:
    """Code that reads an attribute of any name; torch's own is none for words of Python, such as "class"."""
    for name in target.split("."):
        base = f"getattr({base}, {name!r})"
    return base
