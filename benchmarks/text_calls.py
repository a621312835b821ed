"""One text alone: a network's file against TF-IDF of words and pairs with logistic regression, text by text in turns.

sparsernn train reviews.csv --text text --label label --out run
python benchmarks/text_calls.py run/network.sparsernn reviews.csv --text text --label label [--texts 400]
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sparsernn import runtime
from sparsernn.data.encoders import encoder_from_json
from sparsernn.runtime.grams import GramNetwork

ROUNDS, LEARNED = 5, 4000


def least(call: Callable[[], object]) -> float:
    """Microseconds of the quickest of a few calls."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e6 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--texts", type=int, default=400)
    options = parser.parse_args()
    with options.file.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    learned = rows[:: max(1, len(rows) // LEARNED)]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=300))
    model.fit([row[options.text] for row in learned], [row[options.label] for row in learned])
    network = runtime.load_any(options.network)
    if not isinstance(network, GramNetwork):
        raise SystemExit(f"{options.network} is no network of texts and n-grams")
    encoder = encoder_from_json(json.loads(network.preparation)["tokenizer"])
    texts = [row[options.text] for row in rows[:: max(1, len(rows) // options.texts)]]
    ours = [least(lambda text=text: network.scores(encoder.ids([text]))) for text in texts]
    theirs = [least(lambda text=text: model.predict_proba([text])) for text in texts]
    print(json.dumps({
        "texts": len(texts),
        "characters": round(statistics.fmean(map(len, texts))),
        "us": round(statistics.fmean(ours), 1),
        "scikit_learn_us": round(statistics.fmean(theirs), 1),
        "times_faster": round(statistics.fmean(theirs) / statistics.fmean(ours), 2),
        "times_faster_median": round(statistics.median(theirs) / statistics.median(ours), 2),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
