"""What a run ran on: versions, processor, threads."""

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import torch

from sparsernn import denormals
from sparsernn.version import __version__

MUST_MATCH = ("flush_denormal", "processes", "sparsernn", "torch")


def describe_environment(**more: object) -> dict[str, object]:
    """Versions and the machine as JSON values; `more` is added. Names no host, user or path."""
    return {
        "sparsernn": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "safetensors": importlib.metadata.version("safetensors"),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "flush_denormal": denormals.is_flushing_denormal(),
        "native": importlib.util.find_spec("sparsernn.native._native") is not None,
        **more,
    }


def processor_name() -> str:
    """The processor's model as the system names it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def differences(before: Mapping[str, object], now: Mapping[str, object], names: tuple[str, ...]) -> list[str]:
    """The named entries that are not the same, as "name: before, now"."""
    return [f"{name}: {before.get(name)}, now {now.get(name)}" for name in names if before.get(name) != now.get(name)]
