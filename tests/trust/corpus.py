"""Files of every kind that the package reads, made once, and the reader of each; and files damaged in many ways.

As a program it damages many of them and reads each in a process of its own:

    python -m tests.trust.corpus --files 5000 --seed 0
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet
import torch

from sparsernn import runtime, seals
from sparsernn.callbacks.state_file import read_state, write_state
from sparsernn.compaction.files import load_compact
from sparsernn.data.files import content_sum
from sparsernn.data.store import Store, build_once
from sparsernn.data.table_file import TableFile, encode_file
from sparsernn.data.word_vectors import word_vectors
from sparsernn.errors import UserError
from sparsernn.experiments import results, size_search, trained
from sparsernn.experiments.network import build
from sparsernn.experiments.packing import pack_run
from sparsernn.experiments.size_search import TargetSearch
from sparsernn.explain.explanation import explain
from sparsernn.own_data import classifier, prediction, training
from sparsernn.own_data.kneser_ney import KneserNey
from sparsernn.own_data.runs import read_preparation
from sparsernn.own_model.rounds import Rounds, State
from sparsernn.reports import page, reading, tables
from sparsernn.runtime.grams import GramNetwork
from sparsernn.runtime.packed_file import COMPRESSED
from sparsernn.structure.masks import Masks
from sparsernn.training.run_folder import RunFolder

SECONDS, MEGABYTES = 60, 1024
HOSTILE = [
    None, True, -1, 0, 2**62, 10**40, 1e308, 0.5, "", "x" * 1000, "\ud800", "../../x", "\x1b[2J", [], {}, [[]], [None],
    {"a": 1}, "none", -(2**40),
]  # fmt: skip
WORDS = [b"NaN", b"-Infinity", b"1e999", b"[" * 3000, b'"\\ud800"', b"9" * 5000, b"\x00" * 9, b"\xff\xfe", b"null"]


class Case(NamedTuple):
    """A file, and what reads it. path: within the corpus."""

    path: str
    read: Callable[[Path], object]


def write_table(path: Path) -> Path:
    chance = random.Random(0)
    rows = [(chance.choice(["great", "fine"]), "good") if row % 2 else ("dull", "bad") for row in range(120)]
    path.write_text("text,label\n" + "".join(f"a {word} day,{label}\n" for word, label in rows))
    return path


def make(folder: Path) -> Path:
    """The corpus: a text run of a cell that can be explained, a series run, and files beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["SPARSERNN_CACHE"] = str(folder / "cache")
    table = write_table(folder / "texts.csv")
    (folder / "texts.csv.gz").write_bytes(gzip.compress(table.read_bytes(), mtime=0))
    columns = {"text": [f"a {word} day" for word in ("fine", "dull") * 60], "label": ["good", "bad"] * 60}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "texts.parquet")
    steps = "".join(f"{row // 5},{row % 5},{row % 7 / 7},{'ab'[row // 5 % 2]}\n" for row in range(200))
    (folder / "series.csv").write_text("id,time,x,label\n" + steps)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "texts.json").write_text(json.dumps(rows))
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with zipfile.ZipFile(folder / "texts.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("texts.csv", table.read_bytes())
    (folder / "words.txt").write_text("the cat sat on the mat and the dog lay down\n" * 300)
    asked = {"epochs": 1, "progress": False}
    texts = TableFile(path=str(table), text="text", label="label")
    training.train(training.Training(texts, cell="rational", units=3, out=folder / "run", **asked))
    training.train(training.Training(texts, units=3, out=folder / "gru", **asked))
    training.train(training.Training(texts, out=folder / "grams", **asked))
    series = {"path": str(folder / "series.csv"), "id": "id", "time": "time", "series": ("x",)}
    labelled = TableFile(**series, label="label")
    training.train(training.Training(labelled, units=3, out=folder / "series", **asked))
    training.train(training.Training(labelled, out=folder / "kernels", **asked))
    ahead = TableFile(**series, forecast="x", horizon=1)
    training.train(training.Training(ahead, units=3, out=folder / "forecast", **asked))
    running = TableFile(path=str(folder / "words.txt"), language_model=True)
    training.train(training.Training(running, units=3, out=folder / "words", **asked))
    sparse = folder / "run" / "sparse-seed0"
    explain(sparse, folder / "texts.csv", "a fine day", most=1, out=sparse)
    for name in ("gru", "series"):
        pack_run(folder / name / "sparse-seed0", folder / f"{name}.packed", 10, 1, int8=False, dtype=None)
    np.savez(
        folder / "vectors.npz", vectors=np.ones((2, 3), np.float32), words_utf8=np.frombuffer(b"a\nfine", np.uint8)
    )
    (folder / "vectors.txt").write_text("a 1 2 3\nfine 4 5 6\n")
    shown = folder / "gru" / "sparse-seed0"
    for name, content in SHOWN.items():
        (shown / name).write_text(json.dumps(content))
    make_search_and_rounds(folder)
    write_state(folder, {"tensors": {"weight": torch.ones(3)}, "values": {"step": 1, "kept": [1, 2.5]}})
    with RunFolder.create(folder / "begun", {}) as run:
        run.append_metrics({"epoch": 1})
        run.save_checkpoint({"step": 1, "weights": torch.ones(3), "pairs": {1: (2.0, float("inf"))}})
    return folder


def make_search_and_rounds(folder: Path) -> None:
    search = TargetSearch(5.0, 0.5, 1e-3, trials=2)
    size_search.find(search, "weights", folder, lambda number, strength: {"weights": 5.0}, lambda line: None)
    model, masks = torch.nn.Linear(2, 2), Masks({"weight": torch.ones(2, 2, dtype=torch.bool)})
    Rounds(folder / "rounds", {}).save(State([{"kept": 4}], 0.5), model, masks, 1)


def predicts(run: str, file: str) -> Callable[[Path], object]:
    return lambda folder: prediction.predict(folder / run, folder / file)


def prepares(name: str, **columns: object) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        task = TableFile(path=str(folder / name), cache=str(folder / "made"), **columns)
        return task.prepare()[0]

    return read


def encodes(name: str) -> Callable[[Path], object]:
    return lambda folder: encode_file(read_preparation(folder / "run" / "sparse-seed0"), folder / name)


def reports(run: str) -> Callable[[Path], object]:
    return lambda folder: page.render(reading.read_runs([folder / run]))


def loads(folder: Path) -> object:
    run = folder / SPARSE
    return load_compact(run / "compact.safetensors", build(*trained.described(run)))


def resumes(folder: Path) -> object:
    with RunFolder.open(folder / "begun") as run:
        return run.metrics, list(run.checkpoints())


def goes_on(folder: Path) -> object:
    model, masks = torch.nn.Linear(2, 2), Masks({"weight": torch.ones(2, 2, dtype=torch.bool)})
    return Rounds(folder / "rounds", {}).resume(model, masks)


def classifies(folder: Path) -> object:
    return classifier.load(folder / "grams" / "network.sparsernn").predict(["a fine day", ""])


def runs_packed(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        network = runtime.load_any(folder / name)
        if isinstance(network, GramNetwork):
            return network.labels
        if network.spec.embedding is not None:
            return network.run(np.zeros((1, 3), np.int64))
        return network.run(np.zeros((1, STEPS.get(name, 5), network.inputs), np.float32))

    return read


def finds(folder: Path) -> object:
    search = TargetSearch(5.0, 0.5, 1e-3, trials=2)
    return size_search.find(search, "weights", folder, lambda number, strength: {"weights": 5.0}, lambda line: None)


def again(folder: Path) -> object:
    task = TableFile(path=str(folder / "texts.csv"), text="text", label="label")
    asked = training.Training(task, cell="rational", units=3, epochs=1, out=folder / "run", resume=True)
    return training.begin(folder / "run", asked, {"texts.csv": content_sum(folder / "texts.csv")})


def stores(folder: Path) -> object:
    def write(writer: object) -> dict[str, object]:
        return {}

    build_once(folder / "texts.csv", write)
    return [Store(path.parent).values for path in (folder / "cache").glob("*/manifest.json")]


SHOWN = {
    "spectra.json": {
        time: {
            "spectra": {"rnn": {"singular_values": [1.5, 0.5], "eigenvalues": [[0.5, 0.1], [0.2, 0.0]]}},
            "connections": {"rnn": {"input": {"update": {"kept": 3, "dense": 9}}, "recurrent": {}}},
        }
        for time in ("start", "trained")
    },
    "lags.json": {"layers": {"rnn": {"all": [1.0, 0.5], "units": {"all": 3, "r": 2}, "kinds": {"r": [0.5, 0.1]}}}},
}
REPORTED = (
    "recipe.json", "result.json", "environment.json", "metrics.jsonl", "masks.npz", "confusion.json", "structure.json",
    "events.jsonl", "spectra.json", "lags.json",
)  # fmt: skip
PREDICTED = {
    "gru": "texts.csv", "grams": "texts.csv", "series": "series.csv", "kernels": "series.csv",
    "forecast": "series.csv", "words": "words.txt",
}  # fmt: skip
"""Trainings whose one file is damaged, and what each predicts."""
STEPS = {"forecast/network.sparsernn": 1}
"""What a network reads at once, where it reads nothing else."""
SPARSE = "run/sparse-seed0"
TEXTS = {"text": "text", "label": "label"}
CASES = {
    "recipe, predict": Case(f"{SPARSE}/recipe.json", predicts("run", "texts.csv")),
    "preparation, predict": Case(f"{SPARSE}/preparation.json", predicts("run", "texts.csv")),
    "compact, predict": Case(f"{SPARSE}/compact.safetensors", predicts("run", "texts.csv")),
    "series preparation, predict": Case(
        "series/sparse-seed0/preparation.json", predicts("series/sparse-seed0", "series.csv")
    ),
    **{
        f"network of {name}, {verb}": Case(f"{name}/network.sparsernn", read(name))
        for name, file in PREDICTED.items()
        for verb, read in (
            ("predict", lambda name, file=file: predicts(name, file)),
            ("runtime", lambda name: runs_packed(f"{name}/network.sparsernn")),
        )
    },
    "network of grams, Classifier": Case("grams/network.sparsernn", classifies),
    "n-grams, read": Case("words/ngrams.npz", lambda folder: KneserNey.load(folder / "words" / "ngrams.npz")),
    "verdict, report": Case("grams/verdict.json", reports("grams/sparse-seed0")),
    "callback's state, read": Case("sparsifier.safetensors", read_state),
    "packed text, predict": Case("gru.packed", predicts("gru.packed", "texts.csv")),
    "packed text, runtime": Case("gru.packed", runs_packed("gru.packed")),
    "packed series, runtime": Case("series.packed", runs_packed("series.packed")),
    "weights, read": Case(f"{SPARSE}/weights.safetensors", lambda folder: trained.read(folder / SPARSE)),
    "masks, read": Case(f"{SPARSE}/masks.npz", lambda folder: trained.read(folder / SPARSE)),
    "recipe, read": Case(f"{SPARSE}/recipe.json", lambda folder: trained.read(folder / SPARSE)),
    "compact, load": Case(
        f"{SPARSE}/compact.safetensors",
        loads,
    ),
    "explanation, report": Case(f"{SPARSE}/explanation.json", reports("run")),
    **{f"{name}, report": Case(f"gru/sparse-seed0/{name}", reports("gru")) for name in REPORTED},
    "result, results": Case(f"{SPARSE}/result.json", lambda folder: results.read(folder / SPARSE / "result.json")),
    "result, tables": Case(
        "run/results/own_data/sparse-full-seed0.json",
        lambda folder: tables.results_table(folder / "run" / "results", "own_data"),
    ),
    "texts.csv, prepare": Case("texts.csv", prepares("texts.csv", **TEXTS)),
    "texts.csv.gz, prepare": Case("texts.csv.gz", prepares("texts.csv.gz", **TEXTS)),
    "texts.parquet, prepare": Case("texts.parquet", prepares("texts.parquet", **TEXTS)),
    **{
        f"{name}, prepare": Case(name, prepares(name, **TEXTS)) for name in ("texts.json", "texts.jsonl", "texts.zip")
    },
    "texts.csv, encode": Case("texts.csv", encodes("texts.csv")),
    "texts.parquet, encode": Case("texts.parquet", encodes("texts.parquet")),
    "series.csv, prepare": Case(
        "series.csv", prepares("series.csv", id="id", time="time", series=("x",), label="label")
    ),
    "words.txt, prepare": Case("words.txt", prepares("words.txt", language_model=True)),
    "checkpoint manifest, resume": Case("begun/checkpoint/checkpoint-1/manifest.json", resumes),
    "checkpoint state, resume": Case("begun/checkpoint/checkpoint-1/state.json", resumes),
    "checkpoint tensors, resume": Case("begun/checkpoint/checkpoint-1/tensors.safetensors", resumes),
    "metrics, resume": Case("begun/metrics.jsonl", resumes),
    "run's recipe, resume": Case("begun/recipe.json", resumes),
    "vectors.npz": Case("vectors.npz", lambda folder: word_vectors(folder / "vectors.npz", ["<pad>", "a"])),
    "vectors.txt": Case("vectors.txt", lambda folder: word_vectors(folder / "vectors.txt", ["<pad>", "a"])),
    "search state": Case("search.json", finds),
    "rounds": Case("rounds/rounds.json", goes_on),
    "rounds' weights": Case("rounds/model-1.safetensors", goes_on),
    "what was asked": Case("run/training.json", again),
    "prepared arrays": Case("cache", stores),
}  # fmt: skip


def damaged(data: bytes, path: str, chance: random.Random) -> bytes:
    """The bytes of a file, damaged blindly or as somebody would who knows its format."""
    if path.endswith(".json") and chance.random() < 0.7:
        return reseal_json(data, lambda values: replace_part(values, chance))
    if path.endswith(".jsonl") and chance.random() < 0.5:
        lines = data.splitlines()
        row = chance.randrange(len(lines))
        lines[row] = json.dumps(replace_part(json.loads(lines[row]), chance)).encode()
        return b"\n".join(lines)
    if path.endswith((".safetensors", ".packed", ".sparsernn")) and chance.random() < 0.7:
        return reseal_tensors(data, chance)
    return damage_blindly(data, chance)


def damage_blindly(data: bytes, chance: random.Random) -> bytes:
    changed, length = bytearray(data), len(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        place, size = chance.randrange(max(1, len(changed))), chance.choice([1, 1, 4, 40, max(1, length // 3)])
        kind = chance.choice(["flip", "cut", "repeat", "end", "fill", "word", "digit", "more"])
        if kind == "flip":
            changed[place : place + 1] = bytes([changed[place] ^ 1 << chance.randrange(8)]) if changed else b"x"
        elif kind == "cut":
            del changed[place : place + size]
        elif kind == "repeat":
            changed[place:place] = changed[place : place + size] * chance.choice([1, 3])
        elif kind == "end":
            del changed[place:]
        elif kind == "fill":
            changed[place : place + size] = chance.choice([b"\x00", b"\xff", b"\x80"]) * min(size, len(changed) - place)
        elif kind == "word":
            changed[place : place + 1] = chance.choice(WORDS)
        elif kind == "digit":
            digits = [at for at, byte in enumerate(changed) if 48 <= byte < 58]
            if digits:
                at = chance.choice(digits)
                changed[at : at + 1] = b"9" * chance.choice([1, 8, 20])
        else:
            changed += chance.randbytes(size)
    return bytes(changed)


def parts(values: object, path: tuple = ()) -> Iterator[tuple]:
    yield path
    if isinstance(values, dict | list):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from parts(value, (*path, key))


def replace_part(values: object, chance: random.Random) -> object:
    """JSON values with one of them replaced, deleted or added."""
    path = chance.choice(list(parts(values)))
    if not path:
        return chance.choice(HOSTILE)
    *above, last = path
    holder = values
    for key in above:
        holder = holder[key]
    kind = chance.random()
    if kind < 0.2:
        del holder[last]
    elif kind < 0.3 and isinstance(holder, dict):
        holder["added"] = chance.choice(HOSTILE)
    elif kind < 0.4:
        deep: object = 1
        for _ in range(chance.choice([50, 500])):
            deep = [deep]
        holder[last] = deep
    else:
        holder[last] = chance.choice(HOSTILE)
    return values


def reseal_json(data: bytes, change: Callable[[object], object]) -> bytes:
    values = json.loads(data)
    sealed = isinstance(values, dict) and seals.SEAL in values
    plain = {name: value for name, value in values.items() if name != seals.SEAL} if sealed else values
    plain = change(plain)
    return json.dumps(seals.sealed_json(plain) if sealed and isinstance(plain, dict) else plain).encode()


def reseal_tensors(data: bytes, chance: random.Random) -> bytes:
    """A safetensors file with something else in its header, or in the JSON within it, and a right checksum."""
    if data.startswith(COMPRESSED):
        changed = reseal_tensors(zlib.decompress(data[len(COMPRESSED) :]), chance)
        return COMPRESSED + zlib.compress(changed)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.get("__metadata__", {})
    inner = [name for name, value in metadata.items() if value[:1] in "[{"]
    if inner and chance.random() < 0.7:
        name = chance.choice(inner)
        metadata[name] = json.dumps(replace_part(json.loads(metadata[name]), chance))
    else:
        header = replace_part(header, chance)
    text = json.dumps(header).encode()
    changed = len(text).to_bytes(8, "little") + text + data[8 + length :]
    try:
        return seals.sealed(changed)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return changed


def target(case: Case, folder: Path, chance: random.Random) -> Path:
    path = folder / case.path
    return chance.choice(sorted(path.glob("*/manifest.json"))) if path.is_dir() else path


def outcome(case: Case, folder: Path) -> str:
    """ "read", "refused" in one sentence, or the traceback."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            case.read(folder)
        except UserError as error:
            return "refused" if "\n" not in str(error) and len(str(error)) < 3000 else f"no sentence: {error}"[:500]
        except BaseException:
            return traceback.format_exc()
    return "read"


def listing(folder: Path) -> dict[str, int]:
    passing = ("cache", "made", "lock", "search.json")
    paths = [path for path in folder.rglob("*") if not set(path.relative_to(folder).parts) & set(passing)]
    return {str(path): path.stat().st_size for path in paths if path.is_file()}


def read_apart(case: Case, folder: Path) -> tuple[str, float, float]:
    """The outcome in a process of its own, the seconds, and the megabytes that it took at most."""
    receiving, sending = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(receiving)
        signal.alarm(SECONDS)
        told = outcome(case, folder)
        os.write(sending, told.encode(errors="replace")[-20_000:])
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as file:
        told = file.read().decode()
    _, status, used = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        told = "hang" if os.WTERMSIG(status) == signal.SIGALRM else f"killed by signal {os.WTERMSIG(status)}"
    return told, time.monotonic() - started, used.ru_maxrss / 1024


def attack(files: int, seed: int, corpus: Path, minutes: float = 600) -> list[tuple[str, str]]:
    """Damage files and read each; prints a table by reader and returns what was wrong."""
    chance, wrong = random.Random(seed), []
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    most: dict[str, float] = collections.defaultdict(float)
    scratch = corpus.parent / "damaged"
    shutil.copytree(corpus, scratch)
    whole = {}
    for name, case in CASES.items():
        told, _, megabytes = read_apart(case, scratch)
        assert told == "read", (name, told)
        whole[name] = megabytes
    ending = time.monotonic() + minutes * 60
    for number in range(files):
        if time.monotonic() > ending:
            break
        name = list(CASES)[number % len(CASES)]
        path = target(CASES[name], scratch, chance)
        data = path.read_bytes()
        path.write_bytes(damaged(data, path.name, chance))
        before = listing(scratch)
        told, _, megabytes = read_apart(CASES[name], scratch)
        if told in ("read", "refused") and listing(scratch) != before:
            told = "wrote: " + ", ".join(sorted(set(listing(scratch)) ^ set(before)))
        if megabytes - whole[name] > MEGABYTES:
            told = f"{megabytes - whole[name]:.0f} MB more"
        if told not in ("read", "refused"):
            wrong.append((name, told))
            (corpus.parent / f"wrong-{number}").write_bytes(path.read_bytes())
        counts[name][told if told in ("read", "refused") else "wrong"] += 1
        most[name] = max(most[name], megabytes - whole[name])
        path.write_bytes(data)
    print(f"{'reader':32} {'read':>5} {'refused':>8} {'wrong':>6} {'most MB more':>13}")
    for name, count in counts.items():
        print(f"{name:32} {count['read']:5} {count['refused']:8} {count['wrong']:6} {most[name]:13.0f}")
    total = sum(counts.values(), collections.Counter())
    print(f"{'all':32} {total['read']:5} {total['refused']:8} {total['wrong']:6} {max(most.values()):13.0f}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600, help="Stop after so many, with what was done.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    wrong = attack(asked.files, asked.seed, make(folder / "corpus"), asked.minutes)
    for name, told in wrong:
        print(f"\n=== {name}\n{told}")
    print(folder)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
