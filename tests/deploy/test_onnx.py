"""Models as their users write them against their ONNX files in ONNX Runtime, at sizes that no export has seen."""

import json
import logging
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.nn.utils.weight_norm import WeightNorm

from sparsernn import Masks, Sparsifier, accelerate, compact, export_c, export_onnx, sparsify
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.nn import GRU, PeepholeLSTM, PeepholeLSTMCell

onnx = pytest.importorskip("onnx", reason="onnx is not installed: sparsernn[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: sparsernn[export]")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: sparsernn[export]")
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")


class Packed(nn.Module):
    """Packs, runs, works on the packed numbers, and pads again as it was told."""

    def __init__(self, rnn, **padding):
        super().__init__()
        self.rnn, self.between, self.padding = rnn, nn.LazyLinear(4), padding
        self.second = nn.GRU(4, 5)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        middle, state = self.rnn(packed)
        numbers = torch.relu(self.between(middle.data))
        rest = middle.batch_sizes, middle.sorted_indices, middle.unsorted_indices
        top, last = self.second(PackedSequence(numbers, *rest))
        output, ends = pad_packed_sequence(top, batch_first=True, **self.padding)
        return output, state, last, ends, middle.data.sum()


class Windows(nn.Module):
    """Strided windows of a signal, and a step on from a state."""

    def __init__(self):
        super().__init__()
        self.windows, self.rnn, self.head = nn.Conv1d(3, 6, 3, stride=2), nn.LSTM(6, 5, 2), nn.Linear(5, 2)

    def forward(self, signal, state=None):
        frames = torch.tanh(self.windows(signal)).permute(2, 0, 1)
        frames, state = self.rnn(frames, state)
        return {"scores": self.head(frames), "state": state}


class Attending(nn.Module):
    """Heads that a mask of the padding keeps away, over an encoder of words; a decoder goes on from its state."""

    def __init__(self):
        super().__init__()
        self.words, self.encoder = nn.Embedding(12, 8), nn.GRU(8, 8, batch_first=True)
        self.heads, self.decoder = nn.MultiheadAttention(8, 2, batch_first=True), nn.GRU(2, 8, batch_first=True)

    def forward(self, ids, mask, target):
        memory, last = self.encoder(self.words(ids))
        decoded, _ = self.decoder(target, last)
        return self.heads(decoded, memory, memory, key_padding_mask=mask)[0]


class Named(nn.GRU):
    """A layer with a forward of its own around torch's."""

    def forward(self, x):
        return super().forward(x)[0][:, -1]


class Namesake(nn.Module):
    """A weight named as an output is, one as the operator that reads it, and one as a constant of torch's exporter."""

    def __init__(self):
        super().__init__()
        self.rnn, self.add = nn.GRU(3, 6, 2, batch_first=True), nn.Parameter(torch.randn(6))
        self.state = nn.Parameter(torch.randn(2, 1, 6))
        self.second, self.scalar_tensor_default = nn.GRU(6, 6, batch_first=True), nn.Parameter(torch.randn(6))

    def forward(self, x):
        output, state = self.rnn(x, self.state.expand(-1, len(x), -1).contiguous())
        output = self.second(output + self.add + 1)[0] * self.scalar_tensor_default
        return {"output": output, "state": state}


class Spelled(nn.Module):
    """Letters of every word by one layer, words by another: two times, and a batch of sequences that holds both."""

    def __init__(self):
        super().__init__()
        self.letters, self.spelling = nn.Embedding(12, 3), nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.rnn = nn.GRU(8, 5, batch_first=True)

    def forward(self, letters, ends):
        last = self.spelling(self.letters(letters.flatten(0, 1)))[1]
        words = last.transpose(0, 1).reshape(*letters.shape[:2], 8)
        output = self.rnn(words)[0]
        places = ends.view(-1, 1, 1).expand(-1, 1, 5)
        return output.gather(1, places).squeeze(1).clamp(-1, 0.5), output


@dataclass
class Heard:
    """What a loop gives."""

    forth: torch.Tensor
    back: torch.Tensor


class BothWays(nn.Module):
    """A cell forward, a cell of one's own backward, with peepholes; both start from zeros for so many sequences."""

    def __init__(self):
        super().__init__()
        self.cell, self.gates, self.peep = nn.LSTMCell(3, 4), nn.Linear(7, 12), nn.Parameter(torch.randn(2, 4))

    def forward(self, x):
        state, memory = None, torch.zeros(len(x), 4)
        forth, back, hidden = [], [], memory
        for frame in x.unbind(1):
            state = self.cell(frame, state)
            forth.append(state[0])
        for number in reversed(range(x.shape[1])):
            keep, new, out = self.gates(torch.cat([x[:, number], hidden], -1)).chunk(3, -1)
            keep = torch.sigmoid(keep + self.peep[0] * memory)
            memory = keep * memory + (1 - keep) * new.tanh()
            hidden = torch.sigmoid(out + self.peep[1] * memory) * memory.tanh()
            back.insert(0, hidden)
        return Heard(torch.stack(forth, 1), torch.cat([torch.stack(back, 1), x], -1))


class Decoding(nn.Module):
    """A loop over the steps of a mask that looks at everything encoded, and puts out its last state."""

    def __init__(self):
        super().__init__()
        self.encoder, self.cell, self.query = nn.GRU(3, 4, batch_first=True), nn.GRUCell(5, 4), nn.Linear(4, 4)

    def forward(self, x, mask):
        memory, last = self.encoder(x)
        hidden = last.sum(0)
        for flag in mask.split(1, 1):
            weight = torch.bmm(memory, self.query(hidden).unsqueeze(2)).softmax(1)
            after = self.cell(torch.cat([(weight * memory).sum(1), flag], 1), hidden)
            hidden = flag * after + (1 - flag) * hidden
        return hidden


class Stepped(nn.Module):
    """Layers and a cell called step by step: states that nobody reads at the end, steps written where they belong.

    What a sequence gives behind its end is zero.
    """

    def __init__(self):
        super().__init__()
        self.words, self.encoder = nn.Embedding(12, 5), nn.GRU(5, 4, 2, batch_first=True)
        self.decoder = nn.GRU(5, 4, 2, batch_first=True)
        self.cell, self.head = PeepholeLSTMCell(4, 6), nn.Linear(6, 2)

    def forward(self, ids, told, ends):
        state, inner = self.encoder(self.words(ids))[1], None
        scores, last = [], torch.zeros(*told.shape, 6)
        for number in range(told.shape[1]):
            output, state = self.decoder(self.words(told[:, number]).unsqueeze(1), state)
            inner = self.cell(output[..., [2, 0, 1, 3]].squeeze(1), inner)
            scores.append(self.head(inner[0]) * (number < ends).unsqueeze(1))
            last[:, number] = inner[1]
        return torch.stack(scores, 1), last


def settled():
    """Weights that are computed before each forward."""
    model = nn.Sequential(nn.RNN(3, 4, batch_first=True), Output(), nn.Linear(4, 2))
    WeightNorm.apply(model[2], "weight", 0)
    nn.utils.parametrizations.orthogonal(model[0], "weight_hh_l0")
    prune.l1_unstructured(model[0], "weight_ih_l0", 0.5)
    return model


def spelled(batch, time):
    return torch.randint(12, (batch, time, 2 + time)), lengths_of(batch, time) - 1


def with_flags(batch, time):
    return torch.randn(batch, time, 3), torch.rand(batch, time + 2).round()


def two_texts(batch, time):
    return torch.randint(12, (batch, time)), torch.randint(12, (batch, time + 2)), lengths_of(batch, time)


def lengths_of(batch, time):
    return (torch.arange(batch) * 2) % time + 1


def with_lengths(batch, time):
    return torch.randn(batch, time, 3), lengths_of(batch, time)


def with_state(batch, time):
    return torch.randn(batch, 3, 2 * time + 1), (torch.randn(2, batch, 5), torch.randn(2, batch, 5))


def with_mask(batch, time):
    mask = torch.arange(time) >= lengths_of(batch, time).unsqueeze(1)
    return torch.randint(12, (batch, time)), mask, torch.randn(batch, time + 2, 2)


def frames(batch, time):
    return (torch.randn(batch, time, 3),)


def time_first(batch, time):
    return (torch.randn(time, batch, 3),)


CASES = {
    "packed LSTM, projected, both ways": (
        lambda: Packed(nn.LSTM(3, 6, proj_size=4, bidirectional=True, batch_first=True)),
        with_lengths,
    ),
    "packed GRU, padding and length of its own": (
        lambda: Packed(nn.GRU(3, 6), padding_value=-2.5, total_length=20),
        with_lengths,
    ),
    "packed peephole": (lambda: Packed(PeepholeLSTM(3, 6, bidirectional=True)), with_lengths),
    "strides, a state in and out": (Windows, with_state),
    "mask, two times": (Attending, with_mask),
    "a subclass": (lambda: nn.Sequential(Named(3, 6, batch_first=True), nn.Linear(6, 2)), frames),
    "ReLU, time first, no bias": (lambda: nn.RNN(3, 6, 2, nonlinearity="relu", bias=False), time_first),
    "letters and words": (Spelled, spelled),
    "loops over cells, forth and back": (BothWays, frames),
    "a loop that looks at what is encoded": (Decoding, with_flags),
    "layers and a cell in a loop": (Stepped, two_texts),
    "weights that are computed": (settled, frames),
    "len": (lambda: Applied(lambda y: y[: len(y)] * len(y)), frames),
    "weights and values of one name": (Namesake, frames),
    "reset before the product": (lambda: GRU(3, 6, 2, reset="before", batch_first=True), frames),
}


def made(name):
    torch.manual_seed(0)
    model, inputs = CASES[name][0](), CASES[name][1]
    with torch.no_grad():
        model(*inputs(2, 4))
    return model.eval(), inputs


def flat(values):
    values = vars(values) if isinstance(values, Heard) else values
    return torch.utils._pytree.tree_leaves(values)


def assert_same(path, model, inputs, sizes=((4, 9), (1, 1), (2, 3))):
    """ONNX Runtime gives what the model gives, for inputs in the order of the file's."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, time in sizes:
        arguments = inputs(batch, time)
        with torch.no_grad():
            expected = flat(model(*arguments))
        feeds = {one.name: value.numpy() for one, value in zip(session.get_inputs(), flat(arguments), strict=True)}
        outputs = session.run(None, feeds)
        assert [array.shape for array in outputs] == [tuple(value.shape) for value in expected]
        for array, value in zip(outputs, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(array), value, rtol=1e-5, atol=1e-5, check_dtype=False)


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_the_model_at_every_size(name, tmp_path):
    model, inputs = made(name)
    path = tmp_path / "model.onnx"
    written = export_onnx(model, path, example=inputs(3, 5), dynamic={"batch", "time"})
    assert_same(path, model, inputs)
    assert len(written.differences) >= 3 and max(written.differences.values()) < 1e-4
    assert written.bytes == path.stat().st_size and list(tmp_path.iterdir()) == [path]


def test_names_axes_nodes_and_metadata(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    written = export_onnx(Windows(), path, example=with_state(1, 1))
    assert written.inputs == ("signal", "state_0", "state_1")
    assert written.outputs == ("scores", "state_0_out", "state_1_out")
    assert written.axes == {"signal": {0: "batch", 2: "time"}, "state_0": {1: "batch"}, "state_1": {1: "batch"}}
    model = onnx.load(path)
    assert [node.op_type for node in model.graph.node].count("LSTM") == 2
    layers = json.loads({one.key: one.value for one in model.metadata_props}["sparsernn.layers"])
    assert [layer["gates"] for layer in layers] == ["i o f c"] * 2
    assert layers[1]["states"] == ["hidden", "memory"] and layers[1]["weights"][0] == "rnn.weight_ih_l1"


def test_the_place_of_the_reset_gate_is_said(tmp_path):
    layers = {}
    for reset in ("before", "after"):
        path = tmp_path / f"{reset}.onnx"
        export_onnx(GRU(2, 3, reset=reset), path, example=torch.randn(4, 2, 2))
        properties = {one.key: one.value for one in onnx.load(path).metadata_props}
        (layers[reset],) = json.loads(properties["sparsernn.layers"])
    assert [layers[reset]["reset"] for reset in layers] == [f"{reset} the recurrent product" for reset in layers]


def test_masked_and_compacted_models_are_files_of_their_sizes(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.LSTM(3, 12, batch_first=True), Output(), nn.Linear(12, 2)).eval()
    masks = sparsify(model, Magnitude(0.5, granularity="neuron"), example=frames(2, 4))
    masked = export_onnx(model, tmp_path / "masked.onnx", example=frames(2, 4), masks=masks)
    assert_same(tmp_path / "masked.onnx", model, frames)
    small, _ = compact(model, masks, example=frames(2, 4))
    compacted = export_onnx(small, tmp_path / "small.onnx", example=frames(2, 4))
    assert_same(tmp_path / "small.onnx", small, frames)
    assert isinstance(masks, Masks) and masked.zeros > 0.4 and compacted.zeros == 0
    assert compacted.bytes < 0.8 * masked.bytes


class Output(nn.Module):
    """What a layer puts out, without its states."""

    def forward(self, both):
        return both[0]


def test_a_model_that_is_being_sparsified_or_accelerated_is_exported_as_it_is(tmp_path):
    torch.manual_seed(0)
    model = nn.GRU(3, 6, batch_first=True).eval()
    fast = accelerate(model)
    Sparsifier(model, Magnitude(0.5), torch.optim.SGD(model.parameters(), 0.1), steps=4)
    for kind in (fast, model):
        export_onnx(kind, tmp_path / "model.onnx", example=frames(2, 4))
        assert_same(tmp_path / "model.onnx", kind, frames)


def test_exports_in_several_threads_leave_everything_as_it_was(tmp_path):
    plain = nn.LSTM.forward, len, sys.stdout, sys.stderr, list(warnings.filters), logging.root.manager.disable

    def export(number):
        model = nn.LSTM(3, 4, batch_first=True)
        if number == 2:
            return export_c(model, tmp_path / "c")
        export_onnx(model, path := tmp_path / f"{number}.onnx", example=frames(2, 4))
        return assert_same(path, model, frames)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(export, range(3)))
    after = nn.LSTM.forward, len, sys.stdout, sys.stderr, list(warnings.filters), logging.root.manager.disable
    assert after == plain


def test_eight_bits_are_smaller_and_near(tmp_path):
    torch.manual_seed(0)
    model = nn.LSTM(16, 48, batch_first=True).eval()
    x = torch.randn(2, 5, 16)
    exact = export_onnx(model, tmp_path / "exact.onnx", example=x)
    small = export_onnx(model, tmp_path / "small.onnx", example=x, int8=True)
    assert small.bytes < 0.45 * exact.bytes
    # Rounding moves a weight of at most 1/sqrt(48) by at most 1/254 of it.
    assert 0 < max(small.differences.values()) < 0.03


class Looping(nn.Module):
    """A loop with a cell. read: what of the frames a step reads; scale: by what its state is multiplied."""

    def __init__(self, read=lambda x, number: x[:, number], scale=lambda number: 1):
        super().__init__()
        self.cell, self.read, self.scale = nn.GRUCell(3, 4), read, scale

    def forward(self, x):
        state = x.new_zeros(x.shape[0], 4)
        for number in range(x.shape[1]):
            state = self.scale(number) * self.cell(self.read(x, number), state)
        return state


def all_so_far(x, number):
    return x[:, : number + 1].mean(1)


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)
        self.state = torch.zeros(1, 1, 4)

    def forward(self, x):
        output, last = self.rnn(x, self.state.expand(1, len(x), 4).contiguous())
        self.state = last[:, :1]
        return output


class Applied(nn.Module):
    """A function of what a layer puts out."""

    def __init__(self, function):
        super().__init__()
        self.rnn, self.function = nn.GRU(3, 4, batch_first=True), function

    def forward(self, x):
        return self.function(self.rnn(x)[0])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Looping(all_so_far), {}, "fixes the time .* torch's layer for a loop"),
        (Looping(scale=lambda number: number + 1), {}, "fixes the time"),
        (Looping(scale=lambda number: 2 if number > 9 else 1), {}, "time 11 .* differs"),
        (Looping(scale=lambda number: 2 if number > 50 else 1), {}, "time 69 .* differs"),
        (Applied(lambda y: y[: int(y.shape[0])] * int(y.shape[0])), {}, "fixes the batch .* int\\(\\) of a size"),
        (Applied(torch.tanh).half(), {}, "is float16. Expected float32"),
        (Remembering(), {}, "answers in another way"),
        (Applied(lambda y: torch.linalg.eigvals(y @ y.transpose(1, 2)).real), {}, "linalg_eig has no translation"),
        (Applied(lambda y: y if y.sum() > 0 else -y), {}, "decides by the numbers"),
        (Applied(lambda y: "none"), {}, "returns a str"),
        (Applied(torch.tanh), {"opset": 9}, "opset is 9"),
        (Applied(torch.tanh), {"dynamic": {"length"}}, "dynamic is"),
        (Applied(torch.tanh), {"example": torch.randn(2, 0, 3)}, "shape \\[2, 0, 3\\]"),
        (Applied(torch.tanh), {"example": None}, "no example"),
        (Applied(torch.tanh), {"example": torch.randn(2, 5, 3).bfloat16()}, "is bfloat16"),
        (Applied(torch.tanh), {"example": (torch.randn(2, 5, 3), 1)}, "does not take the example"),
        (Applied(torch.tanh), {"example": torch.randn(2, 5, 9)}, "does not take the example"),
        (nn.GRUCell(3, 4), {"example": torch.randn(2, 3), "dynamic": {"time"}}, "no axis .* time"),
    ],
)
def test_what_would_be_another_model_is_refused_in_a_sentence(model, options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        export_onnx(model, tmp_path / "model.onnx", **{"example": torch.randn(2, 5, 3)} | options)
    assert list(tmp_path.iterdir()) == []


def test_a_loop_of_ones_own_keeps_its_batch_free(tmp_path):
    torch.manual_seed(0)
    model, path = Looping(all_so_far).eval(), tmp_path / "model.onnx"
    written = export_onnx(model, path, example=torch.randn(2, 5, 3), dynamic={"batch"})
    assert written.axes == {"x": {0: "batch"}}
    assert_same(path, model, lambda batch, _: (torch.randn(batch, 5, 3),), [(1, 5), (6, 5)])
