"""Lines of a table of what a network became: quality, bytes, the time of a call, and how equal it is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sparsernn.reports.quantities import Table

TOLERANCE = 2e-5
"""Of float32 outputs against torch's, for the largest being 1."""
Outputs = list[np.ndarray]


@dataclass(frozen=True)
class Form:
    """A line of the table.

    Attributes:
        quality: None where nothing was trained.
        microseconds: of a call; count, unit: what an emulator counted in place of that.
        difference: the largest from the torch network that the form is, for the largest output being 1.
    """

    form: str
    quality: float | None
    bytes: int
    microseconds: float | None = None
    difference: float | None = None
    count: float | None = None
    unit: str = ""


def largest_difference(outputs: Outputs, reference: Outputs) -> float:
    """For the largest output being 1."""
    largest = 1 + max(float(np.abs(one).max()) for one in reference)
    return max(float(np.abs(one - two).max()) for one, two in zip(outputs, reference, strict=True)) / largest


def bytes_of(model: nn.Module) -> int:
    """Of all parameters."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def onnx_session(path: Path) -> Any:
    """ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def interleaved(steps: dict[str, Callable[[], object]], rounds: int = 21, count: int = 50) -> dict[str, float]:
    """Microseconds of a call of each, the median of rounds that run all in turn."""
    took: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(count):
                step()
            took[name].append((time.perf_counter() - start) / count)
    return {name: 1e6 * statistics.median(values) for name, values in took.items()}


def table(lines: Sequence[Form]) -> str:
    """Times are fractions of the dense network's in torch."""
    dense, rows = lines[0], []
    for line in lines:
        if line.count is not None:
            took = f"{line.count:,.0f} {line.unit}"
        else:
            took = "-" if line.microseconds is None else f"{dense.microseconds / line.microseconds:,.1f} x"  # type: ignore[operator]
        difference = "-" if line.difference is None else f"{line.difference:.1g}"
        quality = "-" if line.quality is None else f"{line.quality:.0f}"
        quality = f"{100 * line.quality:.1f} %" if line.quality is not None and line.quality <= 1 else quality
        rows.append((line.form, quality, f"{line.bytes:,}", took, difference))
    return Table(
        ("form", "quality", "bytes", "steps a second, dense torch being 1", "difference"), tuple(rows)
    ).markdown()
