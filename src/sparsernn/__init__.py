"""Sparse recurrent networks: make them sparse, prove that the small one is the same, run it fast.

The names below load on first use; importing the package loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sparsernn.version import __version__

_HOMES = {
    "Classifier": "sparsernn.own_data.classifier",
    "InTraining": "sparsernn.tracing.examples",
    "Masks": "sparsernn.structure.masks",
    "explain_kernels": "sparsernn.running.explaining",
    "Sparsifier": "sparsernn.sparsifying.sparsifier",
    "accelerate": "sparsernn.deploy.accelerating",
    "analyse": "sparsernn.own_model.analysis",
    "compact": "sparsernn.compaction.compact",
    "export_c": "sparsernn.deploy.c_source",
    "export_onnx": "sparsernn.deploy.to_onnx.exporting",
    "load_compact": "sparsernn.compaction.files",
    "save_compact": "sparsernn.compaction.files",
    "set_flush_denormal": "sparsernn.denormals",
    "shrink": "sparsernn.own_model.shrinking",
    "sparsify": "sparsernn.sparsifying.sparsifier",
}
__all__ = [
    "Classifier",
    "InTraining",
    "Masks",
    "Sparsifier",
    "__version__",
    "accelerate",
    "analyse",
    "compact",
    "explain_kernels",
    "export_c",
    "export_onnx",
    "load_compact",
    "save_compact",
    "set_flush_denormal",
    "shrink",
    "sparsify",
]

if TYPE_CHECKING:
    from sparsernn.compaction.compact import compact
    from sparsernn.compaction.files import load_compact, save_compact
    from sparsernn.denormals import set_flush_denormal
    from sparsernn.deploy.accelerating import accelerate
    from sparsernn.deploy.c_source import export_c
    from sparsernn.deploy.to_onnx.exporting import export_onnx
    from sparsernn.own_data.classifier import Classifier
    from sparsernn.own_model.analysis import analyse
    from sparsernn.own_model.shrinking import shrink
    from sparsernn.running.explaining import explain_kernels
    from sparsernn.sparsifying.sparsifier import Sparsifier, sparsify
    from sparsernn.structure.masks import Masks
    from sparsernn.tracing.examples import InTraining


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise ImportError(f'sparsernn.{name} needs torch, which is absent: pip install "sparsernn[torch]"') from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
