"""Running networks without torch, and how their weights lie in memory and in files."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsernn.runtime.artifact import Artifact, load, load_any

__all__ = ["Artifact", "load", "load_any"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("sparsernn.runtime.artifact"), name)
