"""One of two processes of a data-parallel training by somebody else's loop; test_callbacks.py sets torchrun's variables."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.rigl import RigL

RANK = int(os.environ["RANK"])
METHODS = {"lightning": GroupLasso(0.05, "neuron", sparsity=0.5), "transformers": RigL(0.8, every=3)}
METHODS["accelerate"] = METHODS["transformers"]


class Classifier(nn.Module):
    """It notes which examples its process has seen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head, self.seen = nn.GRU(4, 16, batch_first=True), nn.Linear(16, 3), []

    def forward(self, x, labels):
        self.seen.append(round(float(x.sum()), 3))
        logits = self.head(self.rnn(x)[0][:, -1])
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(64, 5, 4, generator=generator), torch.randint(3, (64,), generator=generator))


def by_lightning(folder: Path) -> tuple[Classifier, Any]:
    lightning = importlib.import_module("lightning")
    callbacks = importlib.import_module("sparsernn.callbacks.lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Classifier()

        def training_step(self, batch, index):
            return self.net(*batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    module, sparsify = Module(), callbacks.Sparsify(METHODS["lightning"], where="net.rnn.weight*")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(
        max_epochs=3, strategy="ddp", devices=2, default_root_dir=folder, callbacks=[sparsify], **quiet
    )
    trainer.fit(module, DataLoader(data(), batch_size=8))
    return module, sparsify


def by_transformers(folder: Path) -> tuple[Classifier, Any]:
    transformers = importlib.import_module("transformers")
    callbacks = importlib.import_module("sparsernn.callbacks.transformers")
    model, sparsify = Classifier(), callbacks.Sparsify(METHODS["transformers"])
    options = {"report_to": [], "disable_tqdm": True, "logging_strategy": "no", "use_cpu": True, "ddp_backend": "gloo"}
    arguments = transformers.TrainingArguments(
        str(folder), num_train_epochs=3, per_device_train_batch_size=8, learning_rate=1e-2, **options
    )
    rows = [{"x": x, "labels": label} for x, label in data()]
    transformers.Trainer(model, arguments, train_dataset=rows, callbacks=[sparsify]).train()
    return model, sparsify


def by_accelerate(folder: Path) -> tuple[Classifier, Any]:
    accelerate = importlib.import_module("accelerate")
    callbacks = importlib.import_module("sparsernn.callbacks.accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = Classifier()
    prepared, optimizer, loader = accelerator.prepare(
        model, torch.optim.Adam(model.parameters(), 1e-2), DataLoader(data(), batch_size=8)
    )
    sparsifier = callbacks.sparsify(accelerator, prepared, METHODS["accelerate"], optimizer, steps=12)
    for batch in (batch for _ in range(3) for batch in loader):
        accelerator.backward(prepared(*batch)["loss"] + sparsifier.penalty())
        optimizer.step()
        optimizer.zero_grad()
    sparsifier.finalize()
    return model, sparsifier


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    library, folder = sys.argv[1], Path(sys.argv[2])
    model, run = {"lightning": by_lightning, "transformers": by_transformers, "accelerate": by_accelerate}[library](
        folder
    )
    sparsifier = getattr(run, "sparsifier", run)
    seen = getattr(model, "net", model).seen
    torch.save(
        {
            "weights": dict(model.state_dict()),
            "kept": run.masks.kept,
            "steps": sparsifier.step_count,
            "batches": seen,
        },
        folder / f"{RANK}.pt",
    )
    assert sparsifier.step_count == 12
    assert len(seen) == 12
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
