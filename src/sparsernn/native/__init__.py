"""The compiled extension, and why it is absent where it is.

`module` is the extension or None; everything it does has a numpy reference beside the call.
"""

import importlib
import importlib.util
from types import ModuleType

module: ModuleType | None
_failure: ImportError | None = None
try:
    module = importlib.import_module("sparsernn.native._native")
except ImportError as error:
    module, _failure = None, error


def loaded() -> ModuleType:
    """The extension. Raises: ImportError if it is absent; callers ask `why_absent` first."""
    if module is None:
        raise ImportError(why_absent())
    return module


def why_absent() -> str | None:
    """One sentence on why the extension is not there, or None where it is."""
    if module is not None:
        return None
    if importlib.util.find_spec("sparsernn.native._native") is None:
        return (
            "the compiled extension was not built: there was neither a wheel for this machine nor a working C++20 "
            "compiler when sparsernn was installed; install one (for example g++) and reinstall with "
            "pip install --force-reinstall --no-deps --no-binary sparsernn sparsernn"
        )
    return f"the compiled extension was built but does not load: {_failure}"
