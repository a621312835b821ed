"""Times of two source trees in turns: importing, predicting from a run folder, and a step of training.

    python benchmarks/against_another_tree.py TREE OTHER RUN FILE [--rounds 6]

A tree is a checkout whose extension was built in place. RUN is a run folder that `sparsernn train` left, of a version
that both trees read, and FILE another file for it. Each round is a process for either tree; processor time is told, of
which what others do on the machine moves little, in milliseconds, as the least of all rounds.

"import" is that of torch and the package; "first" the first prediction of a process, with what is imported for it;
"new" one of a file that was not met before, "again" one of the same file, which earlier versions read from a cache.
Python collects no garbage meanwhile: a collection takes as long as importing the package, and comes by chance.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ALONE = """
import gc, json, shutil, sys, tempfile, time
from pathlib import Path
source, run, file = sys.argv[1:]
sys.meta_path[:] = [finder for finder in sys.meta_path if finder.__module__.startswith("_frozen")]
sys.path.insert(0, source)
now, times = time.process_time, {}

def least(call, count):
    return min(taken(call) for _ in range(count))

def taken(call):
    started = now()
    call()
    return now() - started

gc.disable()
started = now()
import torch
import sparsernn
from sparsernn import Sparsifier
from sparsernn.methods.rigl import RigL
times["import"] = now() - started
torch.set_num_threads(1)
started = now()
from sparsernn.own_data.prediction import predict
predict(Path(run), Path(file))
times["first"] = now() - started
times["again"] = least(lambda: predict(Path(run), Path(file)), 20)
with tempfile.TemporaryDirectory() as folder:
    copies = [Path(folder) / f"{number}{Path(file).suffix}" for number in range(20)]
    for copy in copies:
        shutil.copy(file, copy)
    times["new"] = min(taken(lambda: predict(Path(run), copy)) for copy in copies)

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = torch.nn.GRU(40, 128, batch_first=True), torch.nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])

torch.manual_seed(0)
network, x, y = Network(), torch.randn(32, 30, 40), torch.randint(0, 10, (32,))
optimizer = torch.optim.Adam(network.parameters(), 1e-3)
sparsifier = Sparsifier(network, RigL(0.9), optimizer, steps=10_000)

def step():
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(x), y).backward()
    optimizer.step()

for _ in range(20):
    step()
times["step"] = least(step, 60)
print(json.dumps(times))
"""


def times(tree: Path, run: Path, file: Path) -> dict[str, float]:
    """Seconds by what was done, in a process of its own."""
    command = [sys.executable, "-c", ALONE, str(tree / "src"), str(run), str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ended.returncode:
        sys.exit(ended.stderr)
    return json.loads(ended.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("tree", "other", "run", "file"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    rounds = [[times(tree, given.run, given.file) for tree in (given.tree, given.other)] for _ in range(given.rounds)]
    print(f"{'':8}{'tree':>10}{'other':>10}{'ratio':>8}")
    for name in rounds[0][0]:
        ours, theirs = (1000 * min(pair[side][name] for pair in rounds) for side in (0, 1))
        print(f"{name:8}{ours:10.2f}{theirs:10.2f}{ours / theirs:8.2f}")


if __name__ == "__main__":
    main()
