"""A language model that loses weights, gates and neurons, and a map of what is left.

    SPARSERNN_DATA=data python examples/gates.py [--epochs 8] [--out gates.svg]

An LSTM reads the first part of Penn Treebank (docs/tasks.md says where it comes from) while group lasso takes gates and
units from it. A gate into which nothing comes is a constant: the map shows its value.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from sparsernn import Sparsifier, compact, set_flush_denormal
from sparsernn.compaction.remains import remains
from sparsernn.data.ptb_word import PtbWord
from sparsernn.errors import UserError
from sparsernn.measure.gate_maps import GateMap
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.reports.gate_maps import picture


class Reader(nn.Module):
    """Says after each word how likely each one is to come next."""

    def __init__(self, words, units=64):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(words, units), nn.LSTM(units, units)
        self.dropout, self.head = nn.Dropout(0.2), nn.Linear(units, words)

    def forward(self, words):
        return self.head(self.dropout(self.lstm(self.dropout(self.embedding(words)))[0]))


@torch.no_grad()
def perplexity(model, split):
    losses = [F.cross_entropy(model(one.inputs).flatten(0, 1), one.targets.flatten()) for one in split.batches(20)]
    return float(torch.stack(losses).mean().exp())


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=8, help="passes over the text")
parser.add_argument("--share", type=float, default=0.2, help="of the training text that is read")
parser.add_argument("--out", type=Path, default=Path("gates.svg"), help="the picture")
options = parser.parse_args()
torch.set_num_threads(1)
set_flush_denormal(True)
try:
    text = PtbWord(vocabulary=2000, fraction=options.share).load()
except UserError as error:
    sys.exit(f"The data are absent: {error}")

torch.manual_seed(0)
model, batches = Reader(text.inputs), list(text.train.batches(20))
steps = options.epochs * len(batches)
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
method = GroupLasso(2e-3, ("gate", "outgoing"), sparsity=0.5, stop=0.6, proximal=True)
sparsifier = Sparsifier(model, method, optimizer, steps=steps, example=(batches[0].inputs,))
for epoch in range(options.epochs):
    for batch in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten()) + sparsifier.penalty()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"epoch {epoch + 1}: perplexity {perplexity(model.eval(), text.valid):.1f} on the validation text")
    model.train()
masks = sparsifier.finalize()

# The smaller network is the same network: `compact` proves it.
small, _ = compact(model.eval(), masks, example=(batches[0].inputs,))
print(f"{small.lstm.hidden_size} of {model.lstm.hidden_size} units are left; {perplexity(small, text.valid):.1f}")

# Which units live, which of their gates vary, and what the others are stuck at.
layers = remains(model, masks, (batches[0].inputs,), text.vocabulary)["layers"]
for gates in map(GateMap.from_json, layers):
    print(f"{gates.label}: {gates.living} of {len(gates.alive)} units live; gates that vary: {gates.varying()}")
    options.out.write_text(picture(gates).svg, encoding="utf-8")
print(options.out)
