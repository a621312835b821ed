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

from sparsernn import native

PROJECT = Path(__file__).parents[2]
HEADERS = Path(sysconfig.get_path("include"), "Python.h")

USE = """
import sys
from sparsernn import native
from sparsernn.runtime.formats import pack_mask, unpack_mask
import numpy as np
mask = np.arange(77) % 3 == 0
assert native.__file__.startswith(sys.argv[1]), native.__file__
assert (unpack_mask(pack_mask(mask), (77,)) == mask).all()
print(native.why_absent())
"""


@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")) or not HEADERS.exists(),
    reason="no compiler or no Python headers",
)
def test_the_extension_is_built_where_it_can_be():
    assert native.module is not None, native.why_absent()
    assert native.why_absent() is None


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
    paths = os.pathsep.join([str(tmp_path / "site"), str(Path(np.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-S", "-c", USE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "was not built" in done.stdout and "compiler" in done.stdout
