"""Running text whose next token is predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsernn import runtime
from sparsernn.data.splits import TextSplit
from sparsernn.data.task import Split
from sparsernn.durable import scratch
from sparsernn.experiments.rows import Row, Source
from sparsernn.experiments.sources.token_frequencies import TokenFrequencies
from sparsernn.experiments.trained import COMPACT, read_final
from sparsernn.methods.method import Method
from sparsernn.own_data.kinds.kind import NETWORK, Choice, File, Kind, Wishes
from sparsernn.own_data.kneser_ney import KneserNey
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.own_data.verdict import Answers
from sparsernn.training.settings import Settings

NGRAMS = "ngrams.npz"
LEARNING_RATE = 3e-3
DROPOUT = {"dense": 0.4, "small_dense": 0.2, "sparse": 0.3}  # the fewer weights, the less
METHOD = "optimal_brain_damage"
EVERY_MATRIX = ("*weight*",)  # where a method makes zeros: the embedding is most of such a network
WORDS = 1_000  # tokens from which on they are words, and the embedding is most of the network
UNIT = 200  # tokens that are taken together
MOST_COUNTED = 20_000_000  # tokens of which n-grams are made
LOWER_PRECISION = ("avx512_bf16", "amx_bf16")  # what a processor has that multiplies bfloat16 in half the time


class LanguageModel(Kind):
    """An n-gram model, and a network of one layer whose output layer is its embedding.

    The sparse network is sparse in all its matrices. The small dense one is of about its file's size, in 8 bits as it.
    """

    about = "n-grams with Kneser-Ney smoothing"
    choice = Choice("language_model", 256, 80, 5000, {"layers": 1, "tied": True}, "lstm", METHOD, 0.5)
    units_of_characters = 384
    rounds = False
    valid_batch_size, test_batch_size = 10, 1

    def batch_size(self, file: File) -> int:
        return 20

    def settings(self, file: File, epochs: int) -> Settings:
        general = super().settings(file, epochs)
        return replace(general, learning_rate=LEARNING_RATE, precision=precision())

    def sources(self, file: File) -> tuple[Source, ...]:
        return (TokenFrequencies(),)

    def rows(self, file: File, wishes: Wishes) -> list[Row]:
        words = file.loaded.outputs
        units = wishes.units or (self.choice.units if words >= WORDS else self.units_of_characters)
        scaled = self.units_at(units, wishes.scale)
        fewer = units_of(weights_of(scaled, words) * bytes_of_weight(wishes.method), words)
        sizes = {"dense": units, "small_dense": fewer, "sparse": scaled}
        where = None if wishes.method.layers_only else EVERY_MATRIX
        return [
            replace(
                row,
                options={**row.options, "units": sizes[row.name], "dropout": DROPOUT[row.name]},
                settings=replace(row.settings, where=where),
            )
            for row in super().rows(file, wishes)
        ]

    def baselines(self, file: File) -> list[Scored]:
        model, text = ngrams(file), tokens_of(file.loaded.test)
        counts = np.bincount(tokens_of(file.loaded.train), minlength=file.loaded.outputs) + 1
        return [
            Scored("majority", "frequencies of words", np.log(counts / counts.sum())[text[1:]]),
            Scored(
                "baseline",
                f"n-grams of up to {model.order} tokens with Kneser-Ney smoothing",
                model.log_probabilities(text),
                len(model.to_bytes()),
                microseconds(lambda: model.log_probabilities(text[:UNIT])),
                float(np.exp(-model.log_probabilities(tokens_of(file.loaded.valid)).mean())),
            ),
        ]

    def answers(self, file: File) -> Answers:
        tokens = tokens_of(file.loaded.test)[1:]
        return Answers("perplexity", tokens, units=np.arange(len(tokens)) // UNIT)

    def finish(self, file: File, folders: dict[str, Path], out: Path) -> list[Scored]:
        ngrams(file).save(out / NGRAMS)
        return super().finish(file, folders, out)

    def answered(self, file: File, name: str, folder: Path, out: Path, beside: Any) -> Scored:
        if name == "small_dense":
            with scratch(out) as place:
                return self.scored(file._replace(most=0), name, folder, place / NETWORK)
        return super().answered(file, name, folder, out, beside)

    def trained(self, file: File, name: str, folder: Path) -> Scored:
        network, text = read_final(folder).eval(), tokens_of(file.loaded.test)
        scores = np.concatenate(list(log_probabilities(network, file.loaded.test)))
        beginning = TextSplit(text[:UNIT], UNIT)
        us = microseconds(lambda: list(log_probabilities(network, beginning)))
        return Scored(name, f"the {name} network", scores, (folder / COMPACT).stat().st_size, us)

    def packed(self, file: File, folder: Path, out: Path) -> Scored:
        return self.scored(file, "sparse", folder, out / NETWORK)

    def scored(self, file: File, name: str, folder: Path, path: Path) -> Scored:
        """A network as its one file answers, without torch."""
        text = tokens_of(file.loaded.test)
        self.write(file, read_final(folder).eval(), path)
        artifact = runtime.load(path)
        us = microseconds(lambda: artifact.log_probabilities(text[:UNIT]))
        scores = artifact.log_probabilities(text)
        return Scored(name, f"the {name.replace('_', ' ')} network", scores, path.stat().st_size, us)


def weights_of(units: int, words: int) -> int:
    """Weights of one layer of four gates and of the embedding, which is the output layer too."""
    return units * words + 8 * units * units


def units_of(weights: float, words: int) -> int:
    """The units with which there are so many weights."""
    return max(1, round((math.sqrt(words * words + 32 * weights) - words) / 16))


def bytes_of_weight(method: Method) -> float:
    """What each weight takes of the sparse file for one of a dense one: a byte if it is there, and a bit of a mask."""
    return min(1.0, 1 - getattr(method, "sparsity", 0.0) + 1 / 8)


def precision() -> str:
    """bfloat16 where this computer multiplies it faster."""
    able = torch.cpu.get_capabilities()
    return "bfloat16" if any(able.get(name) for name in LOWER_PRECISION) else "float32"


def ngrams(file: File) -> KneserNey:
    """The n-gram model of the training text, its order chosen on the validation text."""
    train, valid = (tokens_of(split) for split in (file.loaded.train, file.loaded.valid))
    return KneserNey.learn(train[-MOST_COUNTED:], valid, file.loaded.outputs)


def tokens_of(split: Split) -> np.ndarray:
    """All tokens of a text, in their order."""
    if not isinstance(split, TextSplit):
        raise TypeError(f"{type(split).__name__} is no running text")
    return np.asarray(split.tokens)


@torch.inference_mode()
def log_probabilities(network: torch.nn.Module, split: Split) -> Iterator[np.ndarray]:
    """The logarithm of the probability of every token, read as one stream."""
    state = None
    for batch in split.batches(1):
        logits, state = network(batch.inputs, state)
        yield logits.log_softmax(-1).gather(-1, batch.targets[..., None]).flatten().numpy()


KIND = LanguageModel()
