"""One of two processes of a data-parallel training on the CPU; test_data_parallel.py sets torchrun's variables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed
from torch import nn

from sparsernn.data.splits import TensorSplit
from sparsernn.methods.rigl import RigL
from sparsernn.training.loop import fit
from sparsernn.training.run_folder import RunFolder
from sparsernn.training.settings import Settings


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(3, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, inputs, lengths=None):
        return self.head(self.recurrent(inputs)[0][:, -1])


class Stopping(TensorSplit):
    """Raises when it has been read so many times."""

    reads = 0

    def batches(self, size, *, shuffle_seed=None):
        for batch in super().batches(size, shuffle_seed=shuffle_seed):
            Stopping.reads += 1
            if Stopping.reads > 8:
                raise InterruptedError
            yield batch


def train(path: Path, split: TensorSplit, resume: bool) -> tuple[nn.Module, object]:
    torch.manual_seed(0)
    model = Classifier()
    settings = Settings(epochs=3, batch_size=9, learning_rate=0.02, device="cpu", checkpoint_seconds=0.0, loggers=())
    with RunFolder.create(path, {}, resume=True) as run:
        fitted = fit(
            model,
            split,
            split,
            objective="classification",
            method=RigL(0.5, every=3),
            settings=settings,
            run=run,
            resume=resume,
            progress=False,
        )
    return model, fitted


def main(folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    inputs = torch.randn(46, 5, 3, generator=torch.Generator().manual_seed(1))
    split, stopping = (kind(inputs, (inputs.sum((1, 2)) > 0).long()) for kind in (TensorSplit, Stopping))
    model, fitted = train(folder / "whole", split, False)
    try:
        train(folder / "pieces", stopping, False)
    except InterruptedError:
        pass
    resumed, again = train(folder / "pieces", split, True)
    rows = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in f.history]
        for f in (fitted, again)
    ]
    weights = [[weight.tolist() for weight in m.state_dict().values()] for m in (model, resumed)]
    masks = [{name: kept.tolist() for name, kept in f.masks.kept.items()} for f in (fitted, again)]
    out.write_text(json.dumps({"weights": weights, "masks": masks, "rows": rows}))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
