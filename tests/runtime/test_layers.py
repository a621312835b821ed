"""Recurrent layers at inference, against the cells' own steps in numpy."""

import threading

import numpy as np
import pytest

from sparsernn import native
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork
from sparsernn.cells.rnn import RNN
from sparsernn.errors import UserError
from sparsernn.runtime import numpy_math
from sparsernn.runtime.layers import RecurrentLayer, candidates
from sparsernn.runtime.layouts import FORMATS

SETS = [] if native.module is None else native.module.instruction_sets()
FLOATS = [name for name, entry in FORMATS.items() if entry.dtype == "float32"]
INT8 = [name for name, entry in FORMATS.items() if entry.dtype == "int8"]
CELLS = {
    "lstm": LSTM(),
    "projected_lstm": LSTM(projected=True),
    "peephole_lstm": PeepholeLSTM(),
    "full_peephole_lstm": PeepholeLSTM(peephole="full"),
    "gru_reset_after": GRU(),
    "gru_reset_before": GRU(reset="before"),
    "rnn_tanh": RNN(),
    "rnn_relu": RNN(nonlinearity="relu"),
    "recurrent_highway": RecurrentHighwayNetwork(depth=3),
    "shallow_recurrent_highway": RecurrentHighwayNetwork(depth=1),
}
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


def sizes_of(cell, inputs, hidden):
    return cell.sizes(inputs, hidden) | {"projection": max(1, hidden // 2)}


def weights_of(cell, inputs, hidden, density, seed=0):
    generator, weights = np.random.default_rng(seed), {}
    sizes = sizes_of(cell, inputs, hidden)
    for name in cell.axes:
        shape = cell.shape(name, sizes)
        if len(shape) == 1:
            weights[name] = (0.3 * generator.standard_normal(shape)).astype(np.float32)
            continue
        kept = generator.random(shape) < density
        spread = 1 / np.sqrt(max(1, shape[1] * density))
        weights[name] = (spread * generator.standard_normal(shape) * kept).astype(np.float32)
    return weights


def state_of(cell, inputs, hidden, batch, spread=0.5):
    generator, sizes = np.random.default_rng(2), sizes_of(cell, inputs, hidden)
    widths = [sizes[axis] for axis in cell.state_axes]
    return tuple((spread * generator.standard_normal((batch, width))).astype(np.float32) for width in widths)


def problem(cell, inputs, hidden, density, batch, time):
    generator = np.random.default_rng(1)
    x = generator.standard_normal((time, batch, inputs)).astype(np.float32)
    state = state_of(cell, inputs, hidden, batch)
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
        if weight.ndim == 1:
            return weight * np.tile(vector, len(weight) // vector.shape[-1])
        weight = weight.astype(np.float32)
        scales = np.abs(weight).max(1) / np.float32(127)
        whole = np.rint(weight / np.where(scales > 0, scales, 1)[:, None]).astype(np.float64)
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
        # What is made in a step is rounded in float32 first, and then to either of two whole numbers.
        twice = ("gru_reset_before", "projected_lstm", "recurrent_highway")
        tolerance = 5e-3 if name in twice else 1e-5
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
            made = np.stack([stream.step(frame) for frame in x])
            np.testing.assert_allclose(made, output, atol=1e-6 if FORMATS[format].dtype == "float32" else 1e-7)
            assert_near(stream.state, after, 1e-6)
            stream.reset()
            assert not any(part.any() for part in stream.state)


@compiled
def test_an_output_of_a_stream_stays_as_long_as_it_or_a_view_of_it_is_held():
    weights, x, *_ = problem(GRU(), 6, 9, 0.5, 2, 20)
    layer = RecurrentLayer(GRU(), weights)
    stream, expected = layer.stream(2), layer.run(x)[0]
    kept = [stream.step(frame) for frame in x[:5]]
    views = [stream.step(frame)[1, 2:4] for frame in x[5:10]]
    memory = memoryview(stream.step(x[10]))
    places = {stream.step(frame).ctypes.data for frame in x[11:]}
    for output, right in zip(kept, expected, strict=False):
        np.testing.assert_allclose(output, right, atol=1e-6)
    for view, right in zip(views, expected[5:], strict=False):
        np.testing.assert_allclose(view, right[1, 2:4], atol=1e-6)
    np.testing.assert_allclose(np.asarray(memory), expected[10], atol=1e-6)
    assert len(places) <= 2


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


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", CELLS)
def test_what_is_not_finite_comes_out_where_a_dense_product_has_it(name, format, instructions):
    cell = CELLS[name]
    for places in ([np.nan], [np.inf], [-np.inf, np.inf], [np.inf, np.nan]):
        for batch, density in ((1, 0.3), (3, 1.0), (17, 0.05)):
            weights, x, *_ = problem(cell, 12, 40, density, batch, 4)
            x[2, batch - 1, 5 : 5 + len(places)] = places
            if FORMATS[format].dtype == "int8":  # numbers too small for 8 bits would make a sign
                weights = {
                    name: np.where(weight != 0, np.sign(weight), 0).astype(np.float32) if weight.ndim == 2 else weight
                    for name, weight in weights.items()
                }
            with np.errstate(invalid="ignore", over="ignore"):
                start = tuple(np.zeros_like(part) for part in state_of(cell, 12, 40, batch))
                expected = _flat(reference(cell, dense(cell, weights), x, start))
            layer = RecurrentLayer(cell, weights, format, instructions=instructions)
            output, after = layer.run(x)
            for ours, theirs in zip((output, *after), expected, strict=True):
                np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
                np.testing.assert_array_equal(np.isposinf(ours), np.isposinf(theirs))
                np.testing.assert_array_equal(np.isneginf(ours), np.isneginf(theirs))
            if FORMATS[format].dtype == "float32":
                assert_near((output, *after), expected, 1e-5)


@compiled
@pytest.mark.parametrize("name", CELLS)
def test_a_state_that_is_not_finite_goes_on_so(name):
    cell = CELLS[name]
    weights, x, state, _ = problem(cell, 6, 20, 0.4, 2, 3)
    for number in range(len(state)):
        start = tuple(part.copy() for part in state)
        start[number][1, 3] = np.nan
        output, after = RecurrentLayer(cell, weights, "rows").run(x, start)
        with np.errstate(invalid="ignore"):
            expected = _flat(reference(cell, dense(cell, weights), x, start))
        assert_near((output, *after), expected, 1e-5)
        assert np.isfinite(output[:, 0]).all() and np.isnan(output[:, 1]).any()


@compiled
@pytest.mark.parametrize("format", INT8)
def test_weights_that_are_not_finite_have_no_8_bits(format):
    weights = weights_of(LSTM(), 5, 7, 1.0)
    weights["weight_hh"][3, 2] = np.inf
    with pytest.raises(UserError, match="a weight that is not finite does not fit"):
        RecurrentLayer(LSTM(), weights, format)
    assert set(candidates(LSTM(), weights)) == set(FLOATS)


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
@pytest.mark.parametrize("format", FORMATS)
def test_layers_wider_than_16_bits_can_number(format):
    cell, generator = RNN(), np.random.default_rng(5)
    inputs = {"rows": 64 * 65536 + 300, "int8_lookup": 64 * 65536 + 300}.get(format, 2 * 65536 + 70)
    weights = weights_of(cell, 3, 2, 1.0) | {"weight_ih": np.zeros((2, inputs), np.float32)}
    columns = np.concatenate([[0, 65535, 65536, inputs - 1], generator.integers(0, inputs, 40)])
    for row in range(2):
        weights["weight_ih"][row, columns[row::2]] = generator.choice([-1.0, 1.0], len(columns[row::2])) / 8
    x = generator.standard_normal((3, 2, inputs), dtype=np.float32)
    state = tuple(np.zeros((2, 2), np.float32) for _ in cell.states)
    expected = _flat(reference(cell, dense(cell, weights), x, state))
    for density_of in (format, "dense" if FORMATS[format].dtype == "float32" else "int8_dense"):
        output, after = RecurrentLayer(cell, weights, density_of).run(x, state)
        assert_near((output, *after), expected, 1e-5 if FORMATS[format].dtype == "float32" else 0.12)


@compiled
def test_a_projection_of_torch_is_computed_by_the_extension():
    import torch

    from sparsernn import accelerate

    torch.manual_seed(0)
    model = torch.nn.LSTM(9, 20, num_layers=2, proj_size=6, bidirectional=True).eval()
    x = torch.randn(7, 3, 9)
    fast = accelerate(model, format="rows")
    with torch.no_grad():
        (output, states), (expected, expected_states) = fast(x), model(x)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for ours, theirs in zip(states, expected_states, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    layers = fast.forward._layers.values()
    assert [layer.provider for layer in layers] == ["cpu_native"] * 4 and {layer.width for layer in layers} == {6}


@pytest.mark.parametrize("options", [{"lengths": 3}, {"lengths": {1: 2, 4: 3}, "semiring": "log"}], ids=str)
def test_automata_of_several_states_are_accelerated(options):
    """Their weights have more rows than there are patterns."""
    import torch

    from sparsernn import accelerate
    from sparsernn.nn import Rational

    torch.manual_seed(0)
    model, x = Rational(4, 5, 2, **options).eval(), torch.randn(6, 2, 4)
    with torch.no_grad():
        torch.testing.assert_close(accelerate(model, format="rows")(x)[0], model(x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", [*CELLS.values(), LSTM(gate_activation="hard_sigmoid")])
def test_numpy_computes_what_the_extension_does_not(cell, monkeypatch):
    monkeypatch.setattr(native, "module", None)
    weights, x, state, lengths = problem(cell, 6, 9, 0.5, 3, 5)
    layer = RecurrentLayer(cell, weights, "int8_blocks")
    output, after = layer.run(x, state, lengths)
    assert layer.provider == "numpy" and candidates(cell, weights).keys() == {"dense"}
    assert_near((output, *after), _flat(reference(cell, dense(cell, weights), x, state, lengths)), 1e-5)
    stream = layer.stream(3)
    np.testing.assert_allclose([stream.step(frame).copy() for frame in x], layer.run(x)[0], atol=1e-6)
    stream.reset()
    assert not stream.state[0].any()


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
        (r"lengths are \[3\]", {"lengths": np.full(1, 3)}),
        (r"lengths are \[-1\]", {"lengths": np.full(1, -1)}),
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
    with pytest.raises(UserError, match="format is 'csr'"):
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
    def made(
        starts=(0, 1),
        owners=(0,),
        places=(0,),
        values=((0,) * 64,),
        layout="blocks",
        columns=4,
        outer_runs=1,
        bases=None,
    ):
        return native.module.PackedWeight(
            layout,
            1,
            columns,
            outer_runs,
            np.array(starts, np.uint32),
            np.array(owners, np.uint16),
            None if bases is None else np.array(bases, np.uint32),
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
        {"columns": 2**31},
        {"columns": 4.0},
        {"bases": (4,)},
        {"bases": (3,), "places": (1,)},
        {"bases": (2**32 - 1,), "places": (1,)},
        {"layout": "int8_lookup"},
    ):
        with pytest.raises(ValueError):
            made(**change)
    bias, none = np.zeros((1, 16), np.float32), np.zeros((0, 16), np.float32)

    def layer_of(cell="rnn_tanh", hidden=4, width=4, recurrent=(weight,), memory=None, projection=None, levels=none):
        weights = weight, list(recurrent), memory, projection
        return native.module.RecurrentLayer(cell, 4, hidden, width, *weights, bias, none, levels, none, "")

    layer = layer_of()
    for happened, change in (
        ("slice for each gate", {"cell": "lstm"}),
        ("a column for each", {"hidden": 5, "width": 5}),
        ("width must be hidden", {"width": 5}),
        ("recurrent must have", {"recurrent": ()}),
        ("recurrent must have", {"recurrent": (weight, weight)}),
        ("recurrent must be a list of weights", {"recurrent": (None,)}),
        ("memory and projection must be None", {"memory": weight}),
        ("level_biases must be", {"levels": bias}),
        ("there is no cell", {"cell": "elman"}),
    ):
        with pytest.raises(ValueError, match=happened):
            layer_of(**change)
    x, output, hidden = (np.zeros(shape, np.float32) for shape in ((2, 1, 4), (2, 1, 4), (1, 4)))
    layer.run(x, output, hidden, np.zeros((0, 4), np.float32), None)
    output.flags.writeable = False
    with pytest.raises(ValueError, match="output must be a writable C-contiguous array"):
        layer.run(x, output, hidden, np.zeros((0, 4), np.float32), None)
