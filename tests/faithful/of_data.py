"""Faults of data: copies of test rows in training, and what was learned of rows that are not for training."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import random
import sys
import tempfile
from pathlib import Path

from sparsernn.data.sanders_twitter import SandersTwitter
from tests.faithful.faults import Outcome, fault
from tests.faithful.of_recipes import CHECKOUT


def tweets(folder: Path) -> None:
    """Two hundred tweets, each of which comes again with another address."""
    chance, words = random.Random(0), [f"word{number}" for number in range(400)]
    path = folder / "sanders_twitter" / "full-corpus.csv.gz"
    path.parent.mkdir()
    with gzip.open(path, "wt", encoding="utf8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Topic", "Sentiment", "TweetId", "TweetDate", "TweetText"])
        for number in range(200):
            text = " ".join(chance.choices(words, k=9))
            for copy in range(2):
                label = ("negative", "positive")[number % 2]
                writer.writerow(["apple", label, 2 * number + copy, "", f"{text} http://t.co/{copy}"])


@fault
def copies_of_test_tweets_in_training() -> Outcome:
    """Near copies of test tweets can be kept out of training."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tweets(folder)
        options = {"classes": "two", "verify": False}
        try:
            task = SandersTwitter(near_duplicates="drop", **options)
        except TypeError:
            task = SandersTwitter(**{name: value for name, value in options.items() if name != "verify"})
            task = without_checksums(task)
        loaded = task.load(folder)
    pairs = {row // 2 for row in loaded.train.rows.tolist()} & {row // 2 for row in loaded.test.rows.tolist()}
    return Outcome("0 test tweets with a copy", f"{len(pairs)} of {len(loaded.test)}", not pairs)


def without_checksums(task: SandersTwitter) -> SandersTwitter:
    """A task of 0.1, whose files are checked always, with made ones."""
    type(task).files = dict.fromkeys(type(task).files, "")
    return task


@fault
def articles_of_the_million_texts() -> Outcome:
    """The benchmark's texts of one article are in one part, which the column of pools sees to."""
    spec = importlib.util.spec_from_file_location("benchmark_own_data", CHECKOUT / "benchmarks" / "own_data.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    documents = importlib.import_module("sparsernn.data.text_classification").Document
    made = [documents("", number // 20 % 4, f"article{number}.") for number in range(400)]
    before = module.AgNews.documents
    module.AgNews.documents, module.ROWS = (lambda self, folder: iter(made)), 4000
    try:
        header, *table = module.million(None)
    finally:
        module.AgNews.documents = before
    pool = header.index("pool") if "pool" in header else None
    parts: dict[str, set] = {}
    for number, row in enumerate(table):
        part = number % 5 if pool is None else (row[1], row[pool])
        for article in row[0].split(" "):
            if article.endswith("."):
                parts.setdefault(article, set()).add(part)
    shared = sum(len(where) > 1 for where in parts.values())
    return Outcome("0 articles in two parts", f"{shared} of {len(parts)}", not shared)
