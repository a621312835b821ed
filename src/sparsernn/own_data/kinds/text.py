"""Texts with a label."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import numpy as np
import torch

from sparsernn import runtime
from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.grams import GramEncoder
from sparsernn.data.task import Batch
from sparsernn.data.text import WITHOUT_BLANKS, WordEncoder, encode
from sparsernn.experiments.network import build, describe, skeletons
from sparsernn.experiments.rows import Row, Source
from sparsernn.experiments.sources.chosen_words import ChosenWords
from sparsernn.experiments.sources.latent_vectors import LatentVectors
from sparsernn.experiments.trained import read_final
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.method import Method
from sparsernn.own_data import sizing
from sparsernn.own_data.features import shares_of
from sparsernn.own_data.fused import Fused, Room, fuse, fuse_within, linear_alone, network_alone, without_vectors
from sparsernn.own_data.kinds.kind import (
    BATCH,
    KEPT,
    NETWORK,
    Choice,
    File,
    Kind,
    Try,
    Wishes,
    majority,
    targets_of,
)
from sparsernn.own_data.kinds.series import lasting
from sparsernn.own_data.pruned_linear import Parts, Texts
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.own_data.text_targets import Classes, Learned
from sparsernn.own_data.verdict import Answers
from sparsernn.runtime.grams import GramNetwork, Grams
from sparsernn.training.settings import Settings

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

MOST_TEXTS = 100_000
STRENGTHS = (1.0, 4.0, 16.0)
DENSE_INPUTS = 64
MANY = 10_000  # texts that train, from which on more words and n-grams are kept
WORDS, GRAMS, FREQUENT = (3_000, 6_000), (20_000, 40_000), 300
GRAMS_A_TEXT = 4  # of few texts
USUAL_BYTES, TRIMS = (100_000, 110_000, 200_000), 4  # of two classes or numbers, of more classes, of many texts
SMALL_WORDS = 1.8  # of the small dense network for one of the sparse, whose file holds n-grams as well
MOST_READ = 100  # words that the network reads at once
MOST_VALIDATED = 20_000
SCALE, SCALES, WORDS_ALONE = 0.8, 24, 0.25  # in which the network is made smaller; below the last, its units go too
OF_A_WORD, OF_A_GRAM = 3, 4  # bytes of a hash and of what is known of a word; of an n-gram, at most
AUTOMATA = "rational"  # are read by `explain`, which says where each matches best
LOOKED_AT, LACKING = 1_000, 0.2  # texts, and the share of them without words from which on signs are words
UNBROKEN = re.compile(f"[{WITHOUT_BLANKS}]{{3}}").search
EVERY_SIGN = rf"[{WITHOUT_BLANKS}]|(?:(?![{WITHOUT_BLANKS}])\w)+|[^\w\s]"
ENOUGH = "Use the linear model: it is enough for this file, a network beside it adds nothing sure and is left out."


class Beside(NamedTuple):
    """What the texts of a file are to its n-grams. tests: the test texts as they are."""

    encoder: GramEncoder
    parts: Parts
    tests: list[str]


class Text(Kind):
    """TF-IDF with logistic regression; a pruned linear part, and a network that reads few words both ways."""

    about = "TF-IDF and logistic regression"
    linear = "a pruned linear classifier of n-grams"
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
            rows = [replace(row, options={**row.options, "pool": "max"}) for row in rows]
        dense, small, sparse = rows
        dense = replace(dense, options={**dense.options, "inputs": DENSE_INPUTS})
        count = max(1, round(SMALL_WORDS * wishes.scale * size_of(file, WORDS)))
        small = self.of_words(small, ChosenWords(count, count))
        if not plain(wishes.method):
            return [dense, small, sparse]
        count = max(1, round(wishes.scale * size_of(file, WORDS)))
        if wishes.sparsity is not None:
            count = self.words_at(file, dense, sparse, wishes.sparsity)
        return [dense, small, self.of_words(sparse, ChosenWords(count, min(FREQUENT, count)))]

    def units_at(self, units: int, scale: float) -> int:
        """Words go first."""
        return units if scale >= WORDS_ALONE else max(1, round(units * scale / WORDS_ALONE))

    def stores_words(self, file: File) -> bool:
        return gram_encoder(file.preparation.tokenizer) is None

    def smaller(self, file: File, wishes: Wishes) -> list[Wishes]:
        if not plain(wishes.method) or wishes.sparsity is not None:
            return [wishes]
        return [replace(wishes, scale=wishes.scale * SCALE**number) for number in range(SCALES)]

    def fitted(self, file: File, wishes: Wishes, seed: int) -> Wishes:
        """Half of the room is for the network, or what all n-grams leave; the linear part has the rest, or all.

        Raises: TooLarge if not even the linear part fits, or not the network whose units and sparsity were asked for.
        """
        encoder = gram_encoder(file.preparation.tokenizer)
        if encoder is None or not file.most:
            return super().fitted(file, wishes, seed)
        learned = self.learned(file)
        weights = np.ones((1 if len(learned.labels) == 2 else len(learned.labels), 1), np.float32)
        one = np.zeros(1, np.int64), weights, weights[:, 0], np.zeros(1, bool), np.zeros((0, 0), np.float32)
        least = sizing.allowed_for(Fused(Grams(*one, 1, learned.labels)).size(file.preparation, encoder))
        if least > file.most:
            raise sizing.TooLarge(file.most, least)
        options, grams = self.smaller(file, wishes), OF_A_GRAM * size_of(file, GRAMS)
        try:
            return sizing.largest(
                options, lambda one: self.size(file, one, seed), max(file.most // 2, file.most - grams)
            )
        except sizing.TooLarge as error:
            if wishes.units and wishes.sparsity is not None:
                raise sizing.TooLarge(file.most, min(2 * error.least, error.least + grams)) from error
            return options[-1]  # which the linear part can do without

    def size(self, file: File, wishes: Wishes, seed: int) -> int:
        """About what the network adds to the file: a byte for each number of its layers and of its words."""
        row = self.rows(file, wishes)[-1]
        width, words = int(str(row.options["inputs"])), file.loaded.inputs
        kept = [source.count for source in row.sources if isinstance(source, ChosenWords)]
        return numbers_of(row, file) - words * width + min([words, *kept]) * (width + OF_A_WORD)

    def tries(self, file: File, wishes: Wishes) -> list[Try]:
        """Fewer and fewer words and n-grams, where these are what makes the network sparse."""
        if not plain(wishes.method):
            return super().tries(file, wishes)
        numbers = numbers_of(self.rows(file, wishes)[0], file)
        tries = [replace(wishes, scale=wishes.scale * part) for part in KEPT]
        sizes = [self.size(file, one, 0) for one in tries]
        return [Try(1 - size / numbers, one, one.scale) for one, size in zip(tries, sizes, strict=True)]

    def learned(self, file: File) -> Learned:
        """What is learned of each text."""
        return Classes(tuple(file.loaded.labels))

    def learned_targets(self, file: File, targets: Sequence[float]) -> np.ndarray:
        """The targets of texts as they are learned."""
        return np.array(targets, np.int64)

    def of_scores(self, file: File, scores: np.ndarray) -> np.ndarray:
        """Answers as `Scored` has them. Shapes: [text output] -> [text class]."""
        return shares_of(scores)

    def of_words(self, row: Row, words: ChosenWords) -> Row:
        """A row with vectors of some words only."""
        measure = replace(row.measure, compact=True)
        return replace(row, method=None, sources=(*row.sources, words), measure=measure)

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
        beside = self.beside(file)
        if beside is None:
            return super().finish(file, folders, out)
        fused = self.fused(file, folders["sparse"], beside)
        alone = linear_alone(fused, beside.parts)
        others = [self.answered(file, name, folders[name], out, beside) for name in ("dense", "small_dense")]
        linear = self.written(file, "linear", self.linear, alone, out, beside)
        return [*others, linear, self.saved(file, fused, out, beside)]

    def beside(self, file: File) -> Beside | None:
        encoder = gram_encoder(file.preparation.tokenizer)
        if encoder is None:
            return None
        thinned = [spread(file.parts[name], most) for name, most in (("train", MOST_TEXTS), ("valid", MOST_VALIDATED))]
        train, valid, test = texts_of(file, [*thinned, file.parts["test"]])
        first, second = (Texts(encoder.ids(one[0]), self.learned_targets(file, one[1])) for one in (train, valid))
        return Beside(encoder, Parts(first, second, self.learned(file)), test[0])

    def answered(self, file: File, name: str, folder: Path, out: Path, beside: Beside | None) -> Scored:
        if name == "dense" or beside is None:
            return super().answered(file, name, folder, out, beside)
        if name == "sparse":
            return self.saved(file, self.fused(file, folder, beside), out, beside)
        words, length = file.loaded.vocabulary, min(file.preparation.length, MOST_READ)
        network, labels = read_final(folder).eval(), beside.parts.learned.labels
        small = network_alone(network, words, beside.encoder, labels, length)
        return self.written(file, name, "the small dense network", small, out, beside)

    def fused(self, file: File, folder: Path, beside: Beside) -> Fused:
        """The sparse network with the linear part, or the linear part alone."""
        network = read_final(folder).eval()
        what = network, file.loaded.vocabulary, beside.encoder, beside.parts
        kept, length = max(1, round(file.share * size_of(file, GRAMS))), min(file.preparation.length, MOST_READ)
        room = Room(lambda one: one.size(file.preparation, beside.encoder), file.most or self.usual_bytes(file))
        if file.most:
            return fuse_within(*what, kept=kept, length=length, room=room)
        for _ in range(TRIMS):
            made = fuse(*what, kept=kept, length=length)
            over = room.size(made) - room.most
            if over <= 0:
                break
            # Words that the network reads stay among the n-grams, so that more have to go than bytes.
            kept -= math.ceil(kept * (1.5 * over / room.size(Fused(without_vectors(made.grams))) + 0.02))
        return made

    def usual_bytes(self, file: File) -> int:
        """What the one file takes at most where nothing is said: n-grams of hardly any weight go before it grows."""
        if size_of(file, GRAMS) == GRAMS[1]:
            return USUAL_BYTES[2]
        return USUAL_BYTES[len(self.learned(file).labels) > 2]

    def saved(self, file: File, fused: Fused, out: Path, beside: Beside) -> Scored:
        """What both parts answer in the file that is left."""
        about = self.linear if fused.network is None else "the sparse network with a pruned linear part"
        saved = self.written(file, "sparse", about, fused, out, beside)
        return replace(saved, conclusion=ENOUGH) if fused.network is None else saved

    def written(self, file: File, name: str, about: str, fused: Fused, out: Path, beside: Beside) -> Scored:
        """What a file answers for texts, and its time for one of them alone; only that of "sparse" stays."""
        path = out / (NETWORK if name == "sparse" else f"compared-{NETWORK}")  # what a kill leaves, the next one takes
        fused.save(path, file.preparation, beside.encoder)
        model, size = runtime.load_any(path), path.stat().st_size
        if name != "sparse":
            path.unlink()
        if not isinstance(model, GramNetwork):
            raise TypeError(type(model).__name__)

        def answer(texts: Sequence[str]) -> np.ndarray:
            return self.of_scores(file, model.scores(beside.encoder.ids(list(texts))))

        texts = beside.tests
        outputs = np.concatenate([answer(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])
        return Scored(name, about, outputs, size, microseconds(lambda: answer(texts[:1])))

    def example(self, file: File) -> Callable[[], Batch]:
        encoder, length = encoder_from_json(file.preparation.tokenizer), file.preparation.length
        (text,), _ = texts_of(file, [file.parts["test"][:1]])[0]

        def read() -> Batch:
            (ids,) = encode(encoder, [text], length=length)
            inputs = torch.from_numpy(np.asarray(ids if len(ids) else [0], np.int64))[None]
            return Batch(inputs, torch.zeros(1, dtype=torch.long), torch.tensor([inputs.shape[1]]))

        return read


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """So many of the rows at most, evenly spread."""
    return rows[:: -(-len(rows) // most)]


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
    with skeletons():
        return sum(weight.numel() for weight in build(row, describe(file.loaded)).parameters())


def tfidf(file: File, about: str) -> Scored:
    """TF-IDF of words and word pairs with logistic regression (scikit-learn) on whole texts, tuned on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    parts = file.parts
    rows = [spread(parts[name], MOST_TEXTS) for name in ("train", "valid")]
    train, valid, test = texts_of(file, [*rows, parts["test"]])
    vectors = vectorizer(train[0])
    matrix, read = vectors.fit_transform(train[0]), vectors.transform(valid[0])
    right = valid[1]
    models = [LogisticRegression(C=strength, max_iter=300).fit(matrix, train[1]) for strength in STRENGTHS]
    best = max(models, key=lambda model: model.score(read, right))
    model = make_pipeline(vectors, best)
    outputs = np.zeros((len(test[0]), file.loaded.outputs))
    outputs[:, best.classes_] = model.predict_proba(test[0])
    us = microseconds(lambda: model.predict_proba(test[0][:1]))
    return Scored("baseline", about, outputs, len(pickle.dumps(model)), us, float(best.score(read, right)))


def vectorizer(texts: Sequence[str]) -> TfidfVectorizer:
    """TF-IDF of words and pairs as scikit-learn splits texts; of letters without blanks between them, and of signs,
    where it would find no words in many of some texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    options = {"ngram_range": (1, 2), "sublinear_tf": True}
    looked_at = [text for text in texts[:LOOKED_AT] if text.strip()]
    usual = re.compile(TfidfVectorizer().token_pattern)
    lacking = sum(not usual.search(text) or bool(UNBROKEN(text)) for text in looked_at)
    if lacking > LACKING * len(looked_at):
        options["token_pattern"] = EVERY_SIGN
    return TfidfVectorizer(**options)


def texts_of(file: File, parts: list[np.ndarray]) -> list[tuple[list[str], list[float]]]:
    """Texts and targets of each part, in its order, in one pass over the file."""
    asked = np.zeros(1 + max(int(rows.max()) for rows in parts), bool)
    for rows in parts:
        asked[rows] = True
    labelled = zip(range(len(asked)), file.task.labelled_texts(file.preparation), strict=False)
    read = {number: one for number, one in labelled if asked[number]}
    return [([read[row][0] for row in rows], [read[row][1] for row in rows]) for rows in map(np.ndarray.tolist, parts)]


KIND = Text()
