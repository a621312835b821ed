"""Recurrent layers at inference, against the cells' own steps in numpy."""

import threading

import numpy as np
import pytest

from sparsernn import native
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.rnn import RNN
from sparsernn.errors import UserError
from sparsernn.runtime import numpy_math
from sparsernn.runtime.layers import NATIVE_CELLS, RecurrentLayer, candidates
from sparsernn.runtime.layouts import FORMATS

SETS = [] if native.module is None else native.module.instruction_sets()
FLOATS = [name for name, entry in FORMATS.items() if entry.dtype == "float32"]
INT8 = [name for name, entry in FORMATS.items() if entry.dtype == "int8"]
CELLS = {name: cell for cell, name in NATIVE_CELLS.items()}
# inputs, hidden, density, batch, time
SIZES = [
    (1, 1, 1.0, 1, 3),
    (16, 16, 1.0, 4, 17),
    (37, 5, 0.5, 3, 20),
    (200, 130, 0.05, 8, 5),
    (50, 300, 0.05, 33, 18),
    (7, 33, 0.0, 1, 40),
]
compiled = pytest.mark.skipif(native.module is None, reason="the extension is not built here")


def weights_of(cell, inputs, hidden, density, seed=0):
    generator, weights = np.random.default_rng(seed), {}
    rows = len(cell.gates) * hidden
    for name, columns in (("weight_ih", inputs), ("weight_hh", hidden)):
        kept = generator.random((rows, columns)) < density
        spread = 1 / np.sqrt(max(1, columns * density))
        weights[name] = (spread * generator.standard_normal((rows, columns)) * kept).astype(np.float32)
    for name in ("bias_ih", "bias_hh"):
        weights[name] = (0.3 * generator.standard_normal(rows)).astype(np.float32)
    return weights


def problem(cell, inputs, hidden, density, batch, time):
    generator = np.random.default_rng(1)
    x = generator.standard_normal((time, batch, inputs)).astype(np.float32)
    state = tuple((0.5 * generator.standard_normal((batch, hidden))).astype(np.float32) for _ in cell.states)
    return weights_of(cell, inputs, hidden, density), x, state, generator.integers(0, time + 1, batch)


def reference(cell, multiply, x, state, lengths=None):
    """All steps by the cell itself in float64."""
    state, outputs = tuple(part.astype(np.float64) for part in state), []
    for t, vector in enumerate(x.astype(np.float64)):
        after = cell.step(cell.project(vector, multiply, numpy_math), state, multiply, numpy_math)
        runs = np.ones((len(vector), 1), bool) if lengths is None else (t < lengths)[:, None]
        state = tuple(np.where(runs, new, old) for new, old in zip(after, state, strict=True))
        outputs.append(np.where(runs, after[0], 0))
    return np.stack(outputs), state


def dense(cell, weights):
    return numpy_math.Products(cell, {name: weight.astype(np.float64) for name, weight in weights.items()})


class Int8Products(numpy_math.Products):
    """Weights in 8 bits with a scale a row, vectors in 8 bits with a scale each."""

    def __call__(self, name, vector=None, gates=None):
        rows = self.cell.rows(name, gates, len(self.weights[name]))
        weight, bias = self.weights[name][rows], self.bias_of(name)[rows]
        scales = np.abs(weight).max(1) / 127
        whole = np.rint(weight / np.where(scales > 0, scales, 1)[:, None])
        most = np.abs(vector).max(-1, keepdims=True)
        numbers = np.rint(vector * np.divide(127, most, where=most > 0, out=np.zeros_like(most)))
        return numbers @ whole.T * scales * (most / 127) + bias


def assert_near(found, expected, tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("format", FLOATS)
@pytest.mark.parametrize("name", CELLS)
def test_every_format_cell_and_instruction_set_equals_the_cell(name, format, instructions):
    cell = CELLS[name]
    for sizes in SIZES:
        weights, x, state, lengths = problem(cell, *sizes)
        layer = RecurrentLayer(cell, weights, format, instructions=instructions)
        output, after = layer.run(x, state, lengths)
        expected, expected_after = reference(cell, dense(cell, weights), x, state, lengths)
        assert layer.provider == "cpu_native" and output.dtype == np.float32
        assert_near((output, *after), (expected, *expected_after), 1e-5)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("format", INT8)
@pytest.mark.parametrize("name", CELLS)
def test_int8_equals_whole_numbers_in_numpy(name, format, instructions):
    cell = CELLS[name]
    for sizes in SIZES:
        weights, x, state, lengths = problem(cell, *sizes)
        layer = RecurrentLayer(cell, weights, format, instructions=instructions)
        whole = Int8Products(cell, {key: weight.astype(np.float64) for key, weight in weights.items()})
        first = layer.run(x[:1], state)
        # What another gate has multiplied is rounded in float32 first, and then to either of two whole numbers.
        tolerance = 5e-3 if name == "gru_reset_before" else 1e-5
        assert_near((first[0], *first[1]), _flat(reference(cell, whole, x[:1], state)), tolerance)
        output, after = layer.run(x, state, lengths)
        assert_near((output, *after), _flat(reference(cell, dense(cell, weights), x, state, lengths)), 0.12)


def _flat(result):
    return result[0], *result[1]


@compiled
@pytest.mark.parametrize("format", INT8)
def test_int8_is_the_same_whatever_the_instruction_set(format):
    cell = LSTM()
    weights, x, state, _ = problem(cell, 70, 50, 0.2, 5, 3)
    results = [RecurrentLayer(cell, weights, format, instructions=name).run(x, state)[0] for name in SETS]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=5e-4)


@compiled
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", CELLS)
def test_a_stream_goes_on_as_a_run_does(name, format):
    cell = CELLS[name]
    for batch in (1, 3, 17):
        weights, x, state, _ = problem(cell, 40, 21, 0.3, batch, 9)
        layer = RecurrentLayer(cell, weights, format)
        output, after = layer.run(x)
        stream = layer.stream(batch)
        for _ in range(2):
            made = np.stack([stream.step(frame).copy() for frame in x])
            np.testing.assert_allclose(made, output, atol=1e-6 if FORMATS[format].dtype == "float32" else 1e-7)
            assert_near(stream.state, after, 1e-6)
            stream.reset()
            assert not any(part.any() for part in stream.state)


@compiled
def test_the_state_of_a_stream_may_be_written():
    cell = GRU()
    weights, x, state, _ = problem(cell, 6, 9, 0.5, 2, 1)
    layer = RecurrentLayer(cell, weights)
    stream = layer.stream(2)
    stream.state[0][:] = state[0]
    np.testing.assert_array_equal(stream.step(x[0]), layer.run(x, state)[0][0])


@compiled
@pytest.mark.parametrize("format", FORMATS)
def test_threads_that_share_a_layer_get_what_one_gets(format):
    cell = LSTM()
    weights, x, *_ = problem(cell, 64, 96, 0.2, 2, 60)
    layer, results = RecurrentLayer(cell, weights, format), [None] * 2
    alone = layer.run(x)[0]

    def work(number):
        for _ in range(10):
            results[number] = layer.run(x)[0]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, alone)


@compiled
@pytest.mark.parametrize("format", FLOATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CELLS)
def test_what_is_not_finite_comes_out_only_where_it_may(name, bad, format):
    cell = CELLS[name]
    weights, x, *_ = problem(cell, 12, 40, 0.3, 2, 4)
    x[2, 1, 5] = bad
    layer = RecurrentLayer(cell, weights, format)
    output = layer.run(x)[0]
    with np.errstate(invalid="ignore", over="ignore"):
        expected = reference(cell, dense(cell, weights), x, tuple(np.zeros((2, 40)) for _ in cell.states))[0]
    sound = np.isfinite(expected)
    np.testing.assert_allclose(output[sound], expected[sound], rtol=1e-5, atol=1e-5)
    if np.isnan(bad):
        reading = (weights["weight_ih"][:, 5] != 0).reshape(len(cell.gates), -1).any(0)
        if cell in (RNN(), LSTM(), GRU()):
            assert np.isnan(output[2, 1, reading]).all()


@compiled
@pytest.mark.parametrize("format", ["rows", "blocks"])
def test_units_whose_slice_does_not_read_an_infinite_input_stay_finite(format):
    weights = weights_of(LSTM(), 32, 48, 0.0)
    weights["weight_ih"][3, 4] = 1.0
    x = np.zeros((1, 1, 32), np.float32)
    x[0, 0, 4] = np.inf
    assert np.isfinite(RecurrentLayer(LSTM(), weights, format).run(x)[0][..., 16:]).all()


@compiled
@pytest.mark.parametrize("format", FORMATS)
def test_denormal_numbers_are_zeros_and_the_thread_is_as_before(format):
    cell = RNN()
    weights, x, state, _ = problem(cell, 20, 20, 0.5, 1, 5)
    layer, tiny = RecurrentLayer(cell, weights, format), np.full_like(x, 1e-40)
    np.testing.assert_array_equal(layer.run(tiny, state)[0], layer.run(np.zeros_like(x), state)[0])
    before = np.float32(1e-38) * np.float32(0.1)
    layer.run(x)
    assert np.float32(1e-38) * np.float32(0.1) == before


@compiled
def test_gates_without_weights_are_constants():
    cell = LSTM()
    weights, x, state, _ = problem(cell, 24, 48, 0.3, 2, 6)
    for name in ("weight_ih", "weight_hh"):
        weights[name][48:96] = 0
    sparse = RecurrentLayer(cell, weights, "int8_blocks").bytes
    assert sparse < RecurrentLayer(cell, weights, "int8_dense").bytes
    output, after = RecurrentLayer(cell, weights, "blocks").run(x, state)
    assert_near((output, *after), _flat(reference(cell, dense(cell, weights), x, state)), 1e-5)


@compiled
def test_masks_say_what_exists():
    cell = RNN()
    weights, x, state, _ = problem(cell, 8, 16, 1.0, 1, 3)
    masks = {"weight_hh": np.random.default_rng(3).random((16, 16)) < 0.4}
    masked = weights | {"weight_hh": weights["weight_hh"] * masks["weight_hh"]}
    for format in FLOATS:
        ours = RecurrentLayer(cell, weights, format, masks).run(x, state)[0]
        np.testing.assert_allclose(ours, RecurrentLayer(cell, masked, "dense").run(x, state)[0], atol=1e-6)


@compiled
def test_candidates_tell_what_layers_take():
    weights = weights_of(LSTM(), 64, 64, 0.1)
    sizes = candidates(LSTM(), weights)
    assert set(sizes) == set(FORMATS) and list(sizes.values()) == sorted(sizes.values())
    for format, size in sizes.items():
        assert RecurrentLayer(LSTM(), weights, format).bytes == size


@compiled
def test_more_columns_than_can_be_numbered_are_refused():
    weights = weights_of(RNN(), 65537, 1, 1.0)
    with pytest.raises(UserError, match="65537 columns does not fit"):
        RecurrentLayer(RNN(), weights, "blocks")
    x = np.ones((1, 1, 65537), np.float32) / 65537
    assert "blocks" not in candidates(RNN(), weights)
    assert RecurrentLayer(RNN(), weights, "rows").run(x)[0].shape == (1, 1, 1)


@pytest.mark.parametrize("cell", [LSTM(), LSTM(gate_activation="hard_sigmoid"), PeepholeLSTM(), GRU(reset="before")])
def test_numpy_computes_what_the_extension_does_not(cell, monkeypatch):
    monkeypatch.setattr(native, "module", None)
    weights, x, state, lengths = problem(cell, 6, 9, 0.5, 3, 5)
    if "weight_ch" in cell.axes:
        weights["weight_ch"] = np.ones(cell.shape("weight_ch", {"hidden": 9, "memory": 9, "input": 6}), np.float32)
    layer = RecurrentLayer(cell, weights, "int8_blocks")
    output, after = layer.run(x, state, lengths)
    assert layer.provider == "numpy" and candidates(cell, weights).keys() == {"dense"}
    assert_near((output, *after), _flat(reference(cell, dense(cell, weights), x, state, lengths)), 1e-5)
    stream = layer.stream(3)
    np.testing.assert_allclose([stream.step(frame).copy() for frame in x], layer.run(x)[0], atol=1e-6)
    stream.reset()
    assert not stream.state[0].any()


def test_a_projected_state_has_its_own_width():
    cell, generator = LSTM(projected=True), np.random.default_rng(0)
    sizes = {"input": 3, "hidden": 6, "memory": 6, "projection": 2}
    weights = {name: generator.standard_normal(cell.shape(name, sizes)).astype(np.float32) for name in cell.axes}
    x, state = np.ones((4, 2, 3), np.float32), (np.ones((2, 2), np.float32), np.ones((2, 6), np.float32))
    output, after = RecurrentLayer(cell, weights).run(x, state)
    assert_near((output, *after), _flat(reference(cell, dense(cell, weights), x, state)), 1e-5)


@compiled
@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (0, 0, 3)])
def test_nothing_comes_of_nothing(shape):
    layer = RecurrentLayer(LSTM(), weights_of(LSTM(), 3, 5, 1.0))
    output, state = layer.run(np.zeros(shape, np.float32))
    assert output.shape == (*shape[:2], 5) and [part.shape for part in state] == [(shape[1], 5)] * 2


@pytest.mark.parametrize("with_extension", [True, False])
@pytest.mark.parametrize(
    "happened, arguments",
    [
        ("x is float64 of shape", {"x": np.zeros((2, 1, 3))}),
        ("x is float32 of shape", {"x": np.zeros((2, 1, 4), np.float32)}),
        ("x is a list", {"x": [[[0.0] * 3]]}),
        ("x has gaps", {"x": np.zeros((2, 1, 6), np.float32)[..., ::2]}),
        ("state has 1 parts", {"state": (np.zeros((1, 5), np.float32),)}),
        (r"state \(memory\) is float64", {"state": (np.zeros((1, 5), np.float32), np.zeros((1, 5)))}),
        ("lengths is int32", {"lengths": np.ones(1, np.int32)}),
        ("lengths is int64 of shape", {"lengths": np.ones(2, np.int64)}),
    ],
)
def test_arguments_are_taken_as_they_must_be_or_refused(happened, arguments, with_extension, monkeypatch):
    if not with_extension:
        monkeypatch.setattr(native, "module", None)
    layer = RecurrentLayer(LSTM(), weights_of(LSTM(), 3, 5, 1.0))
    with pytest.raises(UserError, match=happened):
        layer.run(**({"x": np.zeros((2, 1, 3), np.float32)} | arguments))


@pytest.mark.parametrize(
    "happened, change",
    [
        ("no weight_hh", {"weight_hh": None}),
        ("no weight_xy in this cell", {"weight_xy": np.zeros((2, 2), np.float32)}),
        ("weight_ih is float64", {"weight_ih": np.zeros((20, 3))}),
        ("weight_hh is float32 of shape", {"weight_hh": np.zeros((20, 4), np.float32)}),
        ("bias_ih is float32 of shape", {"bias_ih": np.zeros(5, np.float32)}),
    ],
)
def test_weights_that_do_not_fit_are_refused(happened, change):
    weights = weights_of(LSTM(), 3, 5, 1.0) | change
    with pytest.raises(UserError, match=happened):
        RecurrentLayer(LSTM(), {name: weight for name, weight in weights.items() if weight is not None})
    with pytest.raises(UserError, match='format is "csr"'):
        RecurrentLayer(LSTM(), weights_of(LSTM(), 3, 5, 1.0), "csr")
    with pytest.raises(UserError, match="batch is 0"):
        RecurrentLayer(LSTM(), weights_of(LSTM(), 3, 5, 1.0)).stream(0)


@compiled
@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 3)),
        np.zeros((1, 4), np.float32),
        np.zeros(3, np.float32),
        np.zeros((1, 6), np.float32)[:, ::2],
        np.zeros((1, 3), ">f4"),
        np.zeros((1, 3), np.int32),
        np.frombuffer(bytes(13), np.uint8)[1:].view(np.float32).reshape(1, 3),
        [[0.0, 0.0, 0.0]],
        None,
    ],
)
def test_a_stream_takes_nothing_that_it_would_have_to_convert(x):
    stream = RecurrentLayer(LSTM(), weights_of(LSTM(), 3, 5, 1.0)).stream()
    with pytest.raises(ValueError, match=r"x must be a C-contiguous array of float32 and shape \[1, 3\]"):
        stream.step(x)


@compiled
def test_the_extension_refuses_arrays_that_would_lead_it_astray():
    def made(starts=(0, 1), owners=(0,), places=(0,), values=((0,) * 64,), layout="blocks", columns=4, outer_runs=1):
        return native.module.PackedWeight(
            layout,
            1,
            columns,
            outer_runs,
            np.array(starts, np.uint32),
            np.array(owners, np.uint16),
            np.array(places, np.uint16),
            np.array(values, np.uint8).reshape(-1, 64),
            np.zeros((0, 0), np.uint8),
            np.zeros((0, 16), np.float32),
        )

    weight = made()
    for change in (
        {"starts": (0, 2)},
        {"starts": (1, 1)},
        {"owners": (1,)},
        {"places": (4,)},
        {"outer_runs": 2},
        {"columns": 0},
        {"columns": 65537},
        {"layout": "int8_lookup"},
    ):
        with pytest.raises(ValueError):
            made(**change)
    bias, none = np.zeros((1, 16), np.float32), np.zeros((0, 16), np.float32)
    layer = native.module.RecurrentLayer("rnn_tanh", 4, 4, weight, weight, bias, none, "")
    with pytest.raises(ValueError, match="slice for each gate"):
        native.module.RecurrentLayer("lstm", 4, 4, weight, weight, bias, none, "")
    with pytest.raises(ValueError, match="a column for each"):
        native.module.RecurrentLayer("rnn_tanh", 4, 5, weight, weight, bias, none, "")
    x, output, hidden = (np.zeros(shape, np.float32) for shape in ((2, 1, 4), (2, 1, 4), (1, 4)))
    layer.run(x, output, hidden, np.zeros((0, 4), np.float32), None)
    output.flags.writeable = False
    with pytest.raises(ValueError, match="output must be a writable C-contiguous array"):
        layer.run(x, output, hidden, np.zeros((0, 4), np.float32), None)
