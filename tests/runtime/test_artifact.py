"""Networks in one file against the torch models they came from; damaged files; accelerated models."""

import copy
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from sparsernn import Masks, accelerate, compact, export_onnx, runtime, sparsify
from sparsernn.cells.gru import GRU as GRUCell
from sparsernn.deploy.packing import pack
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.models.classifier import Classifier
from sparsernn.models.forecaster import Forecaster
from sparsernn.models.language_model import LanguageModel
from sparsernn.models.tagger import Tagger
from sparsernn.nn import GRU, PeepholeLSTM
from sparsernn.runtime.network import LayerSpec, Network, NetworkSpec

CELLS = ("lstm", "gru", "rnn", "peephole_lstm", "recurrent_highway")
MODELS = {
    "classifier": lambda cell: Classifier(5, 3, cell=cell, units=20, layers=2, bidirectional=True),
    "mean": lambda cell: Classifier(5, 3, cell=cell, units=20, pool="mean"),
    "max of words": lambda cell: Classifier(5, 3, cell=cell, units=20, vocabulary=30, pool="max"),
    "tagger": lambda cell: Tagger(5, 3, cell=cell, units=20),
    "three pools": lambda cell: Classifier(5, 3, cell=cell, units=20, bidirectional=True, pool="mean_max_last"),
    "tagger of several": lambda cell: Tagger(5, 3, cell=cell, units=20, at_once=2),
    "forecaster": lambda cell: Forecaster(5, 4, cell=cell, units=20),
    "forecaster of several": lambda cell: Forecaster(5, 4, cell=cell, units=20, residual=1, several=2),
    "forecaster with a window": lambda cell: Forecaster(5, 4, cell=cell, units=20, residual=1, several=2, window=9),
}


def made(model, cell, sparsity=0.8):
    torch.manual_seed(0)
    network = MODELS[model](cell).eval()
    sparsify(network, Magnitude(sparsity))
    return network


def inputs_of(network, time=9, batch=4):
    generator = torch.Generator().manual_seed(1)
    if getattr(network, "embedding", None) is not None:
        return torch.randint(1, 30, (batch, time), generator=generator)
    return torch.randn(batch, time, 5, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [None, [9, 3, 1, 6]], ids=["whole", "lengths"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("model", MODELS)
def test_a_packed_network_computes_what_the_torch_model_does(model, cell, lengths, tmp_path):
    network = made(model, cell)
    if lengths is not None and getattr(network, "window", 0):
        lengths = None  # its windows are all as long
    x = inputs_of(network)
    expected = network(x, None if lengths is None else torch.tensor(lengths)).numpy()
    pack(tmp_path / "network", network, steps=4)
    loaded = runtime.load(tmp_path / "network")
    found = loaded.run(x.numpy(), None if lengths is None else np.array(lengths))
    if "tagger" in model and lengths is not None:
        inside = np.arange(9) < np.array(lengths)[:, None]
        found, expected = found[inside], expected[inside]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True], ids=["two matrices", "tied"])
def test_the_probabilities_of_a_running_text_are_torchs_however_long_it_is(tied, tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = LanguageModel(vocabulary=30, units=20, layers=2, tied=tied).eval()
    network.embedding.weight.mul_(10)
    masks = sparsify(network, Magnitude(0.7), where=("*weight*",))
    ids = torch.randint(0, 30, (23,))
    expected = network(ids[:-1, None])[0][:, 0].double().log_softmax(-1).gather(-1, ids[1:, None])[:, 0].numpy()
    pack(tmp_path / "network", network, masks)
    loaded = runtime.load(tmp_path / "network")
    for at_once in (256, 22, 5, 1):
        monkeypatch.setattr("sparsernn.runtime.network.TOKENS_AT_ONCE", at_once)
        scores = loaded.log_probabilities(ids.numpy())
        np.testing.assert_allclose(scores, expected, atol=2e-5)
    assert scores.dtype == np.float64 and loaded.log_probabilities(ids[:1].numpy()).shape == (0,)
    for wrong in (ids.numpy()[None], np.array([1.0, 2.0]), np.array([3, 30]), np.array([3, -1])):
        with pytest.raises(UserError):
            loaded.log_probabilities(wrong)
    pack(tmp_path / "labels", made("max of words", "gru"))
    with pytest.raises(UserError, match="is for classification"):
        runtime.load(tmp_path / "labels").log_probabilities(ids.numpy())


@torch.no_grad()
@pytest.mark.parametrize("dtype", [None, "int8"])
def test_an_output_layer_that_is_the_embedding_is_stored_once(dtype, tmp_path):
    torch.manual_seed(0)
    tied, apart = (LanguageModel(vocabulary=500, units=20, layers=1, tied=tied).eval() for tied in (True, False))
    sizes = []
    for network in (tied, apart):
        pack(tmp_path / "network", network, dtype=dtype)
        sizes.append((tmp_path / "network").stat().st_size)
    numbers = 500 * 20 * (1 if dtype else 4)
    assert sizes[1] - sizes[0] == pytest.approx(numbers + (500 * 4 if dtype else 0), abs=300)
    pack(tmp_path / "network", tied, dtype=dtype)
    spec = runtime.load(tmp_path / "network").spec
    np.testing.assert_array_equal(spec.head, spec.embedding)
    np.testing.assert_allclose(spec.head, tied.head.weight.numpy(), atol=0.1 / 127 if dtype else 0)


@torch.no_grad()
def test_a_language_model_streams_as_it_runs_and_starts_anew(tmp_path):
    torch.manual_seed(0)
    network = LanguageModel(vocabulary=30, units=20, layers=2).eval()
    masks = sparsify(network, Magnitude(0.7))
    ids = torch.randint(0, 30, (7, 3))
    expected = network(ids)[0].numpy()
    pack(tmp_path / "network", network, masks, steps=1)
    loaded = runtime.load(tmp_path / "network")
    np.testing.assert_allclose(loaded.run(ids.numpy().T).swapaxes(0, 1), expected, atol=1e-5)
    stream = loaded.stream(batch=3)
    for _ in range(2):
        for step, wanted in zip(ids.numpy(), expected, strict=True):
            np.testing.assert_allclose(stream.step(step), wanted, atol=1e-5)
        stream.reset()


@pytest.mark.parametrize("native", [True, False], ids=["extension", "numpy"])
def test_a_step_keeps_what_it_returned_and_converts_only_what_loses_nothing(native, monkeypatch):
    if not native:
        monkeypatch.setattr("sparsernn.native.module", None)
    rng = np.random.default_rng(0)
    weights = {"weight_ih": rng.normal(size=(12, 5)), "weight_hh": rng.normal(size=(12, 4))}
    layer = LayerSpec(GRUCell(), {name: weight.astype(np.float32) for name, weight in weights.items()})
    network = Network(NetworkSpec("recurrent", [layer]))
    frames = rng.normal(size=(3, 2, 5)).astype(np.float32)
    expected = network.run(np.ascontiguousarray(frames.swapaxes(0, 1))).swapaxes(0, 1)
    forms = (lambda x: x, lambda x: np.asfortranarray(x), lambda x: [np.float32(1) * row for row in x])
    for form in forms:
        stream = network.stream(batch=2)
        outputs = [stream.step(form(frame)) for frame in frames]
        np.testing.assert_allclose(outputs, expected, atol=1e-6)
        for wrong in (frames[0].astype(np.float64), frames[0][:, :4], np.zeros((2, 5), int), "frame"):
            with pytest.raises(UserError, match="nothing is converted silently"):
                stream.step(wrong)
        np.testing.assert_allclose(stream.state[0][0], expected[-1], atol=1e-6)


@torch.no_grad()
def test_dead_words_stay_dead_and_the_file_is_smaller_than_the_dense_one(tmp_path):
    torch.manual_seed(0)
    network = Classifier(16, 2, cell="lstm", units=32, vocabulary=5_000).eval()
    pack(tmp_path / "dense", network, steps=2)
    masks = Masks({"embedding.weight": torch.zeros(5_000, 16, dtype=torch.bool)})
    masks.kept["embedding.weight"][torch.tensor([3, 70, 4_999])] = True
    sparsify(network, Magnitude(0.9))
    ids = torch.tensor([[3, 70, 5, 4_999], [4_999, 1, 2, 3]])
    small, left = compact(network, masks, example=(ids,))
    pack(tmp_path / "sparse", small, left, steps=2)
    loaded = runtime.load(tmp_path / "sparse")
    np.testing.assert_allclose(loaded.run(ids.numpy()), small(ids).numpy(), atol=1e-5)
    assert 20 * (tmp_path / "sparse").stat().st_size < (tmp_path / "dense").stat().st_size
    with pytest.raises(UserError, match="0 to 4999"):
        loaded.run(np.array([[5_000]]))


@torch.no_grad()
def test_eight_bits_are_near_and_said(tmp_path):
    network = made("classifier", "lstm")
    x = inputs_of(network)
    choices = pack(tmp_path / "network", network, int8=True, dtype="int8", steps=4)
    assert any(choice.format.startswith("int8") for choice in choices)
    assert sum(choice.taken for choice in choices) == 4
    loaded = runtime.load(tmp_path / "network")
    assert loaded.errors and max(loaded.errors.values()) < 0.01
    np.testing.assert_allclose(loaded.run(x.numpy()), network(x).numpy(), atol=0.05)


def test_the_runtime_needs_no_torch(tmp_path):
    pack(tmp_path / "network", made("classifier", "gru"), steps=2)
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np, sparsernn.runtime as r;"
        f"n = r.load({str(tmp_path / 'network')!r}); print(n.run(np.zeros((2, 3, 5), np.float32)).shape)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "(2, 3)", run.stderr


def test_damaged_files_are_one_sentence(tmp_path):
    """Every byte range cut off, and headers whose parts do not fit."""
    path = tmp_path / "network"
    pack(path, made("classifier", "lstm"), steps=2)
    content = path.read_bytes()
    for end in range(0, len(content), max(1, len(content) // 40)):
        (tmp_path / "cut").write_bytes(content[:end])
        with pytest.raises(UserError, match="is not a readable network"):
            runtime.load(tmp_path / "cut")
    for old, new in (
        (b"classification", b"classificatiox"),
        (b"lstm", b"gruu"),
        (b'"gru', b'"xyz'),
        (b"last", b"lost"),
    ):
        if old in content:
            (tmp_path / "cut").write_bytes(content.replace(old, new))
            with pytest.raises(UserError):
                runtime.load(tmp_path / "cut")


@torch.no_grad()
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN, GRU, PeepholeLSTM])
def test_an_accelerated_model_computes_the_same_and_is_a_copy(make):
    class Users(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = make(6, 24, 2, bidirectional=True, batch_first=True), nn.Linear(48, 3)

        def forward(self, x, state=None):
            output, state = self.rnn(x, state)
            return self.head(output.mean(1)), state

    torch.manual_seed(0)
    model = Users().eval()
    masks = sparsify(model, Magnitude(0.8))
    fast, x = accelerate(model, masks, format="blocks"), torch.randn(4, 7, 6)
    expected, state = model(x)
    found, after = fast(x)
    assert torch.allclose(found, expected, atol=1e-5)
    again, _ = fast(x, after)
    assert torch.allclose(again, model(x, state)[0], atol=1e-5)
    fast.load_state_dict({name: 2 * weight for name, weight in fast.state_dict().items()})
    model.load_state_dict(fast.state_dict())
    assert torch.allclose(fast(x)[0], model(x)[0], atol=1e-5)
    assert type(copy.deepcopy(fast).rnn) is type(model.rnn)


@torch.no_grad()
def test_weights_written_behind_autograds_back_are_seen_by_an_accelerated_model():
    fast, x = accelerate(nn.LSTM(6, 20), format="blocks"), torch.randn(5, 2, 6)
    other = nn.LSTM(6, 20)
    fast(x)
    for parameter, weight in zip(fast.parameters(), other.parameters(), strict=True):
        parameter.data.copy_(weight)
    assert torch.allclose(fast(x)[0], other(x)[0], atol=1e-5)
    for parameter, weight in zip(fast.parameters(), other.parameters(), strict=True):
        weight.mul_(2)
        parameter.data = weight.clone()
    assert torch.allclose(fast(x)[0], other(x)[0], atol=1e-5)
    fast.weight_hh_l0.numpy()[3, 4] = other.weight_hh_l0.numpy()[3, 4] = 9.0
    assert torch.allclose(fast(x)[0], other(x)[0], atol=1e-5)


def test_a_forward_of_ones_own_is_not_replaced():
    class Doubled(nn.LSTM):
        def forward(self, x, state=None):
            output, state = super().forward(x, state)
            return 2 * output, state

    model, x = nn.ModuleList([Doubled(3, 4), nn.LSTM(3, 4), nn.LSTM(3, 4)]), torch.randn(5, 2, 3)
    plain = model[2].forward
    model[2].forward = lambda x: plain(3 * x)
    fast = accelerate(model, format="dense")
    assert torch.allclose(fast[0](x)[0], model[0](x)[0], atol=1e-5)
    assert torch.allclose(fast[2](x)[0], model[2](x)[0], atol=1e-5)
    with pytest.raises(UserError, match="whose forward is its class's own"):
        accelerate(model[2])


def test_what_is_compacted_is_accelerated_too():
    """Wrapped models, tensors of a past forward on them, what cannot be copied, and masks as a dict."""
    model, x = nn.LSTM(6, 20), torch.randn(5, 2, 6)
    model.before, model.lock = model(x)[0], threading.Lock()
    kept = {"weight_hh_l0": torch.rand(80, 20) > 0.5}
    for wrapped in (model, nn.DataParallel(model), torch.compile(model, backend="eager")):
        fast = accelerate(wrapped, kept, format="rows")
        masked = nn.LSTM(6, 20)
        masked.load_state_dict(fast.state_dict())
        assert bool((masked.weight_hh_l0[~kept["weight_hh_l0"]] == 0).all())
        assert torch.allclose(fast(x)[0], masked(x)[0], atol=1e-5)
        assert torch.allclose(torch.compile(fast, backend="eager")(x)[0], masked(x)[0], atol=1e-5)


def test_masks_of_another_moment_are_told_whatever_is_made_of_the_model(tmp_path):
    model = nn.LSTM(6, 20)
    masks = sparsify(model, Magnitude(0.5))
    model.reset_parameters()
    for make in (
        lambda: accelerate(model, masks),
        lambda: pack(tmp_path / "network", model, masks),
        lambda: export_onnx(model, tmp_path / "model.onnx", torch.randn(5, 2, 6), masks=masks),
    ):
        with pytest.raises(UserError, match="weights that the masks call absent are not zero"):
            make()


def test_weights_may_change_while_threads_call_an_accelerated_model():
    fast, x = accelerate(nn.LSTM(6, 20), format="dense"), torch.randn(5, 2, 6)

    def call(number):
        if number % 3 == 0:
            fast.weight_hh_l0.data.mul_(1.001)
        return fast(x)[0]

    with ThreadPoolExecutor(6) as pool:
        assert all(bool(result.isfinite().all()) for result in pool.map(call, range(120)))


def test_packing_leaves_the_network_alone_and_refuses_one_that_computes_something_else(tmp_path):
    class Tripled(Classifier):
        def forward(self, x, lengths=None):
            return 3 * super().forward(x, lengths)

    model = nn.LSTM(6, 20)
    before = model.weight_hh_l0.clone()
    pack(tmp_path / "network", model, Masks({"weight_hh_l0": torch.zeros(80, 20, dtype=torch.bool)}), steps=2)
    assert torch.equal(model.weight_hh_l0, before) and model.training
    with pytest.raises(UserError, match="something else"):
        pack(tmp_path / "network", Tripled(6, 3, cell="lstm", units=8), steps=2)
    model.register_forward_hook(lambda module, arguments, result: (2 * result[0], result[1]))
    with pytest.raises(UserError, match="something else"):
        pack(tmp_path / "network", model, steps=2)


def test_what_cannot_be_accelerated_or_packed_is_said(tmp_path):
    with pytest.raises(UserError, match="no recurrent layer"):
        accelerate(nn.Linear(2, 2))
    with pytest.raises(UserError, match="format is"):
        accelerate(nn.LSTM(2, 3), format="quick")
    with pytest.raises(UserError, match="does not know Linear"):
        pack(tmp_path / "network", nn.Linear(2, 2))
    with pytest.raises(UserError, match="the cell Rational"):
        pack(tmp_path / "network", Classifier(5, 3, cell="rational", units=4))
    (tmp_path / "text").write_text(json.dumps({}))
    with pytest.raises(UserError, match="is not a readable network"):
        runtime.load(tmp_path / "text")
    x = torch.randn(3, 2, 2, requires_grad=True)
    accelerate(nn.LSTM(2, 3), format="dense")(x)[0].sum().backward()
    assert bool(x.grad.any())
