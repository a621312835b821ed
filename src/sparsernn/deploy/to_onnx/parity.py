"""A file compared with its model by ONNX Runtime, at the example's size and at others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsernn.deploy.to_onnx.axes import Axes, resized, with_noise
from sparsernn.deploy.to_onnx.calls import Forward
from sparsernn.errors import UserError, reason

MANY_STEPS = 64


@torch.no_grad()
def differences(
    content: bytes, forward: Forward, axes: Axes, tolerance: float | None, rolled: bool = False
) -> Mapping[tuple[int, int], float]:
    """(batch, time) -> largest difference, an axis that is fixed counting as 0.

    Arguments:
        content: of the file.
        tolerance: for the largest number being 1; None takes any finite difference.
        rolled: whether the forward goes through its steps itself, and may do something else at a later one: many more
            than the example's are tried as well.
    Raises: UserError for a file that does not load, or computes something else.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of onnxruntime are not public
        raise _other(f"ONNX Runtime does not load it: {reason(error)}") from error
    results: dict[tuple[int, int], float] = {}
    for sizes, inputs in _tried(forward, axes, rolled):
        for tensors in inputs:
            try:
                expected = forward.outputs(tensors)
            except Exception:  # inputs that the model itself does not take prove nothing
                continue
            results[sizes] = _difference(session, forward.names, tensors, expected, sizes, tolerance)
            break
    if axes and len(results) < 3:
        raise _other("the model takes no two sizes but the example's, so that nothing can be compared")
    return results


def _difference(
    session: Any,
    names: Sequence[str],
    tensors: Sequence[Tensor],
    expected: Mapping[str, Tensor],
    sizes: tuple[int, int],
    tolerance: float | None,
) -> float:
    feeds = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    where = f"at batch {sizes[0]} and time {sizes[1]}"
    try:
        arrays = session.run(list(expected), feeds)
    except Exception as error:
        raise _other(f"ONNX Runtime fails {where}: {reason(error)}") from error
    largest = 0.0
    for name, array in zip(expected, arrays, strict=True):
        wanted_array = expected[name].numpy()
        if array.shape != wanted_array.shape:
            raise _other(f"{where} {name} has the shape {list(array.shape)} instead of {list(wanted_array.shape)}")
        exact, computed = wanted_array.astype(np.float64), array.astype(np.float64)
        same = (exact == computed) | (np.isnan(exact) & np.isnan(computed))
        difference = float(np.where(same, 0, np.abs(exact - computed)).max(initial=0))
        scale = 1 + float(np.abs(exact[np.isfinite(exact)]).max(initial=0))
        precision = 8 * float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0
        if not difference <= (np.inf if tolerance is None else max(tolerance, precision) * scale):
            raise _other(f"{where} {name} differs by {difference:.3g}")
        largest = max(largest, difference)
    return largest


def _tried(forward: Forward, axes: Axes, rolled: bool) -> Iterator[tuple[tuple[int, int], list[list[Tensor]]]]:
    """Sizes, and inputs of them of which the model may take the first or the second: those of the example, others."""
    example = {name: forward.tensors[group[0].input].shape[group[0].dimension] for name, group in axes.items()}
    generator = torch.Generator().manual_seed(0)
    grown = (lambda size: size, lambda size: 2 * size + 1, lambda size: 1, lambda size: size + 3)
    every = [{name: grow(size) for name, size in example.items()} for grow in grown]
    if rolled:
        every.append({name: size + MANY_STEPS * name.startswith("time") for name, size in example.items()})
    for sizes in every:
        free = {axis: sizes[name] for name, group in axes.items() for axis in group}
        tensors = [with_noise(tensor, generator) for tensor in resized(forward.tensors, free)]
        if "time" in sizes and sizes["time"] < example["time"]:
            tensors = [_at_most(tensor, sizes["time"]) for tensor in tensors]
        turned = [tensor if tensor.is_floating_point() or not tensor.dim() else tensor.roll(1, 0) for tensor in tensors]
        yield (sizes.get("batch", 0), sizes.get("time", 0)), [turned, tensors]


def _at_most(tensor: Tensor, time: int) -> Tensor:
    """Lengths that fit a shorter time."""
    return tensor.clamp(max=time) if tensor.dtype == torch.int64 and tensor.dim() == 1 else tensor


def _other(happened: str) -> UserError:
    return UserError(
        f"the file would be another model: {happened}",
        "a forward that is the same at every batch and length",
        "leave what hangs on the example's size or values out of the forward, or of dynamic",
    )
