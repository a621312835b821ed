"""What a kind of file decides: its baselines, its networks, and the one file that answers in the end."""

from __future__ import annotations

import abc
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sparsernn import runtime
from sparsernn.data.preparation import Preparation
from sparsernn.data.splits import WindowSplit
from sparsernn.data.table_file import TableFile
from sparsernn.data.task import IGNORED, Batch, Loaded, Split
from sparsernn.deploy.packing import About, pack
from sparsernn.durable import scratch
from sparsernn.errors import UserError
from sparsernn.experiments.compacted import arguments
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.parts import Options, with_field
from sparsernn.experiments.rows import Row, Source
from sparsernn.experiments.trained import COMPACT, read_final
from sparsernn.methods.method import Method
from sparsernn.own_data import sizing
from sparsernn.own_data.runs import NETWORK
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.own_data.verdict import Answers
from sparsernn.training.settings import Settings

BATCH = 256
LEARNING_RATE = 2e-3
SMALL = 5_000  # examples: below it batches are half as large
STEP, STEPS, LEAST_UNITS = 0.9, 50, 16  # in which networks are made smaller
KEPT = (1 / 4, 1 / 2, 1, 2)  # of the weights that are usually kept, what is tried where a quality is asked for


class File(NamedTuple):
    """A user's file as it was read.

    Arguments:
        task: what was asked. loaded: all its examples. preparation: how another file is read in the same way.
        parts: row numbers of "train", "valid" and "test" in the file, where a row is an example.
        sampled: what one epoch reads.
        most: bytes that the one file may take; 0: any.
        share: of the n-grams of texts that are usually kept.
    """

    task: TableFile
    loaded: Loaded
    preparation: Preparation
    parts: dict[str, np.ndarray]
    sampled: Loaded
    most: int = 0
    share: float = 1.0

    def validated(self) -> File:
        """The same with the validation rows in the place of the test rows, so that these are not looked at."""
        parts = {**self.parts, "test": self.parts["valid"]} if self.parts else self.parts
        return self._replace(loaded=replace(self.loaded, test=self.loaded.valid), parts=parts)


@dataclass(frozen=True)
class Wishes:
    """What the user asked of the networks.

    Arguments:
        cell: file name in `sparsernn.cells`. method: makes the sparse network sparse.
        units, epochs: 0 chooses; epochs hold for all networks.
        sparsity: what was asked for; None: nothing was.
        scale: of the usual size of the sparse and the small dense network, where that would be too large.
    """

    cell: str
    method: Method
    units: int = 0
    epochs: int = 0
    sparsity: float | None = None
    scale: float = 1.0

    def at(self, sparsity: float) -> Wishes:
        """The same with a method at a sparsity."""
        return replace(self, method=with_field(self.method, "sparsity", sparsity))


@dataclass(frozen=True)
class Choice:
    """A network that suits a kind of file.

    Arguments:
        model: file name in `sparsernn.models`; options: its arguments.
        units: hidden units; small_units: of the dense network of about as many bytes as the sparse one.
        steps: of every network's training, as far as whole epochs allow.
        cell, method, sparsity: what is taken where the user asks for no other.
        pruning: further options of that method.
    """

    model: str
    units: int
    small_units: int
    steps: int
    options: Options = field(default_factory=dict)
    cell: str = "gru"
    method: str = "magnitude"
    sparsity: float = 0.9
    pruning: Mapping[str, object] = field(default_factory=dict)


class Try(NamedTuple):
    """A network that is tried. sparsity: of all that can go; share: of n-grams, as in `File`."""

    sparsity: float
    wishes: Wishes
    share: float = 1.0


class Kind(abc.ABC):
    """A kind of file. The defaults suit one whose networks are one row a network of a recipe.

    Attributes:
        about: what the baseline is, for people.
        rounds: whether layers may compute in 8 bits. valid_batch_size, test_batch_size: examples scored at once.
    """

    about: str
    choice: Choice
    rounds = True
    valid_batch_size = test_batch_size = BATCH

    @abc.abstractmethod
    def baselines(self, file: File) -> list[Scored]:
        """Those without a network, on the test rows: "majority" and "baseline", and any others worth showing."""

    @abc.abstractmethod
    def answers(self, file: File) -> Answers:
        """The right answers."""

    def batch_size(self, file: File) -> int:
        """Examples in a step."""
        return 32 if len(file.loaded.train) < SMALL else 64

    def settings(self, file: File, epochs: int) -> Settings:
        """How every network is trained; 0 epochs chooses."""
        batch = self.batch_size(file)
        batches = max(1, file.sampled.train.number_of_batches(batch))
        epochs = epochs or min(40, max(4, round(self.choice.steps / batches)))
        return Settings(
            learning_rate=LEARNING_RATE,
            batch_size=batch,
            valid_batch_size=self.valid_batch_size,
            epochs=epochs,
            clip=1.0,
            schedule="cosine",
            patience=max(3, epochs // 3),
            keep="best",
            loggers=("csv",),
        )

    def sources(self, file: File) -> tuple[Source, ...]:
        """Where every network begins."""
        return ()

    def rows(self, file: File, wishes: Wishes) -> list[Row]:
        """The networks to train: "dense", "small_dense" and "sparse", each as long and with the same help."""
        choice = self.choice
        dense = Row(
            "dense",
            file.task,
            choice.model,
            {"cell": wishes.cell, "units": wishes.units or choice.units, **choice.options},
            settings=self.settings(file, wishes.epochs),
            sources=self.sources(file),
            threads=1,
            measure=Measure(compact=False, test_batch_size=self.test_batch_size, latency_batches=()),
        )
        share = choice.small_units / choice.units
        units = self.units_at(wishes.units or choice.units, wishes.scale)
        small_units = max(1, round(share * units))
        small = replace(dense, name="small_dense", options={**dense.options, "units": small_units})
        measured = replace(dense.measure, compact=True)
        sparse = replace(
            dense, name="sparse", options={**dense.options, "units": units}, method=wishes.method, measure=measured
        )
        return [dense, small, sparse]

    def units_at(self, units: int, scale: float) -> int:
        """So many units at a scale."""
        return max(1, round(units * scale))

    def stores_words(self, file: File) -> bool:
        """Whether the one file holds the words of the vocabulary, which then has to be small as well."""
        return file.loaded.tokens

    def fitted(self, file: File, wishes: Wishes, seed: int) -> Wishes:
        """The wishes with the largest sparse network whose file fits, where no more than `file.most` bytes are allowed.

        Units go first; if these were asked for, weights do, unless their sparsity was asked for as well.
        Raises: TooLarge if none fits.
        """
        if not file.most:
            return wishes
        return sizing.largest(self.smaller(file, wishes), lambda one: self.size(file, one, seed), file.most)

    def smaller(self, file: File, wishes: Wishes) -> list[Wishes]:
        """The wishes with smaller and smaller networks."""
        larger = [wishes] if wishes.scale > 1 else []
        wishes = replace(wishes, scale=1.0)
        if not wishes.units:
            units = int(str(self.rows(file, wishes)[-1].options["units"]))
            return larger + [replace(wishes, scale=one / units) for one in falling(units)]
        if wishes.sparsity is None and hasattr(wishes.method, "sparsity") and wishes.method.target is not None:
            kept = 1 - wishes.method.target
            return [*larger, wishes, *(wishes.at(1 - kept * STEP**number) for number in range(1, STEPS))]
        return [*larger, wishes]

    def size(self, file: File, wishes: Wishes, seed: int) -> int:
        """About how many bytes the one file will take."""
        model = sizing.untrained(self.rows(file, wishes)[-1], file.loaded, seed)
        with scratch() as folder:
            self.write(file._replace(most=0), model, folder / NETWORK)
            return (folder / NETWORK).stat().st_size

    def tries(self, file: File, wishes: Wishes) -> list[Try]:
        """What is tried to find the smallest network that is good enough, the sparsest first.

        Raises: UserError for a method without a sparsity.
        """
        if wishes.method.target is None or not hasattr(wishes.method, "sparsity"):
            raise UserError(
                "--quality with a method that has no sparsity to try",
                "one that has, as magnitude",
                "leave out --method",
            )
        kept = [min(1.0, part * (1 - wishes.method.target)) for part in KEPT]
        return [Try(1 - part, wishes.at(1 - part)) for part in kept]

    def finish(self, file: File, folders: dict[str, Path], out: Path) -> list[Scored]:
        """The trained networks on the test rows, the one in the file that is left in `out` last.

        Arguments:
            folders: run folders by the names of their rows.
        """
        beside = self.beside(file)
        return [self.answered(file, name, folder, out, beside) for name, folder in in_order(folders)]

    def beside(self, file: File) -> Any:
        """What every network of the file is put together with, made once; None where there is nothing."""
        return None

    def answered(self, file: File, name: str, folder: Path, out: Path, beside: Any) -> Scored:
        """One trained network on the test rows; that of "sparse" in its one file, which is left in `out`."""
        return self.packed(file, folder, out) if name == "sparse" else self.trained(file, name, folder)

    def network(self, file: File, folder: Path) -> torch.nn.Module:
        """A trained network as it answers."""
        return read_final(folder).eval()

    def trained(self, file: File, name: str, folder: Path) -> Scored:
        """A trained network as torch runs it, with the bytes of its packed file."""
        network, example = self.network(file, folder), self.example(file)
        threads = torch.get_num_threads()
        with torch.inference_mode():
            outputs = self.outputs(file, [network(*arguments(batch)) for batch in file.loaded.test.batches(BATCH)])
            torch.set_num_threads(1)
            us = microseconds(lambda: network(*arguments(example())))
            torch.set_num_threads(threads)
        return Scored(name, f"the {name.replace('_', ' ')} network", outputs, (folder / COMPACT).stat().st_size, us)

    def packed(self, file: File, folder: Path, out: Path) -> Scored:
        """The sparse network as its one file answers, without torch."""
        self.write(file, self.network(file, folder), out / NETWORK)
        artifact = runtime.load(out / NETWORK)

        def answer(batch: Batch) -> torch.Tensor:
            lengths = None if batch.lengths is None else batch.lengths.numpy()
            return torch.from_numpy(artifact.run(batch.inputs.numpy(), lengths))

        outputs = self.outputs(file, [answer(batch) for batch in file.loaded.test.batches(BATCH)])
        example, size = self.example(file), (out / NETWORK).stat().st_size
        return Scored("sparse", "the sparse network", outputs, size, microseconds(lambda: answer(example())))

    def example(self, file: File) -> Callable[[], Batch]:
        """What makes a test example of the form in which the file has it, to be timed with a network's call."""
        first = next(file.loaded.test.batches(1))
        return lambda: first

    def write(self, file: File, model: torch.nn.Module, path: Path) -> None:
        """Write a network in 8 bits, in as many bytes as are allowed."""
        about = About(file.loaded.labels, json.dumps(file.preparation.to_json()))
        pack(path, model, steps=0, int8=self.rounds, dtype="int8", about=about)
        sizing.keep_within(path, file.most)

    def outputs(self, file: File, batches: list[torch.Tensor]) -> np.ndarray:
        """A network's outputs as `Scored` has them."""
        return np.concatenate([batch.double().softmax(-1).numpy() for batch in batches])


def falling(units: int) -> list[int]:
    """Fewer and fewer units, the last being one."""
    steps = [round(units * STEP**number) for number in range(STEPS)]
    return sorted({*range(1, min(units, LEAST_UNITS) + 1), *(one for one in steps if one > 0)}, reverse=True)


def in_order(folders: dict[str, Path]) -> list[tuple[str, Path]]:
    """Names and folders, "sparse" last, whose file stays."""
    return sorted(folders.items(), key=lambda one: one[0] == "sparse")


def targets_of(split: Split) -> np.ndarray:
    """All targets of a split, in its order; steps that are not scored left out. [rows] or [rows horizon]"""
    targets = [batch.targets.numpy() for batch in split.batches(BATCH)]
    if isinstance(split, WindowSplit) or not targets or targets[0].ndim == 1:
        return np.concatenate(targets)
    return np.concatenate([batch[batch != IGNORED] for batch in targets])


def majority(file: File) -> Scored:
    """The shares of the classes in the training rows, for every test row."""
    counts = np.bincount(targets_of(file.loaded.train), minlength=file.loaded.outputs)
    rows = len(targets_of(file.loaded.test))
    return Scored("majority", "the majority class", np.tile(counts / counts.sum(), (rows, 1)))
