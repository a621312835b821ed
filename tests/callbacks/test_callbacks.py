"""Callbacks for the loops of others: checkpoints, averages, mixed precision, accumulation, resuming, the best epoch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sparsernn.errors import UserError
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.rigl import RigL

METHODS = [Magnitude(0.8, every=2), RigL(0.8, every=3), GroupLasso(0.05, "neuron", sparsity=0.5)]
EPOCHS, BATCHES = 4, 8
STEPS = EPOCHS * BATCHES


class Classifier(nn.Module):
    """A GRU whose last output is classified; with labels it returns its loss too."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.GRU(4, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x, labels=None):
        logits = self.head(self.rnn(x)[0][:, -1])
        return {"logits": logits} if labels is None else {"loss": loss_of(logits, labels), "logits": logits}


loss_of = nn.functional.cross_entropy


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8 * BATCHES, 5, 4, generator=generator)
    return TensorDataset(x, (x[:, :, 0].sum(1) > 0).long())


def alive(model, masks) -> int:
    return sum(int((model.get_parameter(name)[~kept] != 0).sum()) for name, kept in masks.kept.items())


def check_same(first, second):
    """Two trained models and their masks are the same to the bit."""
    for ours, theirs in zip(first[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert first[1].kept.keys() == second[1].kept.keys()
    assert all(torch.equal(kept, second[1].kept[name]) for name, kept in first[1].kept.items())


@pytest.fixture(scope="module")
def lightning():
    return pytest.importorskip("lightning", reason="lightning is not installed (pip install sparsernn[callbacks])")


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip(
        "transformers", reason="transformers is not installed (pip install sparsernn[callbacks])"
    )


@pytest.fixture(scope="module")
def accelerate():
    return pytest.importorskip("accelerate", reason="accelerate is not installed (pip install sparsernn[callbacks])")


def fit_by_lightning(lightning, folder, method, resume=None, callbacks=(), keep="last", **options):
    from sparsernn.callbacks.lightning import Sparsify

    seen = []

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Classifier()

        def training_step(self, batch, index):
            return self.net(*batch)["loss"]

        def validation_step(self, batch, index):
            if sparsify.sparsifier is not None:
                seen.append(alive(self, sparsify.sparsifier.masks))
            # The second epoch is the best one.
            self.log("worth", torch.tensor(float(abs(self.current_epoch - 1))))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    module, sparsify = Module(), Sparsify(method, keep=keep)
    saved = lightning.pytorch.callbacks.ModelCheckpoint(folder, "{epoch}", monitor="worth", save_top_k=-1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=EPOCHS, callbacks=[sparsify, saved, *callbacks], **quiet, **options)
    loaders = [DataLoader(data(), batch_size=8) for _ in range(2)]
    trainer.fit(module, *loaders, ckpt_path=resume)
    return module, sparsify.masks, sparsify.sparsifier, seen


pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_lightning_resumes_to_the_same_bits(lightning, tmp_path, method):
    whole = fit_by_lightning(lightning, tmp_path / "a", method)
    assert whole[2].step_count == whole[2].steps == STEPS
    assert whole[1].sparsity() > 0.4 and alive(whole[0], whole[1]) == 0
    resumed = fit_by_lightning(lightning, tmp_path / "b", method, resume=tmp_path / "a" / "epoch=1.ckpt")
    check_same(whole, resumed)


def test_lightning_goes_back_to_the_best_epoch(lightning, tmp_path):
    method = Magnitude(0.8, every=1, stop=0.9)
    module, masks, sparsifier, _ = fit_by_lightning(lightning, tmp_path, method, keep="best")
    saved = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)
    assert sparsifier.step_count == 2 * BATCHES and alive(module, masks) == 0
    assert all(torch.equal(value, saved["state_dict"][name]) for name, value in module.state_dict().items())


def test_lightning_evaluates_averages_with_their_zeros(lightning, tmp_path):
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")
    average = averaging.WeightAveraging(multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    module, masks, _, seen = fit_by_lightning(lightning, tmp_path, METHODS[0], callbacks=[average])
    assert len(seen) == STEPS and not any(seen) and alive(module, masks) == 0


@pytest.mark.parametrize(
    "options", [{"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}, {"precision": "bf16-mixed"}]
)
def test_lightning_counts_steps_not_batches(lightning, tmp_path, options):
    _, _, sparsifier, _ = fit_by_lightning(lightning, tmp_path, RigL(0.8, every=3), **options)
    assert sparsifier.step_count == sparsifier.steps == STEPS // options.get("accumulate_grad_batches", 1)


def fit_by_transformers(transformers, folder, method, resume=None, **options):
    from sparsernn.callbacks.transformers import Sparsify

    model, sparsify = Classifier(), Sparsify(method)
    rows = [{"x": x, "labels": label} for x, label in data()]
    quiet = {"report_to": [], "disable_tqdm": True, "logging_strategy": "no", "use_cpu": True}
    arguments = transformers.TrainingArguments(
        str(folder),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        save_strategy="epoch",
        seed=3,
        **quiet,
        **options,
    )
    # The second evaluation is the best one.
    marks = iter([2.0, 1.0, 3.0, 4.0])
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=rows,
        eval_dataset=rows[:4],
        compute_metrics=lambda _: {"worth": next(marks)},
        callbacks=[sparsify],
    )
    trainer.train(resume_from_checkpoint=resume)
    return model, sparsify.masks, sparsify.sparsifier


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_transformers_resumes_to_the_same_bits(transformers, tmp_path, method):
    whole = fit_by_transformers(transformers, tmp_path, method)
    assert whole[2].step_count == whole[2].steps == STEPS
    assert whole[1].sparsity() > 0.4 and alive(whole[0], whole[1]) == 0
    half = tmp_path / f"checkpoint-{STEPS // 2}"
    check_same(whole, fit_by_transformers(transformers, tmp_path, method, resume=str(half)))
    (half / "sparsifier.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        fit_by_transformers(transformers, tmp_path, method, resume=str(half))


def test_transformers_goes_back_to_the_best_epoch(transformers, tmp_path):
    model, masks, sparsifier = fit_by_transformers(
        transformers,
        tmp_path,
        Magnitude(0.8, every=1, stop=0.9),
        eval_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="worth",
        greater_is_better=False,
    )
    assert sparsifier.step_count == 2 * BATCHES and alive(model, masks) == 0


def test_transformers_counts_steps_not_batches(transformers, tmp_path):
    options = {"gradient_accumulation_steps": 2, "bf16": True}
    _, _, sparsifier = fit_by_transformers(transformers, tmp_path, RigL(0.8, every=3), **options)
    assert sparsifier.step_count == sparsifier.steps == STEPS // 2


def fit_by_accelerate(accelerate, folder, method, resume=False, best=False):
    """Twelve steps of two batches each, with a checkpoint after the sixth."""
    from sparsernn.callbacks.accelerate import sparsify

    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = Classifier()
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), 1e-2))
    sparsifier = sparsify(accelerator, model, method, optimizer, steps=12)
    if resume:
        accelerator.load_state(str(folder))
    x, labels = data().tensors
    for number in range(2 * sparsifier.step_count, 24):
        part = slice(8 * (number % 8), 8 * (number % 8) + 8)
        with accelerator.accumulate(model):
            accelerator.backward(model(x[part], labels[part])["loss"] + sparsifier.penalty())
            optimizer.step()
            optimizer.zero_grad()
        assert alive(model, sparsifier.masks) == 0
        if number == 11 and not resume:
            accelerator.save_state(str(folder))
    if best:
        accelerator.load_state(str(folder))
    return model, sparsifier.finalize(), sparsifier


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_accelerate_resumes_to_the_same_bits(accelerate, tmp_path, method):
    whole = fit_by_accelerate(accelerate, tmp_path, method)
    assert whole[2].step_count == 12
    check_same(whole, fit_by_accelerate(accelerate, tmp_path, method, resume=True))


def test_accelerate_brings_masks_and_weights_of_a_checkpoint_back_together(accelerate, tmp_path):
    method = Magnitude(0.8, every=1, stop=0.5)
    model, masks, sparsifier = fit_by_accelerate(accelerate, tmp_path, method, best=True)
    assert sparsifier.step_count == 6 and alive(model, masks) == 0


@pytest.mark.parametrize("library", ["lightning", "transformers", "accelerate"])
def test_two_processes_hold_the_same(library, tmp_path):
    pytest.importorskip(library, reason=f"{library} is not installed (pip install sparsernn[callbacks])")
    script = Path(__file__).with_name("two_processes.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in "01":
        variables = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "made"}
        path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables |= {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(script), library, str(tmp_path)]
        processes.append(subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["steps"] == second["steps"] and first["batches"] != second["batches"]
    for part in ("weights", "kept"):
        assert all(torch.equal(tensor, second[part][name]) for name, tensor in first[part].items())
    absent = [~kept for kept in first["kept"].values()]
    assert sum(int(flags.sum()) for flags in absent) > 0
    assert all(bool((first["weights"][name][~kept] == 0).all()) for name, kept in first["kept"].items())
