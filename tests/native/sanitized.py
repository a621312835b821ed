"""Hostile calls of the extension, built with sanitizers: python tests/native/sanitized.py BUILD_FOLDER.

Address and undefined-behaviour sanitizers see `--calls` calls of all entries, the thread sanitizer a tenth of them, and
both see eight threads at once. The exit status is that of the first run that found something. GCC or Clang, CMake and
nanobind are needed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SANITIZERS = {"address,undefined": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
SETTINGS = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=8192",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:allocator_may_return_null=1",
}


def build(kind: str, folder: Path) -> Path:
    """The extension, compiled with these sanitizers."""
    source = PROJECT / "src/sparsernn/native"
    nanobind = subprocess.run(
        [sys.executable, "-m", "nanobind", "--cmake_dir"], check=True, capture_output=True, text=True
    )
    options = (f"-Dnanobind_DIR={nanobind.stdout.strip()}", f"-DPython_EXECUTABLE={sys.executable}")
    sanitize = (f"-DSPARSERNN_SANITIZE={kind}", "-DCMAKE_BUILD_TYPE=Release")
    subprocess.run(["cmake", "-S", str(source), "-B", str(folder), *options, *sanitize], check=True, stdout=2)
    subprocess.run(["cmake", "--build", str(folder), "--parallel", "2"], check=True, stdout=2)
    return next(folder.glob("_native*.so"))


def run(kind: str, module: Path, calls: int) -> int:
    """The exit status of hostile calls."""
    compiler = os.environ.get("CXX", "g++")
    libraries = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in SANITIZERS[kind]
    ]
    environment = os.environ | SETTINGS | {"LD_PRELOAD": " ".join(libraries), "OPENBLAS_NUM_THREADS": "1"}
    script = PROJECT / "tests/native/hostile_calls.py"
    command = [sys.executable, str(script), "--module", str(module), "--calls", str(calls)]
    return subprocess.run(command, env=environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to build")
    parser.add_argument("--calls", type=int, default=30000)
    options = parser.parse_args()
    for kind, calls in (("address,undefined", options.calls), ("thread", options.calls // 10)):
        module = build(kind, options.folder / kind.replace(",", "_"))
        if status := run(kind, module, calls):
            return status
        print(f"{kind}: no report", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
