"""What importing costs, and what is said where an extra is absent."""

import json
import subprocess
import sys
import textwrap

import pytest

import sparsernn
from sparsernn import folders


def run(code: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def test_importing_loads_no_torch():
    assert run("import sys, sparsernn, sparsernn.runtime.formats; print('torch' in sys.modules)") == "False"


def test_every_public_name_loads():
    for name in sparsernn.__all__:
        assert getattr(sparsernn, name) is not None
    assert set(sparsernn.__all__) <= set(dir(sparsernn))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sparsify_everything'"):
        sparsernn.sparsify_everything  # noqa: B018


@pytest.mark.parametrize("name", [name for name in sparsernn.__all__ if name != "__version__"])
def test_a_name_that_needs_torch_says_so(name):
    said = run(
        WITHOUT.format(absent={"torch"})
        + textwrap.dedent(f"""
        import sparsernn
        try:
            sparsernn.{name}
        except ImportError as error:
            print(error)
    """)
    )
    assert 'pip install "sparsernn[torch]"' in said and name in said


def test_the_command_line_says_which_extra_it_needs():
    said = run(
        WITHOUT.format(absent={"typer", "rich"})
        + textwrap.dedent("""
        from sparsernn.__main__ import main
        try:
            main()
        except SystemExit as left:
            print(left.code)
    """)
    )
    assert 'pip install "sparsernn[train]"' in said


def test_flushing_denormals_is_a_setting():
    said = run("""
        from sparsernn import denormals
        before = denormals.is_flushing_denormal()
        can = denormals.set_flush_denormal()
        print(before, can == denormals.is_flushing_denormal())
    """)
    assert said == "False True"


def test_freed_memory_is_kept_where_the_c_library_can():
    """A large block that is freed and asked for again costs no new pages."""
    code = """
        import resource
        import numpy as np
        from sparsernn.allocation import keep_freed_memory

        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

        told = keep_freed_memory()
        np.empty(1 << 23).fill(1.0)
        before = faults()
        np.empty(1 << 23).fill(1.0)
        print(told, faults() - before)
    """
    told, count = run(code).split()
    assert told != "True" or int(count) < 100


def test_reading_a_run_imports_nothing_that_trains_cuts_or_scans():
    row = folders.find("recipes", "liu2021_table4").at("quick")[0].to_json()
    code = f"""
import json, sys
from sparsernn.experiments.rows import Row
from sparsernn.kernels import registry
from sparsernn.own_data import prediction, trained_run

Row.from_json(json.loads({json.dumps(row)!r}))
registry.kernels_of("sequence")
print(*sys.modules)
"""
    loaded = set(run(code).split())
    parts = ("training.loop", "compaction.compact", "kernels.scan.cpu_native", "experiments.ridge", "measure.jacobian")
    assert "torch" in loaded and not {f"sparsernn.{part}" for part in parts} & loaded
