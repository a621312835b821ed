"""Texts with a label."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeGuard

import numpy as np
import torch

from sparsernn import runtime
from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.grams import GramEncoder
from sparsernn.data.text import WordEncoder
from sparsernn.experiments.compacted import read_final
from sparsernn.experiments.network import build, describe
from sparsernn.experiments.rows import Row, Source
from sparsernn.experiments.sources.chosen_words import ChosenWords
from sparsernn.experiments.sources.latent_vectors import LatentVectors
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.method import Method
from sparsernn.own_data.fused import Parts, fuse, linear_alone, network_alone
from sparsernn.own_data.kinds.kind import BATCH, NETWORK, Choice, File, Kind, Wishes, majority, targets_of
from sparsernn.own_data.kinds.series import lasting
from sparsernn.own_data.pruned_linear import Texts
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.own_data.verdict import Answers
from sparsernn.runtime.grams import GramNetwork
from sparsernn.training.settings import Settings

MOST_TEXTS = 100_000
STRENGTHS = (1.0, 4.0, 16.0)
DENSE_INPUTS = 64
MANY = 10_000  # texts that train, from which on more words and n-grams are kept
WORDS, GRAMS, FREQUENT = (3_000, 6_000), (20_000, 40_000), 300
GRAMS_A_TEXT = 4  # of few texts
SMALL_WORDS = 1.8  # of the small dense network for one of the sparse, whose file holds n-grams as well
MOST_READ = 100  # words that the network reads at once
MOST_VALIDATED = 20_000
AUTOMATA = "rational"  # are read by `explain`, which says where each matches best
LINEAR = "a pruned linear classifier of n-grams"
ENOUGH = "Use the linear model: it is enough for this file, a network beside it adds nothing sure and is left out."


class Text(Kind):
    """TF-IDF with logistic regression; a pruned linear part, and a network that reads few words both ways."""

    about = "TF-IDF and logistic regression"
    choice = Choice(
        "classifier",
        32,
        32,
        1_800,
        {
            "inputs": 16,
            "bidirectional": True,
            "pool": "mean_max_last",
            "dropout": 0.5,
            "embedding_dropout": 0.1,
        },
    )

    def settings(self, file: File, epochs: int) -> Settings:
        size = self.batch_size(file)
        return lasting(file, self.choice.steps, epochs, keep="last", batch_size=size, weight_decay=0.0, warm_up=0.06)

    def sources(self, file: File) -> tuple[Source, ...]:
        return (LatentVectors(),)

    def rows(self, file: File, wishes: Wishes) -> list[Row]:
        """A dense network of all words, a small one of the most frequent, and a sparse one of those that tell most."""
        rows = super().rows(file, wishes)
        if wishes.cell == AUTOMATA:
            rows = [dataclasses.replace(row, options={**row.options, "pool": "max"}) for row in rows]
        dense, small, sparse = rows
        dense = dataclasses.replace(dense, options={**dense.options, "inputs": DENSE_INPUTS})
        count = round(SMALL_WORDS * size_of(file, WORDS))
        small = self.of_words(small, ChosenWords(count, count))
        if not plain(wishes.method):
            return [dense, small, sparse]
        count = size_of(file, WORDS)
        if wishes.sparsity is not None:
            count = self.words_at(file, dense, sparse, wishes.sparsity)
        return [dense, small, self.of_words(sparse, ChosenWords(count, min(FREQUENT, count)))]

    def of_words(self, row: Row, words: ChosenWords) -> Row:
        """A row with vectors of some words only."""
        measure = dataclasses.replace(row.measure, compact=True)
        return dataclasses.replace(row, method=None, sources=(*row.sources, words), measure=measure)

    def words_at(self, file: File, dense: Row, sparse: Row, sparsity: float) -> int:
        """How many words the sparse network may keep, if of all numbers of the dense one such a fraction is to go."""
        numbers = [numbers_of(row, file) for row in (dense, sparse)]
        width = int(str(sparse.options["inputs"]))
        rest = numbers[1] - file.loaded.inputs * width
        return max(1, min(file.loaded.inputs, round(((1 - sparsity) * numbers[0] - rest) / width)))

    def baselines(self, file: File) -> list[Scored]:
        return [majority(file), tfidf(file, self.about)]

    def answers(self, file: File) -> Answers:
        return Answers("accuracy", targets_of(file.loaded.test), file.loaded.labels)

    def finish(self, file: File, folders: dict[str, Path], out: Path) -> list[Scored]:
        """The trained networks, the pruned linear part alone, and both in the file that is left."""
        encoder = gram_encoder(file.preparation.tokenizer)
        if encoder is None:
            return super().finish(file, folders, out)
        parts, tests = read_texts(file, encoder)
        words, labels, length = file.loaded.vocabulary, file.loaded.labels, min(file.preparation.length, MOST_READ)
        network = read_final(folders["sparse"]).eval()
        fused = fuse(network, words, encoder, parts, labels, kept=size_of(file, GRAMS), length=length)
        fused.save(out / NETWORK, file.preparation, encoder)
        about = LINEAR if fused.network is None else "the sparse network with a pruned linear part"
        saved = answered("sparse", about, out / NETWORK, encoder, tests)
        if fused.network is None:
            saved = dataclasses.replace(saved, conclusion=ENOUGH)
        small = network_alone(read_final(folders["small_dense"]).eval(), words, encoder, labels, length)
        others = {
            "small_dense": ("the small dense network", small),
            "linear": (LINEAR, linear_alone(fused, parts.valid)),
        }
        scored = [self.trained(file, "dense", folders["dense"])]
        with TemporaryDirectory() as folder:
            path = Path(folder) / NETWORK
            for name, (about, one) in others.items():
                one.save(path, file.preparation, encoder)
                scored.append(answered(name, about, path, encoder, tests))
        return [*scored, saved]


def read_texts(file: File, encoder: GramEncoder) -> tuple[Parts, list[str]]:
    """The texts that train and validate, encoded, and those of the test rows."""
    thinned = [spread(file.parts[name], most) for name, most in (("train", MOST_TEXTS), ("valid", MOST_VALIDATED))]
    train, valid, test = texts_of(file, [*thinned, file.parts["test"]])
    encoded = [Texts(encoder.ids(texts), np.array(targets, np.int64)) for texts, targets in (train, valid)]
    return Parts(*encoded), test[0]


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """So many of the rows at most, evenly spread."""
    return rows[:: -(-len(rows) // most)]


def answered(name: str, about: str, path: Path, encoder: GramEncoder, texts: Sequence[str]) -> Scored:
    """What a file answers for texts, and its time for one of them alone."""
    model = runtime.load_any(path)
    if not isinstance(model, GramNetwork):
        raise TypeError(type(model).__name__)

    def answer(some: Sequence[str]) -> np.ndarray:
        scores = model.scores(encoder.ids(list(some))).astype(np.float64)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    outputs = np.concatenate([answer(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])
    return Scored(name, about, outputs, path.stat().st_size, microseconds(lambda: answer(texts[:1])))


def gram_encoder(tokenizer: str) -> GramEncoder | None:
    """The n-grams of words as a tokenizer splits them; None of byte pairs, which need their table of strings."""
    encoder = encoder_from_json(tokenizer)
    return GramEncoder(encoder.cleaning) if isinstance(encoder, WordEncoder) else None


def size_of(file: File, sizes: tuple[int, int]) -> int:
    """The first for few texts, and less for very few; the second for many."""
    texts = len(file.loaded.train)
    few, many = sizes
    return many if texts >= MANY else min(few, max(100, few * GRAMS_A_TEXT * texts // GRAMS[0]))


def plain(method: Method) -> TypeGuard[Magnitude]:
    """Whether a method says no more than how sparse the network is to be."""
    return isinstance(method, Magnitude) and method == Magnitude(method.sparsity)


def numbers_of(row: Row, file: File) -> int:
    """How many numbers a row's network has."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in build(row, describe(file.loaded)).parameters())


def tfidf(file: File, about: str) -> Scored:
    """TF-IDF of words and word pairs with logistic regression (scikit-learn) on whole texts, tuned on validation."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    parts = file.parts
    rows = [spread(parts[name], MOST_TEXTS) for name in ("train", "valid")]
    train, valid, test = texts_of(file, [*rows, parts["test"]])
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    matrix, read = vectors.fit_transform(train[0]), vectors.transform(valid[0])
    right = valid[1]
    models = [LogisticRegression(C=strength, max_iter=300).fit(matrix, train[1]) for strength in STRENGTHS]
    best = max(models, key=lambda model: model.score(read, right))
    model = make_pipeline(vectors, best)
    outputs = np.zeros((len(test[0]), file.loaded.outputs))
    outputs[:, best.classes_] = model.predict_proba(test[0])
    us = microseconds(lambda: model.predict_proba(test[0][:1]))
    return Scored("baseline", about, outputs, len(pickle.dumps(model)), us, float(best.score(read, right)))


def texts_of(file: File, parts: list[np.ndarray]) -> list[tuple[list[str], list[float]]]:
    """Texts and targets of each part, in its order, in one pass over the file."""
    part_of_row = np.full(1 + max(int(rows.max()) for rows in parts), -1, np.int8)
    for number, rows in enumerate(parts):
        part_of_row[rows] = number
    read: list[tuple[list[str], list[float]]] = [([], []) for _ in parts]
    for number, (text, label) in zip(part_of_row, file.task.labelled_texts(file.preparation), strict=False):
        if number >= 0:
            read[number][0].append(text)
            read[number][1].append(label)
    places = [np.argsort(np.argsort(rows)) for rows in parts]
    return [
        ([texts[place] for place in order], [labels[place] for place in order])
        for (texts, labels), order in zip(read, places, strict=True)
    ]


KIND = Text()
