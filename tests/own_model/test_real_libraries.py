"""Models of real libraries: trained, pruned to half of their recurrent units, compacted, and used as their users do."""

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from sparsernn import Sparsifier, compact, load_compact, save_compact
from sparsernn.methods.magnitude import Magnitude

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
HALF = Magnitude(0.5, granularity="neuron", every=2)
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
Use = Callable[[nn.Module], Any]


@dataclass
class Case:
    """A trained model of a library.

    Attributes:
        library: the distribution.
        make: another model of the same sizes, for its file to be read into.
        example: what `compact` is given.
        uses: what its users do with it, on other inputs than the example; each returns what the model gives.
        options: of `compact`.
        units: how many recurrent units have to be left, of how many.
    """

    library: str
    model: nn.Module
    masks: Any
    make: Callable[[], nn.Module]
    example: Any
    uses: list[Use]
    units: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)


def calls(*inputs: Any) -> list[Use]:
    """Plain calls of a model, one for each input: a tensor, a tuple of arguments, or keywords."""

    def call(given: Any, model: nn.Module) -> Any:
        if isinstance(given, Mapping):
            return model(**given)
        return model(*given) if isinstance(given, tuple) else model(given)

    return [partial(call, given) for given in inputs]


def trained(model: nn.Module, loss: Callable[[], Tensor], steps: int = 10, rate: float = 1e-2) -> Any:
    """Masks of a model that was trained by a plain loop."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    run = Sparsifier(model.train(), HALF, optimizer, steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (loss() + run.penalty()).backward()
        optimizer.step()
    return run.finalize()


def numbers(value: Any) -> list[Tensor]:
    """Every tensor and array of floats in a result of any form."""
    if isinstance(value, Tensor | np.ndarray):
        tensor = torch.as_tensor(value).detach()
        return [torch.view_as_real(tensor) if tensor.is_complex() else tensor]
    if isinstance(value, Mapping):
        return numbers(list(value.values()))
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in numbers(part)]
    return [] if value is None else [torch.tensor(value)]


def results(model: nn.Module, uses: list[Use]) -> list[list[Tensor]]:
    """What a model gives to its users, in evaluation mode; chance begins alike for each."""
    given = []
    for use in uses:
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
        with torch.no_grad():
            given.append(numbers(use(model.eval())))
    return given


def difference(left: list[list[Tensor]], right: list[list[Tensor]]) -> float:
    """The largest difference of two results, of each tensor relative to its largest number."""
    worst = 0.0
    for one, other in zip(left, right, strict=True):
        assert [tensor.shape for tensor in one] == [tensor.shape for tensor in other]
        for a, b in zip(one, other, strict=True):
            if a.numel():
                scale = a.double().abs().max().clamp(min=torch.finfo(torch.float32).tiny)
                worst = max(worst, float((a.double() - b.double()).abs().max() / scale))
    return worst


def units(model: nn.Module) -> int:
    """Recurrent units of all layers and directions."""
    return sum(weight.shape[1] for name, weight in model.named_parameters() if ".weight_hh" in name)


def size(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


@contextlib.contextmanager
def without_recurrence(model: nn.Module):
    """Inside, all recurrent weights of a model are zero."""
    weights = {name: weight.clone() for name, weight in model.state_dict().items() if "_ih" in name or "_hh" in name}
    model.load_state_dict({name: torch.zeros_like(weight) for name, weight in weights.items()}, strict=False)
    yield
    model.load_state_dict(weights, strict=False)


@pytest.fixture(scope="module")
def table():
    """Lines of the table in docs/your-own-model.md, printed at the end."""
    lines: list[str] = []
    yield lines
    print("\n| model | library | recurrent units | difference | bytes |\n| --- | --- | --- | --- | --- |")
    print("\n".join(lines))


def lightning_module() -> Case:
    lightning = pytest.importorskip("lightning")
    from sparsernn.callbacks.lightning import Sparsify

    class Sentences(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.words, self.rnn = nn.Embedding(30, 8), nn.LSTM(8, 24, 2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(48, 4)

        def forward(self, ids):
            return self.head(self.rnn(self.words(ids))[0].mean(1))

        def training_step(self, batch, _):
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    ids, model, sparsify = torch.randint(30, (64, 9)), Sentences(), Sparsify(HALF)
    trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", callbacks=[sparsify], **QUIET)
    trainer.fit(model, DataLoader(TensorDataset(ids, ids[:, 0] % 4), batch_size=8))
    uses = calls(*(torch.randint(30, shape) for shape in ((1, 4), (5, 20), (3, 1))))
    return Case("lightning", model, sparsify.masks, Sentences, ids[:3], uses, (48, 96))


def transformers_trainer(folder) -> Case:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_outputs import SequenceClassifierOutput

    from sparsernn.callbacks.transformers import Sparsify

    class Sentences(transformers.PreTrainedModel):
        config_class = transformers.PretrainedConfig

        def __init__(self, config):
            super().__init__(config)
            self.words, self.rnn = nn.Embedding(30, 8), nn.GRU(8, 24, batch_first=True)
            self.head = nn.Linear(24, 4)
            self.post_init()

        def forward(self, input_ids, attention_mask=None, labels=None):
            hidden = self.rnn(self.words(input_ids))[0]
            mask = torch.ones(input_ids.shape) if attention_mask is None else attention_mask
            logits = self.head((hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True))
            loss = None if labels is None else F.cross_entropy(logits, labels)
            return SequenceClassifierOutput(loss=loss, logits=logits)

    ids, model = torch.randint(30, (64, 9)), Sentences(transformers.PretrainedConfig())
    rows = [{"input_ids": row, "labels": row[0] % 4, "attention_mask": torch.ones(9)} for row in ids]
    quiet = {"report_to": [], "disable_tqdm": True, "logging_strategy": "no", "save_strategy": "no", "use_cpu": True}
    options = transformers.TrainingArguments(str(folder), num_train_epochs=3, learning_rate=1e-2, **quiet)
    sparsify = Sparsify(HALF)
    transformers.Trainer(model, options, train_dataset=rows, callbacks=[sparsify]).train()
    short = {"input_ids": ids[:2, :5], "attention_mask": torch.tensor([[1.0] * 5, [1, 1, 0, 0, 0]])}
    uses = calls(short, {"input_ids": torch.randint(30, (5, 15)), "labels": torch.arange(5) % 4})
    make = partial(Sentences, transformers.PretrainedConfig())
    example = {"input_ids": ids[:3], "attention_mask": torch.ones(3, 9)}
    return Case("transformers", model, sparsify.masks, make, example, uses, (12, 24))


def recurrent_ppo(both: bool) -> Case:
    sb3_contrib = pytest.importorskip("sb3_contrib")
    from sb3_contrib.common.recurrent.type_aliases import RNNStates

    def agent():
        settings = {"lstm_hidden_size": 24, "enable_critic_lstm": both}
        sizes = {"n_steps": 64, "batch_size": 32, "n_epochs": 2, "learning_rate": 1e-2}
        return sb3_contrib.RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu", policy_kwargs=settings, **sizes)

    def states(batch, draw=torch.randn):
        return RNNStates(*((draw(1, batch, 24), draw(1, batch, 24)) for _ in range(2)))

    def steps(policy):
        """An episode of five observations; the states go from call to call."""
        here, outputs = states(2, torch.zeros), []
        for number in range(5):
            actions, values, chances, here = policy(torch.randn(2, 4), here, torch.full((2,), float(not number)), True)
            outputs += [actions, values, chances]
        return outputs

    def predictions(policy):
        state, actions = None, []
        for _ in range(4):
            action, state = policy.predict(np.random.randn(3, 4), state, np.zeros(3, bool), deterministic=True)
            actions.append(action)
        return actions

    def evaluated(policy):
        starts = (torch.rand(14) < 0.3).float()
        return policy.evaluate_actions(torch.randn(14, 4), torch.randint(2, (14,)), states(2), starts)

    made = agent()
    run = Sparsifier(made.policy, HALF, made.policy.optimizer, steps=16)
    made.learn(256)
    example = torch.randn(3, 4), states(3), torch.ones(3), True
    plain = [lambda policy: policy(torch.randn(4, 4), states(4), torch.tensor([0.0, 1, 0, 1]), True)[:3]]
    uses, count = [*plain, steps, predictions, evaluated], 48 if both else 24
    sizes, options = (count // 2, count), {"carried_states": True}
    return Case("sb3-contrib", made.policy, run.finalize(), lambda: agent().policy, example, uses, sizes, options)


def forecasting(name: str, sizes: tuple[int, int], **settings: Any) -> Case:
    library = pytest.importorskip("pytorch_forecasting")
    import pandas as pd
    from lightning.pytorch import Trainer

    from sparsernn.callbacks.lightning import Sparsify

    time = np.arange(60)
    parts = [{"name": str(k), "time": time, "value": np.sin(time / 3 + k) + 2, "other": np.cos(time)} for k in range(4)]
    frame = pd.concat(map(pd.DataFrame, parts), ignore_index=True).astype({"name": "category"})
    columns = {"time_idx": "time", "target": "value", "group_ids": ["name"], "static_categoricals": ["name"]}
    columns |= {"time_varying_known_reals": ["other"], "time_varying_unknown_reals": ["value"]}
    lengths = {
        "min_encoder_length": 4,
        "max_encoder_length": 12,
        "min_prediction_length": 2,
        "max_prediction_length": 4,
    }
    data = library.TimeSeriesDataSet(frame, **columns, **lengths)

    def batch(count):
        return next(iter(data.to_dataloader(train=True, batch_size=count, num_workers=0)))[0]

    kind = getattr(library, name)
    make = partial(kind.from_dataset, data, learning_rate=1e-2, log_interval=-1, dropout=0.1, **settings)
    model, sparsify = make(), Sparsify(HALF)
    trainer = Trainer(max_epochs=1, limit_train_batches=12, accelerator="cpu", callbacks=[sparsify], **QUIET)
    trainer.fit(model, data.to_dataloader(train=True, batch_size=16, num_workers=0))
    short = batch(3)
    short["encoder_lengths"] = torch.tensor([12, 1 if name == "DeepAR" else 0, 7])
    short["decoder_lengths"] = torch.tensor([4, 2, 0])
    uses = calls(*((batch(count),) for count in (2, 5, 9)), (short,))
    if name == "DeepAR":
        uses.append(partial(lambda x, model: model(x, n_samples=5), batch(3)))
    return Case("pytorch-forecasting", model, sparsify.masks, make, (batch(4),), uses, sizes)


def open_unmix() -> Case:
    library = pytest.importorskip("openunmix.model")
    make = partial(library.OpenUnmix, nb_bins=33, nb_channels=2, hidden_size=32, nb_layers=2)
    model, mix = make(), torch.rand(3, 2, 33, 12)
    masks = trained(model, lambda: F.mse_loss(model(mix), mix * torch.linspace(0, 1, 33).view(33, 1)), 40)
    uses = calls(*(torch.rand(batch, 2, 33, frames) for batch, frames in ((1, 5), (2, 30), (5, 1))))
    return Case("openunmix", model, masks, make, mix, uses, (32, 64))


def asteroid(name: str, sizes: tuple[int, int], **settings: Any) -> Case:
    library = pytest.importorskip("asteroid")
    from asteroid.losses import PITLossWrapper, pairwise_neg_sisdr

    make = partial(getattr(library.models, name), 2, n_filters=32, **settings)
    model, voices = make(), torch.randn(2, 2, 800)
    loss = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")
    masks = trained(model, lambda: loss(model(voices.sum(1, keepdim=True)), voices))
    uses = calls(*(torch.randn(batch, 1, length) for batch, length in ((1, 500), (3, 1200), (2, 803))))
    return Case("asteroid", model, masks, make, torch.randn(2, 1, 800), [*uses, *calls(torch.randn(700))], sizes)


def denoiser(causal: bool, sizes: tuple[int, int]) -> Case:
    library = pytest.importorskip("denoiser.demucs")
    make = partial(library.Demucs, hidden=8, depth=3, resample=1, causal=causal)
    model, clean = make(), torch.randn(2, 1, 600)
    masks = trained(model, lambda: F.l1_loss(model(clean + torch.randn_like(clean)), clean))
    uses = calls(*(torch.randn(batch, 1, length) for batch, length in ((1, 400), (3, 1000), (2, 611))))

    def streamed(model):
        streamer = library.DemucsStreamer(model, num_frames=2)
        return [*(streamer.feed(torch.randn(1, 300)) for _ in range(4)), streamer.flush()]

    return Case("denoiser", model, masks, make, clean, [*uses, streamed] if causal else uses, sizes)


def demucs(sizes: tuple[int, int], **settings: Any) -> Case:
    library = pytest.importorskip("demucs.demucs")
    options = {"audio_channels": 1, "channels": 16, "depth": 3, "resample": False, "dconv_init": 1.0} | settings
    make = partial(library.Demucs, ["voice", "rest"], **options)
    model, mix = make(), torch.randn(2, 1, 1200)
    masks = trained(model, lambda: F.l1_loss(model(mix), torch.stack([mix, -mix], 1)), 8, 1e-3)
    uses = calls(*(torch.randn(batch, 1, length) for batch, length in ((1, 900), (3, 2000), (2, 1300))))
    return Case("demucs", model, masks, make, mix, uses, sizes)


def speechbrain(attention: str) -> Case:
    """An encoder with attention and a decoder, whose cells a loop of the library steps."""
    library = pytest.importorskip("speechbrain")
    from speechbrain.lobes.models.CRDNN import CRDNN
    from speechbrain.nnet.RNN import LSTM, AttentionalRNNDecoder

    class Recogniser(nn.Module):
        def __init__(self):
            super().__init__()
            blocks = {"cnn_blocks": 1, "cnn_channels": (8,), "dnn_blocks": 1, "dnn_neurons": 16, "time_pooling": False}
            self.encoder = CRDNN(input_shape=[None, None, 20], **blocks, rnn_class=LSTM, rnn_layers=2, rnn_neurons=24)
            self.words = nn.Embedding(20, 8)
            self.decoder = AttentionalRNNDecoder("gru", attention, 24, 12, 2, 16, 8, channels=4, kernel_size=3)
            self.out = library.nnet.linear.Linear(20, input_size=24)

        def forward(self, sound, ids, lengths):
            hidden, attended = self.decoder(self.words(ids), self.encoder(sound), lengths)
            return self.out(hidden).log_softmax(-1), attended

    def spoken(batch, frames, words):
        return torch.randn(batch, frames, 20), torch.randint(20, (batch, words)), torch.linspace(1, 0.5, batch)

    model, (sound, ids, lengths) = Recogniser(), spoken(3, 16, 5)
    loss = library.nnet.losses.nll_loss
    masks = trained(model, lambda: loss(model(sound, ids, lengths)[0], ids, lengths))
    uses = calls(spoken(1, 8, 3), spoken(4, 24, 9), spoken(2, 12, 1))
    return Case("speechbrain", model, masks, Recogniser, (sound, ids, lengths), uses, (72, 144))


def stanza(drop: float = 0) -> Case:
    pytest.importorskip("stanza")
    from stanza.models.common.vocab import CharVocab
    from stanza.models.pos.model import Tagger
    from stanza.models.pos.vocab import FeatureVocab, MultiVocab, WordVocab

    words = [f"w{a}{b}" for a in "abcdef" for b in "ghij"]
    tags = [("N", "P", "Number=Sing"), ("V", "Q", "Case=Nom|Number=Plur")]
    rows = [[[word, *tags[number % 2]] for number, word in enumerate(words)]]
    parts = {"char": CharVocab(words, "en"), "word": WordVocab(rows, "en"), "upos": WordVocab(rows, "en", 1)}
    vocabulary = MultiVocab(parts | {"xpos": WordVocab(rows, "en", 2), "feats": FeatureVocab(rows, "en", 3)})
    settings = {"word_emb_dim": 12, "tag_emb_dim": 6, "char": True, "char_emb_dim": 8, "char_hidden_dim": 16}
    settings |= {"char_num_layers": 1, "char_rec_dropout": 0, "transformed_dim": 10, "pretrain": False, "num_layers": 2}
    settings |= {"hidden_dim": 24, "dropout": 0.2, "rec_dropout": drop, "deep_biaff_hidden_dim": 14, "bert_model": None}
    make = partial(Tagger, settings | {"composite_deep_biaff_hidden_dim": 10, "word_dropout": 0.1}, vocabulary)

    def ids(sizes, *shape):
        return torch.stack([torch.randint(2, size, shape) for size in sizes], -1)

    def padded(values, lengths):
        for row, length in zip(values, lengths, strict=True):
            row[length:] = 0
        return values

    def sentences(*lengths, labelled=True):
        shape, count = (len(lengths), max(lengths)), sum(lengths)
        spelled = sorted(torch.randint(2, 7, (count,)).tolist(), reverse=True)
        letters = padded(ids([len(parts["char"])], count, spelled[0])[..., 0], spelled)
        sizes = [
            [len(vocabulary["upos"])],
            [len(vocabulary["xpos"])],
            [max(3, size) for size in vocabulary["feats"].lens()],
        ]
        labels = [padded(ids(one, *shape).squeeze(-1), lengths) for one in sizes] if labelled else None
        word = padded(ids([len(parts["word"])], *shape)[..., 0], lengths)
        order = torch.randperm(count).tolist()
        return word, word == 0, letters, letters == 0, labels, None, order, lengths, spelled, None

    model, batches = make(), [sentences(6, 4, 3) for _ in range(3)]
    masks = trained(model, lambda: model(*random.choice(batches))[0], 20)
    uses = calls(sentences(5, 2), sentences(9, 7, 7, 1), sentences(3), sentences(8, 2, labelled=False))
    return Case("stanza", model, masks, make, sentences(6, 4, 2), uses, (8 + 48, 16 + 96))


MODELS: Mapping[str, Callable[[SimpleNamespace], Case]] = {
    "LightningModule": lambda _: lightning_module(),
    "Trainer": lambda given: transformers_trainer(given.folder),
    "RecurrentPPO": lambda _: recurrent_ppo(True),
    "RecurrentPPO, no LSTM for values": lambda _: recurrent_ppo(False),
    "DeepAR": lambda _: forecasting("DeepAR", (24, 48), hidden_size=24, rnn_layers=2),
    "DeepAR, GRU": lambda _: forecasting("DeepAR", (24, 48), hidden_size=24, rnn_layers=2, cell_type="GRU"),
    "TemporalFusionTransformer": lambda _: forecasting("TemporalFusionTransformer", (16, 32)),
    "OpenUnmix": lambda _: open_unmix(),
    "LSTMTasNet": lambda _: asteroid("LSTMTasNet", (64, 128), hid_size=32, n_layers=2),
    "DPRNNTasNet": lambda _: asteroid("DPRNNTasNet", (96, 192), bn_chan=16, hid_size=24, chunk_size=20, n_repeats=2),
    "Demucs (denoiser)": lambda _: denoiser(True, (32, 64)),
    "Demucs (denoiser), two directions": lambda _: denoiser(False, (64, 128)),
    "Demucs": lambda _: demucs((64, 128), lstm_layers=2, dconv_mode=0, norm_starts=9, channels=8),
    "Demucs, LSTM in the encoder": lambda _: demucs((96, 192), dconv_lstm=1, dconv_attn=1, norm_starts=2),
    "CRDNN, AttentionalRNNDecoder (content)": lambda _: speechbrain("content"),
    "CRDNN, AttentionalRNNDecoder (location)": lambda _: speechbrain("location"),
    "Tagger": lambda _: stanza(),
}


KEPT: Mapping[str, tuple[Callable[[], Case], str]] = {
    "TemporalFusionTransformer, two layers": (
        lambda: forecasting("TemporalFusionTransformer", (64, 64), lstm_layers=2),
        "0 of 32 units of lstm_encoder can go, because masked_scatter reads it",
    ),
    "Tagger, recurrent dropout": (
        lambda: stanza(0.1),
        "0 of 24 units of taggerlstm.* can go, because mul combines it with a tensor of its own width",
    ),
    "RecurrentPPO, states not carried": (
        lambda: replace(recurrent_ppo(True), options={}),
        "0 of 24 units of lstm_actor can go, because .*pass carried_states=True",
    ),
}


@pytest.fixture(autouse=True)
def seeds():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.mark.parametrize("name", KEPT)
def test_what_cannot_be_cut_stays_and_says_why(name):
    make, sentence = KEPT[name]
    case = make()
    with pytest.warns(UserWarning, match=sentence):
        small, _ = compact(case.model, case.masks, example=case.example, **case.options)
    assert difference(results(case.model, case.uses), results(small, case.uses)) <= 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_half_of_the_units_go_and_nothing_else_changes(name, table, tmp_path):
    case = MODELS[name](SimpleNamespace(folder=tmp_path))
    small, left = compact(case.model, case.masks, example=case.example, **case.options)
    assert (units(small), units(case.model)) == case.units
    before = results(case.model, case.uses)
    with without_recurrence(case.model):
        share = difference(before, results(case.model, case.uses))
    distance = difference(before, results(small, case.uses))
    assert share > 1e-3 and distance <= min(1e-5, 1e-3 * share)
    sizes = size(case.model), size(small)
    assert sizes[1] < sizes[0]
    save_compact(tmp_path / "small", small, left)
    loaded = load_compact(tmp_path / "small", case.make())
    assert difference(results(small, case.uses), results(loaded, case.uses)) == 0
    small.train()
    assert sum(weight.numel() for weight in small.parameters()) == sum(w.numel() for w in loaded.parameters())
    counts = f"{case.units[1]} -> {case.units[0]}"
    bytes_ = f"{sizes[0]:,} -> {sizes[1]:,}"
    table.append(f"| {name} | {case.library} {version(case.library)} | {counts} | {distance:.1e} | {bytes_} |")
