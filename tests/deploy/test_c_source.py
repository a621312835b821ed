"""C of whole networks, compiled as strictly as compilers can be told to, against torch and first principles."""

import ctypes
import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import sparsernn.nn as recurrent
from sparsernn import compact, export_c, folders, runtime, sparsify
from sparsernn.deploy.packing import pack
from sparsernn.deploy.rtneural import export_rtneural
from sparsernn.errors import UserError
from sparsernn.methods.static import Static
from sparsernn.models.language_model import LanguageModel

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
Pointer = ctypes.POINTER(ctypes.c_float)


class Words(nn.Module):
    def __init__(self, last=False):
        super().__init__()
        self.table, self.rnn, self.head = nn.Embedding(9, 4), nn.LSTM(4, 19, 2, batch_first=True), nn.Linear(19, 3)
        self.last = last

    def forward(self, ids):
        output, _ = self.rnn(self.table(ids))
        return self.head(output[:, -1] if self.last else output)


class Program:
    """A network in C, loaded; each is a stream."""

    def __init__(self, written, *flags):
        library = written.source.with_suffix(f".{'.'.join(flags) or 'plain'}.so")
        command = ["gcc", "-std=c99", *STRICT, *(flags or ("-O2",)), "-shared", "-fPIC", written.source, "-o", library]
        subprocess.run(command, check=True)
        name, loaded = written.source.stem, ctypes.CDLL(str(library))
        self.reset_function, self.step_function = loaded[f"{name}_reset"], loaded[f"{name}_step"]
        self.state, self.outputs = np.full(written.state, np.nan, np.float32), written.outputs
        self.reset()

    def reset(self):
        self.reset_function(self.state.ctypes.data_as(Pointer))

    def step(self, x):
        x, output = np.ascontiguousarray(x, np.float32).reshape(-1), np.empty(self.outputs, np.float32)
        self.step_function(*(array.ctypes.data_as(Pointer) for array in (self.state, x, output)))
        return output

    def run(self, sequence):
        return np.stack([self.step(x) for x in np.asarray(sequence)])


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


def thinned(model, sparsity, rows=1):
    """Weights that stand in blocks of so many neighbouring rows are kept at random."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                kept = torch.rand(-(-len(weight) // rows), weight.shape[1]) > sparsity
                weight *= kept.repeat_interleave(rows, 0)[: len(weight)]
    return model


def expected_of(model, x):
    with torch.no_grad():
        result = model(x.unsqueeze(0))
    result = result[0] if isinstance(result, tuple) else result
    return result.squeeze(0).numpy()


@needs_gcc
@pytest.mark.parametrize("cell", folders.entries("cells").values(), ids=folders.entries("cells"))
def test_stacks_of_every_cell_are_torchs(cell, tmp_path):
    model, x = seeded(lambda: recurrent.module_of(cell)(3, 20, 2, batch_first=True)), torch.randn(11, 3)
    program = Program(export_c(model, tmp_path, "net"))
    first = program.run(x)
    np.testing.assert_allclose(first, expected_of(model, x), rtol=1e-5, atol=2e-6)
    program.reset()
    assert np.array_equal(program.run(x), first)


@needs_gcc
@pytest.mark.parametrize("options", [{}, {"reset": "before"}], ids=str)
@pytest.mark.parametrize("format", ["dense", "rows", "blocks", "lookup", "smallest"])
def test_formats_compute_the_same(format, options, tmp_path):
    model = thinned(seeded(lambda: recurrent.GRU(3, 37, batch_first=True, **options)), 0.8)
    x = torch.randn(9, 3)
    written = export_c(model, tmp_path, format=format)
    for flags in ((), ("-O3", "-march=native")):
        np.testing.assert_allclose(Program(written, *flags).run(x), expected_of(model, x), rtol=1e-5, atol=2e-6)


@needs_gcc
@pytest.mark.parametrize("format", ["rows", "blocks", "lookup", "int8"])
def test_columns_that_8_bits_do_not_number(format, tmp_path):
    model, x = thinned(seeded(lambda: nn.RNN(2, 300, batch_first=True)), 0.9), torch.randn(5, 2)
    program = Program(export_c(model, tmp_path, format=format), "-O3", "-march=native")
    tolerance = 0.05 if format == "int8" else 5e-6
    np.testing.assert_allclose(program.run(x), expected_of(model, x), atol=tolerance)


@needs_gcc
def test_without_a_format_scattered_zeros_are_looked_up_and_blocks_stay_blocks(tmp_path):
    for rows, function in ((1, "lookup_"), (16, "blocks_8_"), (0, "panels_")):
        model = seeded(lambda: nn.GRU(1, 64, batch_first=True))
        written = export_c(thinned(model, 0.9, rows) if rows else model, tmp_path, f"net{rows}")
        assert f" net{rows}_{function}(net{rows}_constant" in written.source.read_text()


@needs_gcc
def test_sums_of_rows_are_rounded_as_they_are_written(tmp_path):
    """A network without elementary functions is the same bit by bit: products, then sums, in the order of columns."""
    model = thinned(seeded(lambda: nn.RNN(3, 21, nonlinearity="relu", batch_first=True)), 0.6)
    program, x = Program(export_c(model, tmp_path, format="rows")), np.random.default_rng(0).normal(size=(12, 3))
    into, again, bias, more = (weight.detach().numpy() for weight in model.parameters())
    state = np.zeros(21, np.float32)
    for frame in x.astype(np.float32):
        sums = [start.copy() for start in (bias, more)]
        for matrix, vector, total in zip((into, again), (frame, state), sums, strict=True):
            for column, number in enumerate(vector):
                total += matrix[:, column] * number
        state = np.maximum(sums[0] + sums[1], np.float32(0))
        assert np.array_equal(program.step(frame), state)


@needs_gcc
def test_eight_bits_are_whole_numbers_times_scales(tmp_path):
    model = seeded(lambda: nn.RNN(3, 16, nonlinearity="relu", batch_first=True))
    program, x = Program(export_c(model, tmp_path, int8=True)), np.random.default_rng(0).normal(size=(12, 3))
    into, again, bias, more = (weight.detach().double().numpy() for weight in model.parameters())
    state = np.zeros(16)
    for frame in x.astype(np.float32):
        sums = [bias.copy(), more.copy()]
        for matrix, vector, total in zip((into, again), (frame, state), sums, strict=True):
            scales, scale = np.abs(matrix).max(1) / 127, np.abs(vector).max() / 127
            rounded = np.rint(vector / scale) if scale else vector
            total += (np.rint(matrix / scales[:, None]) @ rounded) * scales * scale
        state = np.maximum(sums[0] + sums[1], 0)
        # A number that lies between two whole ones may go either way.
        np.testing.assert_allclose(program.step(frame), state, atol=2e-2)
        state = program.state.astype(np.float64)


@needs_gcc
def test_whole_networks_two_in_one_program_and_as_cpp(tmp_path):
    words, gates = seeded(lambda: Words(last=True)), seeded(lambda: nn.GRU(2, 5, batch_first=True))
    ids = torch.tensor([4, 0, 8, 8, 2])
    reader = export_c(words, tmp_path, "reader", example=ids.unsqueeze(0))
    export_c(gates, tmp_path, "gates")
    (tmp_path / "main.c").write_text(
        """#include "reader.h"
#include "gates.h"
#include "reader.h"
#include <stdio.h>
int main(void) {
    static float first[READER_STATE], second[READER_STATE], other[GATES_STATE], scores[READER_OUTPUTS], units[5];
    const float ids[] = {4, 0, 8, 8, 2}, frame[GATES_INPUTS] = {1, 2};
    int i;
    reader_reset(first), reader_reset(second), gates_reset(other);
    for (i = 0; i < 5; ++i) {
        reader_step(second, ids + 4 - i, scores);
        gates_step(other, frame, units);
        reader_step(first, ids + i, scores);
    }
    for (i = 0; i < READER_OUTPUTS; ++i) printf("%.9g ", (double)scores[i]);
    return GATES_OUTPUTS != 5;
}
"""
    )
    for compiler, kind in ((["gcc", "-std=c99"], "c"), (["g++", "-std=c++11"], "c++")):
        files = [tmp_path / f"{name}.c" for name in ("main", "reader", "gates")]
        subprocess.run([*compiler, *STRICT, "-x", kind, *files, "-o", tmp_path / "program"], check=True)
        printed = subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True).stdout
        np.testing.assert_allclose([float(one) for one in printed.split()], expected_of(words, ids), atol=2e-6)
    assert (reader.inputs, reader.outputs, reader.state) == (1, 3, 2 * 2 * 19)


@needs_gcc
def test_weights_stay_out_of_writable_memory(tmp_path):
    written = export_c(seeded(lambda: nn.LSTM(8, 32, batch_first=True)), tmp_path, "net")
    compiled = tmp_path / "net.o"
    subprocess.run(["gcc", "-std=c99", "-O2", "-c", written.source, "-o", compiled], check=True)
    lines = subprocess.run(["size", "-A", compiled], check=True, capture_output=True, text=True).stdout.splitlines()
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith(".")}
    assert sizes.get(".data", 0) == sizes.get(".bss", 0) == 0
    assert sizes[".rodata"] >= written.constants >= 4 * (4 * 32 * (8 + 32))
    undefined = subprocess.run(["nm", "-u", compiled], check=True, capture_output=True, text=True).stdout.split()
    assert set(undefined) <= {"U", "memcpy", "memset", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}


@needs_gcc
def test_artifacts_and_language_models(tmp_path):
    torch.manual_seed(0)
    network = LanguageModel(vocabulary=12, embedding=6, units=10, layers=2).eval()
    pack(tmp_path / "packed", network)
    program, ids = Program(export_c(tmp_path / "packed", tmp_path, "net")), np.array([3, 11, 0, 5])
    stream = runtime.load(tmp_path / "packed").stream()
    for word in ids:
        np.testing.assert_allclose(program.step(word), stream.step(np.array([word]))[0], atol=5e-6)


@needs_gcc
def test_rows_without_weights_and_constant_gates_take_no_products(tmp_path):
    model = seeded(lambda: nn.GRU(3, 32, batch_first=True))
    with torch.no_grad():
        model.weight_hh_l0[:32] = 0
        model.weight_ih_l0[:32] = 0
    x = torch.randn(6, 3)
    written = export_c(model, tmp_path, "net", format="blocks")
    np.testing.assert_allclose(Program(written).run(x), expected_of(model, x), atol=2e-6)
    assert written.constants < 4 * (64 * 35 + 2 * 96) + 2 * 35 * 4 + 200


@needs_gcc
def test_layers_of_which_no_input_is_read(tmp_path):
    """Strict compilers do not take an argument that nothing reads."""
    model, x = seeded(lambda: nn.GRU(3, 5, 2, batch_first=True)), torch.randn(4, 3)
    with torch.no_grad():
        model.weight_ih_l0.zero_()
        model.weight_ih_l1.zero_()
    np.testing.assert_allclose(Program(export_c(model, tmp_path)).run(x), expected_of(model, x), atol=2e-6)


class Every(nn.Module):
    """Outputs of all units, of which some are cut away."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 12, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


def without_half(model, weights):
    """The model without every other row of these weights, compacted; and what it was."""
    kept = {}
    for name in weights:
        weight = model.get_parameter(name)
        kept[name] = (torch.arange(len(weight)) % 2 == 0).view(-1, *[1] * (weight.dim() - 1)).expand_as(weight).clone()
    masks = sparsify(model, Static(masks=kept), example=(torch.randn(1, 4, 3),))
    return compact(model, masks, example=(torch.randn(1, 4, 3),))[0]


@needs_gcc
def test_outputs_that_were_cut_are_zeros_in_their_places(tmp_path):
    model, x = seeded(Every), torch.randn(5, 3)
    small = without_half(model, [name for name, _ in model.named_parameters()])
    before, expected = sum(one.numel() for one in model.parameters()), expected_of(model, x)
    assert sum(one.numel() for one in small.parameters()) < before and (expected == 0).all(0).any()
    written = export_c(small, tmp_path, example=x.unsqueeze(0))
    np.testing.assert_allclose(Program(written).run(x), expected, atol=2e-6)
    content = export_rtneural(small, tmp_path / "model.json", example=x.unsqueeze(0))
    last = content["layers"][-1]
    assert last["shape"][-1] == expected.shape[-1]
    empty = (np.array(last["weights"][0]) == 0).all(0) & (np.array(last["weights"][1]) == 0)
    assert np.array_equal(empty, (expected == 0).all(0))


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 5, batch_first=True, bias=False), nn.Linear(5, 2)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0][:, -1])


@needs_gcc
def test_lengths_of_a_stream_are_the_steps_so_far(tmp_path):
    """Of sequences that have ended the head reads zeros; a stream has not ended."""
    model = seeded(Padded)
    with torch.no_grad():
        for weight in model.rnn.parameters():
            weight *= 0.01
    program = Program(export_c(model, tmp_path, example=(torch.randn(2, 4, 3), torch.tensor([4, 2]))))
    x = torch.randn(5, 3)
    for count, output in enumerate(program.run(x), 1):
        with torch.no_grad():
            expected = model(x[None, :count], torch.tensor([count]))[0].numpy()
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=2e-6)


class Later(nn.Module):
    """What goes out after a step hangs on those that come."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        output = self.rnn(x)[0]
        return self.head(output * output[:, -1:])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Later(), {"example": torch.randn(1, 5, 3)}, "cannot run a step at a time"),
        (nn.GRU(3, 4), {"name": "1st"}, "identifier of C"),
        (nn.GRU(3, 4), {"name": "größe"}, "identifier of C"),
        (nn.GRU(3, 4), {"format": "csr"}, 'format is "csr"'),
        (nn.GRU(3, 4, bidirectional=True), {}, "reads backwards"),
        (Words(), {}, "no example"),
        (nn.Sequential(nn.GRU(3, 3), nn.Flatten()), {"example": torch.randn(2, 3)}, "does not take the example"),
        ("nowhere", {}, "not a readable network"),
        (3, {}, "network is a int"),
    ],
)
def test_what_cannot_be_c_is_refused_in_a_sentence(model, options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        export_c(model, tmp_path / "folder", **options)
    assert not (tmp_path / "folder").exists()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_keras_equations_on_the_json_are_the_model(kind, tmp_path):
    """The layout of Keras: i f c o, or z r h with both biases; matrices [input gate*unit]."""
    model = seeded(lambda: nn.Sequential(kind(2, 6, batch_first=True), First(), nn.Linear(6, 1)))
    x = torch.randn(7, 2)
    export_rtneural(model, tmp_path / "model.json", example=x.unsqueeze(0))
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["in_shape"] == [None, None, 2] and content["layers"][1]["shape"] == [None, None, 1]
    (into, again, bias), (head, offset) = ([np.array(one) for one in layer["weights"]] for layer in content["layers"])
    state, memory, outputs = np.zeros(6), np.zeros(6), []
    for frame in x.numpy():
        if kind is nn.LSTM:
            i, f, c, o = np.split(frame @ into + state @ again + bias, 4)
            memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(c)
            state = sigmoid(o) * np.tanh(memory)
        else:
            left, right = np.split(frame @ into + bias[0], 3), np.split(state @ again + bias[1], 3)
            z, r = sigmoid(left[0] + right[0]), sigmoid(left[1] + right[1])
            state = z * state + (1 - z) * np.tanh(left[2] + r * right[2])
        outputs.append(state @ head + offset)
    np.testing.assert_allclose(outputs, expected_of(model, x), atol=1e-6)


class First(nn.Module):
    def forward(self, both):
        return both[0]
