"""A torch model of one's own, made small: a GRU that hears spoken digits, pruned, compacted, and written as C.

    SPARSERNN_DATA=data python examples/spoken_digits.py [--epochs 10] [--out digits]

It listens to log-mel frames of the Free Spoken Digit Dataset (docs/tasks.md says where it comes from).
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from sparsernn import set_flush_denormal, shrink
from sparsernn.data.spoken_digits import SpokenDigits
from sparsernn.deploy.c_source import export_c
from sparsernn.errors import UserError
from sparsernn.own_model.shrinking import How


class Listener(nn.Module):
    """Says after each frame which digit it has heard; the last frame of a recording counts."""

    def __init__(self, units=96):
        super().__init__()
        self.gru, self.head = nn.GRU(40, units, batch_first=True), nn.Linear(units, 10)

    def forward(self, frames, lengths=None):
        heard = self.gru(frames)[0]
        if lengths is not None:
            heard = heard[torch.arange(len(frames)), lengths - 1]
        return self.head(heard)


def loss(model, batch):
    return F.cross_entropy(model(batch.inputs, batch.lengths), batch.targets)


@torch.no_grad()
def accuracy(model, split):
    right = [(model(batch.inputs, batch.lengths).argmax(1) == batch.targets).sum() for batch in split.batches(100)]
    return int(sum(right)) / len(split)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=10, help="passes over the recordings before anything goes")
parser.add_argument("--rounds", type=int, default=8, help="of pruning and training on, at most")
parser.add_argument("--out", type=Path, default=Path("digits"), help="folder of the C files")
options = parser.parse_args()
torch.set_num_threads(1)
set_flush_denormal(True)
try:
    digits = SpokenDigits(hop=160).load()
except UserError as error:
    sys.exit(f"The data are absent: {error}")

# The model is trained in the loop that one has.
torch.manual_seed(0)
model = Listener()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(options.epochs):
    for batch in digits.train.batches(32, shuffle_seed=epoch):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
dense = accuracy(model, digits.valid)
print(f"dense: {100 * dense:.1f} % of the validation recordings")

# Units that the loss misses least go, a third of the weights in a round, as long as it stays within a point.
batches = list(digits.train.batches(32, shuffle_seed=0))
how = How(levels=("neuron",), rounds=options.rounds)
shrunk = shrink(model, batches, loss, lambda one: accuracy(one, digits.valid), floor=dense - 0.01, how=how)
print(shrunk)
for name, one in {"dense": model, "small": shrunk.model}.items():
    print(f"{name}: {100 * accuracy(one, digits.test):.1f} % of the test recordings")

# One frame a call, in C99 without any library.
frames = next(digits.test.batches(1)).inputs
written = export_c(shrunk.model, options.out, "listener", example=(frames,), int8=True)
print(f"{written.source}: {written.constants:,} bytes of weights, {shrunk.model.gru.hidden_size} units")
