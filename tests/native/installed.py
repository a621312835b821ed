"""What an installation of the package alone must do: pack a network, read it, run it, and give what equations give.

    python tests/native/installed.py                       with the extension
    python tests/native/installed.py --without-extension   by numpy, which says so

It needs what the package itself needs, so that wheels are checked with it where they are built.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from sparsernn import native, runtime
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.runtime import artifact
from sparsernn.runtime.network import LayerSpec, NetworkSpec


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(weights, x):
    """h' = o tanh(c'), c' = f c + i g."""
    into, again, bias = (weights[name].astype(np.float64) for name in ("weight_ih", "weight_hh", "bias_ih"))
    hidden = memory = np.zeros(again.shape[1])
    for frame in x:
        i, f, g, o = np.split(into @ frame + again @ hidden + bias, 4)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(memory)
        yield hidden


def gru(weights, x):
    """h' = (1 - z) n + z h, n = tanh(W x + b + r U h)."""
    into, again, bias = (weights[name].astype(np.float64) for name in ("weight_ih", "weight_hh", "bias_ih"))
    hidden = np.zeros(again.shape[1])
    for frame in x:
        (r, z, n), (u_r, u_z, u_n) = np.split(into @ frame + bias, 3), np.split(again @ hidden, 3)
        z, n = sigmoid(z + u_z), np.tanh(n + sigmoid(r + u_r) * u_n)
        hidden = (1 - z) * n + z * hidden
        yield hidden


def check(cell, equations, gates, format):
    generator = np.random.default_rng(0)
    shapes = {"weight_ih": (gates * 37, 5), "weight_hh": (gates * 37, 37), "bias_ih": (gates * 37,)}
    weights = {name: generator.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["weight_hh"][generator.random(shapes["weight_hh"]) < 0.9] = 0
    x = generator.normal(size=(2, 11, 5)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network")
        artifact.save(path, NetworkSpec("recurrent", [LayerSpec(cell, weights, format)]))
        network = runtime.load(path)
    expected = np.stack([list(equations(weights, one)) for one in x])
    tolerance = 0.1 if format.startswith("int8") and native.module is not None else 2e-5
    np.testing.assert_allclose(network.run(x), expected, atol=tolerance)


def main() -> None:
    without = "--without-extension" in sys.argv
    if (native.module is None) != without:
        sys.exit(f"the extension is {'there' if without else 'absent'}: {native.why_absent()}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for format in ("dense", "rows", "blocks", "int8_blocks"):
            check(LSTM(), lstm, 4, format)
            check(GRU(), gru, 3, format)
    assert bool(caught) == without, [str(one.message) for one in caught]
    assert "torch" not in sys.modules
    print(native.why_absent() or f"instruction sets: {', '.join(native.module.instruction_sets())}")


if __name__ == "__main__":
    main()
