"""Every entry of the extension under hostile calls, threads, forks and want of threads."""

import importlib.util
import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sparsernn import native

FOLDER = Path(__file__).parent
pytestmark = pytest.mark.skipif(native.module is None, reason="the extension is not built here")


def hostile_calls():
    spec = importlib.util.spec_from_file_location("hostile_calls", FOLDER / "hostile_calls.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_hostile_calls_compute_all_or_are_refused():
    hostile = hostile_calls()
    results = hostile.fuzz(native.module, 6000, seed=1)
    entries = hostile.Calls(native.module, 0).entries
    assert sum(results.values()) == 6000
    assert all(results[name, how] > 20 for name in entries for how in ("computed", "refused"))


def test_every_entry_is_called():
    entries = hostile_calls().Calls(native.module, 0).entries
    exported = {name: value for name, value in inspect.getmembers(native.module, callable) if name[0] != "_"}
    methods = {
        f"{name}.{method}"
        for name, value in exported.items()
        if isinstance(value, type)
        for method, _ in inspect.getmembers(value, callable)
        if method[0] != "_"
    }
    assert (set(exported) | methods) - set(entries) == {"instruction_sets", "RecurrentStream.reset"}


def test_eight_threads_get_the_bits_of_one():
    hostile_calls().share(native.module, threads=8, rounds=3)


def scan(batch, threads):
    generator, one = np.random.default_rng(0), np.float32
    output, end = np.zeros((5, batch, 2), one), np.zeros((batch, 3), one)
    projected, start = generator.standard_normal((5, batch, 6)).astype(one), np.zeros((batch, 3), one)
    vectors = [np.ones(3, one), np.ones(3, one)]
    arrays = projected, *vectors, None, start, None, output, None, end
    native.module.scan_forward("log", [1, 2], [0, 0], *arrays, threads, "")
    return output


def test_more_threads_than_there_can_be_compute_the_same():
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]);"
        "import test_hostile_calls as tests; tests.native.module = tests.hostile_calls().load(sys.argv[2]);"
        "expected = tests.scan(200, 1);"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**26,) * 2);"
        "assert (tests.scan(200, 200) == expected).all(); print('computed')"
    )
    command = [sys.executable, "-c", code, str(FOLDER), native.module.__file__]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert run.stdout.strip() == "computed", run.stderr


def test_a_process_forked_while_others_compute_computes():
    made = hostile_calls().Calls(native.module, 3)
    call = made.layer()
    layer, width, inputs = call.function(**call.values), call.inputs["width"], call.inputs["inputs"]
    x, go_on = np.ones((40, 3, inputs), np.float32), True

    def run():
        output, hidden = np.zeros((40, 3, width), np.float32), np.zeros((3, width), np.float32)
        layer.run(x, output, hidden, np.zeros((3 if call.inputs["memory"] else 0, call.inputs["hidden"]), "f4"), None)
        return output.tobytes()

    def work():
        while go_on:
            run()

    expected, team = run(), [threading.Thread(target=work) for _ in range(3)]
    for one in team:
        one.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                os._exit(0 if run() == expected and scan(9, 3).any() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        go_on = False
        for one in team:
            one.join()


@pytest.mark.slow
def test_sanitizers_report_nothing(tmp_path):
    command = [sys.executable, str(FOLDER / "sanitized.py"), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
