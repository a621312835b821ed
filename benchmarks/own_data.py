"""`sparsernn train` on public data sets, each written out as a CSV file, with no option but its columns.

For each it runs the command as a user would and keeps what it reports: the baseline, the dense network and its sparse
twin on the test rows that the command held back itself, with the time from start to end. The figures of one data set
are one result file, in which every figure is given by network. The data files are found as the tasks find them.

    python benchmarks/own_data.py [NAME ...] [--data FOLDER] [--out FOLDER] [--results results] [--seeds 0,1]
    python benchmarks/own_data.py [NAME ...] --collect --out FOLDER    read finished runs once more

`million` is no data set of the table: a million rows with the articles' sentences in random order, for time and memory.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparsernn.data import etth1
from sparsernn.data.activity_recognition import ARCHIVE, SENSORS, ActivityRecognition
from sparsernn.data.ag_news import AgNews
from sparsernn.data.amazon import DOMAINS, Amazon
from sparsernn.data.amazon_blitzer import AmazonBlitzer
from sparsernn.data.etth1 import Etth1
from sparsernn.data.files import find_file, members, open_text
from sparsernn.data.imdb import Imdb
from sparsernn.data.mr import MovieReviews
from sparsernn.data.sanders_twitter import SandersTwitter
from sparsernn.data.sentiment_sentences import SentimentSentences
from sparsernn.data.spoken_digits import SpokenDigits
from sparsernn.data.sst2 import Sst2
from sparsernn.data.text_classification import TextClassification
from sparsernn.data.yelp_sentences import YelpSentences
from sparsernn.experiments import results
from sparsernn.own_data.verdict import VERDICT

TEXT = "--text text --label label"
ROWS, SENTENCES, POOLS = 1_000_000, 5, 20
IN_SIGHT = ("activity_recognition", "etth1", "sst2")
"""With whose test figures in sight the learning rates and the teacher's share of the command were chosen."""
NETWORKS = ("baseline", "dense", "sparse")
FIGURES = ("accuracy", "mse", "mae", "sparsity", "weights_kept", "bytes")

Rows = Iterator[Sequence[object]]


class DataSet(NamedTuple):
    """How a data set becomes a table, its header first, and what tells `sparsernn train` about its columns."""

    rows: Callable[[Path | None], Rows]
    options: str


def texts(task: TextClassification, *left_out: str) -> DataSet:
    """All documents of a task, but for the parts left out, with the names of their classes."""

    def rows(folder: Path | None) -> Rows:
        names = task.label_names()
        yield "text", "label"
        for document in task.documents(folder):
            if document.part not in left_out:
                yield document.text, names[document.label]

    return DataSet(rows, TEXT)


def recordings(folder: Path | None) -> Rows:
    """A row a sample of the phones' sensors."""
    yield "recording", "timestamp", *SENSORS, "label"
    for name, content in sorted(members(find_file(ActivityRecognition(), ARCHIVE, folder), "_sp.csv")):
        for record in csv.DictReader(content.decode().splitlines()):
            yield Path(name).stem, *(record[column] for column in ("timestamp", *SENSORS, "label"))


def transformer(folder: Path | None) -> Rows:
    """The file as it is."""
    with open_text(find_file(Etth1(), etth1.FILE, folder)) as file:
        yield from csv.reader(file)


def frames(folder: Path | None) -> Rows:
    """A row a log-mel frame of a spoken digit."""
    task = SpokenDigits()
    split = task.load(folder).train
    yield "recording", "frame", *(f"mel{band}" for band in range(task.bands)), "digit"
    for recording, (start, end) in enumerate(itertools.pairwise(split.offsets)):
        for frame, values in enumerate(split.values[start:end]):
            yield recording, frame, *(f"{value:.4f}" for value in values), int(split.targets[recording])


def million(folder: Path | None) -> Rows:
    """A million long texts: sentences of articles of one topic, drawn at random.

    Every article belongs to one of twenty pools and a text draws from one pool alone; `pool` keeps its texts in one
    part, so no article is read in training and in the test.
    """
    task, chance = AgNews(train="subset"), random.Random(0)
    articles: dict[str, list[list[str]]] = {}
    for number, document in enumerate(task.documents(folder)):
        pools = articles.setdefault(task.label_names()[document.label], [[] for _ in range(POOLS)])
        pools[number % POOLS].append(document.text)
    yield "text", "label", "pool"
    for label in chance.choices(list(articles), k=ROWS):
        pool = chance.randrange(POOLS)
        text = " ".join(chance.choices(articles[label][pool], k=SENTENCES))
        yield text[: chance.randrange(200, 900)], label, pool


DATA_SETS = {
    "mr": texts(MovieReviews()),
    "sst2": texts(Sst2()),
    "sanders": texts(SandersTwitter()),
    "ag_news_subset": texts(AgNews(train="subset"), "test"),
    "sentiment_sentences": texts(SentimentSentences()),
    **{f"amazon_{domain}": texts(Amazon(domain=domain)) for domain in DOMAINS},
    "amazon_blitzer": texts(AmazonBlitzer(domain="pooled")),
    "yelp_sentences": texts(YelpSentences(), "test"),
    "imdb": texts(Imdb(), "test"),
    "activity_recognition": DataSet(
        recordings, f"--id recording --time timestamp --series {','.join(SENSORS)} --label label"
    ),
    "etth1": DataSet(
        transformer, f"--time date --series {','.join(etth1.COLUMNS)} --forecast OT --horizon 24",
    ),
    "spoken_digits": DataSet(
        frames, f"--id recording --time frame --series {','.join(f'mel{band}' for band in range(40))} --label digit"
    ),
}  # fmt: skip
MORE = {"million": DataSet(million, f"{TEXT} --groups pool")}


def write(rows: Iterable[Sequence[object]], path: Path) -> None:
    """A CSV file, whole or not at all."""
    aside = path.with_suffix(".part")
    with aside.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    aside.replace(path)


def stem(name: str, seed: int) -> str:
    """What the run of a data set with a seed is called."""
    return f"{name}-seed{seed}" if seed else name


def run(name: str, data: DataSet, folder: Path, more: Sequence[str], seed: int = 0) -> None:
    """Run the command in `folder`, which holds the CSV file, and write down its time and its largest memory."""
    seeded = ["--seed", str(seed)] if seed else []
    words = ["train", f"{name}.csv", *shlex.split(data.options), *seeded, *more, "--out", stem(name, seed)]
    name = stem(name, seed)
    started = time.perf_counter()
    with (folder / f"{name}.log").open("w") as log:
        child = subprocess.Popen([sys.executable, "-m", "sparsernn", *words], cwd=folder, stdout=log, stderr=log)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit((folder / f"{name}.log").read_text())
    measured = {
        "command": shlex.join(["sparsernn", *words[:-2]]),
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    (folder / f"{name}.json").write_text(json.dumps(measured))


def collect(name: str, folder: Path, seed: int = 0) -> dict[str, Any]:
    """The result of a finished run: every figure by network."""
    called = stem(name, seed)
    measured = json.loads((folder / f"{called}.json").read_text())
    runs = {network: folder / called / f"{network}-seed{seed}" for network in NETWORKS}
    by_network = {network: results.read(run / results.RESULT) for network, run in runs.items()}
    metrics: dict[str, Any] = {
        network: {figure: one["metrics"][figure] for figure in FIGURES if figure in one["metrics"]}
        for network, one in by_network.items()
    }
    for network, one in metrics.items():
        if "mse" in one:
            one["rmse"] = math.sqrt(one.pop("mse"))
        history = runs[network] / "metrics.jsonl"
        one |= {"epochs": len(history.read_text().splitlines())} if history.is_file() else {}
    metrics["baseline"]["name"] = by_network["baseline"]["row"]
    metrics |= {key: measured[key] for key in ("processor_seconds", "peak_bytes")}
    verdict = json.loads((folder / called / VERDICT).read_text())
    metrics["verdict"] = {key: verdict[key] for key in ("figures", "bytes", "microseconds", "test_rows", "saved")}
    sparse = by_network["sparse"]
    in_sight = "yes: learning rates and the teacher's share (LOG.md)" if name in IN_SIGHT else "no"
    return {
        **sparse,
        "row": name,
        "provenance": {**sparse.get("provenance", {}), "test_in_sight": in_sight},
        "metrics": metrics,
        "command": measured["command"],
        "seconds": measured["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = {**DATA_SETS, **MORE}
    parser.add_argument("names", nargs="*", help=f"data sets; default: {', '.join(DATA_SETS)}; also: {', '.join(MORE)}")
    parser.add_argument("--data", type=Path, help="folder of the data files; default: SPARSERNN_DATA, or data")
    parser.add_argument("--out", type=Path, default=Path("runs/own_data_benchmark"), help="for CSV files and runs")
    parser.add_argument("--results", type=Path, help="write the figures into this folder too")
    parser.add_argument("--collect", action="store_true", help="train nothing; read what --out holds")
    parser.add_argument("--seeds", default="0", help="of splits and weights, such as 0,1")
    parser.add_argument("--epochs", help="handed on to `sparsernn train`")
    arguments = parser.parse_args()
    wrong = sorted(set(arguments.names) - set(known))
    if wrong:
        parser.error(f"unknown: {', '.join(wrong)}; the data sets are {', '.join(known)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    for name, seed in itertools.product(arguments.names or DATA_SETS, seeds):
        if not arguments.collect:
            if not (arguments.out / f"{name}.csv").exists():
                write(known[name].rows(arguments.data), arguments.out / f"{name}.csv")
            run(name, known[name], arguments.out, ["--epochs", arguments.epochs] if arguments.epochs else [], seed)
        result = collect(name, arguments.out, seed)
        print(name, seed, json.dumps(result["metrics"]), f"{result['seconds']:.0f} s", flush=True)
        if arguments.results:
            results.write(arguments.results / "own_data" / f"{name}-seed{result['seed']}.json", result)


if __name__ == "__main__":
    main()
