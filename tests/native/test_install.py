"""The extension is there where a compiler is, and the package works where none is."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors

import sparsernn
from sparsernn import native

PROJECT = Path(__file__).parents[2]
HEADERS = Path(sysconfig.get_path("include"), "Python.h")


@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")) or not HEADERS.exists(),
    reason="no compiler or no Python headers",
)
def test_the_extension_is_built_where_it_can_be():
    assert native.module is not None, native.why_absent()
    assert native.why_absent() is None


@pytest.mark.skipif(native.module is None, reason="the extension was not built")
def test_what_is_installed_is_small():
    """What a wheel holds of the package, the extension included: under 3,000,000 bytes."""
    folder, left_out = Path(sparsernn.__file__).parent, {".cpp", ".h", ".pyc", ".so"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in left_out]
    extension = Path(native.module.__file__).stat().st_size
    assert sum(path.stat().st_size for path in files if path.name != "CMakeLists.txt") + extension < 3_000_000


def test_an_extension_that_does_not_load_says_why(monkeypatch):
    monkeypatch.setattr(native, "module", None)
    monkeypatch.setattr(native, "_failure", ImportError("undefined symbol"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert native.why_absent() == "the compiled extension was built but does not load: undefined symbol"


def test_without_a_compiler_the_wheel_is_pure_and_works(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    none = str(shutil.which("false"))
    subprocess.run([*build, str(PROJECT)], env=os.environ | {"CXX": none, "CC": none}, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
        names = packed.namelist()
    assert "sparsernn/py.typed" in names
    assert not [name for name in names if name.endswith((".so", ".cpp", ".h", "CMakeLists.txt"))]
    for module in (np, safetensors):
        folder = Path(module.__file__).parent
        (tmp_path / "site" / folder.name).symlink_to(folder)
    (tmp_path / "site" / "numpy.libs").symlink_to(Path(np.__file__).parents[1] / "numpy.libs")
    done = subprocess.run(
        [sys.executable, "-S", PROJECT / "tests" / "native" / "installed.py", "--without-extension"],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "was not built" in done.stdout and "compiler" in done.stdout
