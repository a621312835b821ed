"""Series with a label each, a row a step or a row a series."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sparsernn import runtime
from sparsernn.data.task import Batch, Split
from sparsernn.durable import scratch
from sparsernn.own_data import kernel_fit
from sparsernn.own_data.features import LEAST_VALIDATED, kernels, shares_of, simple
from sparsernn.own_data.kinds.kind import (
    BATCH,
    NETWORK,
    Choice,
    File,
    Kind,
    Wishes,
    in_order,
    majority,
    targets_of,
)
from sparsernn.own_data.scored import Scored, microseconds
from sparsernn.own_data.sizing import TooLarge, keep_within
from sparsernn.own_data.verdict import Answers
from sparsernn.runtime import artifact
from sparsernn.runtime.kernel_head import KernelHead
from sparsernn.runtime.network import Network, NetworkSpec
from sparsernn.training.settings import Settings

BATCH_SIZE = 32
MOST_UPDATES, MANY = 2_500, 5_000
LEAST_BATCHES = 50  # in an epoch
WARM_UP = 0.1
OF_KERNELS = 700  # bytes by which their names make a file longer
SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)  # of the kernels, where room is short
WEIGHTS = np.linspace(0, 2, 9)  # of the network beside the kernels


def lasting(file: File, updates: int, epochs: int, **options: Any) -> Settings:
    """Training for so many updates, or epochs where these are asked for, with an average of the weights.

    Arguments:
        options: of the settings.
    """
    size = options.get("batch_size", BATCH_SIZE)
    batches = max(1, file.sampled.train.number_of_batches(size))
    passes = 1 if epochs else -(-LEAST_BATCHES // batches)
    common: dict[str, Any] = {
        "optimizer": "averaged_adamw",
        "learning_rate": 3e-3,
        "weight_decay": 1e-3,
        "batch_size": size,
        "valid_batch_size": BATCH,
        "epochs": epochs or -(-updates // (batches * passes)),
        "passes": passes,
        "clip": 1.0,
        "schedule": "cosine",
        "warm_up": WARM_UP,
        "loggers": ("csv",),
    }
    return Settings(**{**common, **options})


ENOUGH = "Use the random kernels: they are enough for this file, a network beside them adds nothing and is left out."
SPARSITY, IN_BLOCKS = 0.75, {"granularity": "16x1", "start": 0.0, "stop": 0.4}
"""How a small network is pruned: less of it, in blocks, and early, so that there is time to recover."""


class Labelled(Kind):
    """Series whose networks are small, read patches or frames both ways, and are trained for a number of updates."""

    def answers(self, file: File) -> Answers:
        return Answers("accuracy", targets_of(file.loaded.test), file.loaded.labels)

    def settings(self, file: File, epochs: int) -> Settings:
        updates = self.choice.steps if len(file.loaded.train) < MANY else MOST_UPDATES
        keep = "lowest_loss" if len(file.loaded.valid) >= LEAST_VALIDATED else "last"
        return lasting(file, updates, epochs, keep=keep)

    def answered(self, file: File, name: str, folder: Path, out: Path, beside: Any) -> Scored:
        return packed_as(self, name, file, folder, out)


def packed_as(kind: Kind, name: str, file: File, folder: Path, out: Path) -> Scored:
    """A trained network as its file of 8 bits answers, which is left behind; only that of "sparse" is made to fit."""
    scored = kind.packed(file if name == "sparse" else file._replace(most=0), folder, out)
    return replace(scored, name=name, about=f"the {name.replace('_', ' ')} network")


class Series(Labelled):
    """Simple features or random kernels with a linear model, and a small network with few kernels beside it."""

    about = "simple features, or random kernels, with a linear model"
    choice = Choice(
        "classifier",
        32,
        16,
        1000,
        {"bidirectional": True, "pool": "mean_max_last", "dropout": 0.2, "noise": 0.1},
        sparsity=SPARSITY,
        pruning=IN_BLOCKS,
    )

    def baselines(self, file: File) -> list[Scored]:
        both = [simple(file.loaded), kernels(file.loaded)]
        first, second = sorted(both, key=lambda one: -one.valid)
        return [majority(file), first, replace(second, name="other_baseline")]

    def finish(self, file: File, folders: dict[str, Path], out: Path) -> list[Scored]:
        """Few kernels alone, and the networks with these beside them, where that is better on validation."""
        head = self.beside(file)
        scored = [] if head is None else [saved(file, "kernels", alone(file, head), out)]
        return scored + [self.answered(file, name, folder, out, head) for name, folder in in_order(folders)]

    def beside(self, file: File) -> KernelHead | None:
        """Kernels, as many as leave half of the room to a network; None where there is too little."""
        for share in SHARES if file.most else SHARES[:1]:
            head = kernel_fit.fit(file.loaded, file.preparation.patch, share)
            if not file.most or bytes_of(file, alone(file, head)) <= file.most / 2:
                return head
        return None

    def fitted(self, file: File, wishes: Wishes, seed: int) -> Wishes:
        head = self.beside(file) if file.most else None
        if head is not None:
            rest = file.most - OF_KERNELS - sum(one.nbytes for one in head.tensors().values())
            try:
                return super().fitted(file._replace(most=max(1, rest)), wishes, seed)
            except TooLarge:
                pass  # alone it may fit, and which of the two stays is decided after training
        return super().fitted(file, wishes, seed)

    def answered(self, file: File, name: str, folder: Path, out: Path, beside: KernelHead | None) -> Scored:
        """A network with the kernels beside it, or the better of the two alone."""
        file = file if name == "sparse" else file._replace(most=0)
        without = packed_as(self, name, file, folder, out)
        if beside is None:
            return without
        spec = runtime.load(out / NETWORK).spec
        network = numpy_outputs(Network(spec), file.loaded.valid)
        weight = weight_beside(beside, file, network)
        if weight and spec.head is not None and spec.bias is not None:
            both = replace(spec, kernels=beside, head=weight * spec.head, bias=weight * spec.bias)
            if not file.most or bytes_of(file, both) <= file.most:
                return saved(file, name, both, out)
            labels, valid = targets_of(file.loaded.valid), file.loaded.valid
            losses = [kernel_fit.log_loss(scores, labels) for scores in (network, kernel_outputs(beside, valid))]
            if losses[0] < losses[1]:
                return without
        if name != "sparse":
            return without
        return replace(saved(file, name, alone(file, beside), out), conclusion=ENOUGH)


def bytes_of(file: File, spec: NetworkSpec) -> int:
    """What a file of a network takes."""
    with scratch() as folder:
        artifact.save(folder / NETWORK, spec, json.dumps(file.preparation.to_json()), "int8")
        return (folder / NETWORK).stat().st_size


def alone(file: File, head: KernelHead) -> NetworkSpec:
    """Kernels without a network."""
    return NetworkSpec("classification", [], labels=tuple(file.loaded.labels), kernels=head)


def saved(file: File, name: str, spec: NetworkSpec, out: Path) -> Scored:
    """A network written to the one file, and how that answers."""
    artifact.save(out / NETWORK, spec, json.dumps(file.preparation.to_json()), "int8")
    keep_within(out / NETWORK, file.most)
    network = runtime.load(out / NETWORK)
    first = next(file.loaded.test.batches(1))
    outputs = shares_of(numpy_outputs(network, file.loaded.test))
    about = f"the {name.replace('_', ' ')} network beside few random kernels"
    if not spec.layers:
        about = "few random kernels" + ("" if name == "kernels" else ", to which the network adds nothing")
    size = (out / NETWORK).stat().st_size
    return Scored(name, about, outputs, size, microseconds(lambda: answer(network, first)))


def weight_beside(head: KernelHead, file: File, network: np.ndarray) -> float:
    """What a network's scores are best multiplied by beside those of the kernels, by the validation rows' loss.

    Shapes: network: scores of the validation rows [row class].
    """
    scores, labels = kernel_outputs(head, file.loaded.valid), targets_of(file.loaded.valid)
    losses = [kernel_fit.log_loss(scores + weight * network, labels) for weight in WEIGHTS]
    return float(WEIGHTS[int(np.argmin(losses))])


def kernel_outputs(head: KernelHead, split: Split) -> np.ndarray:
    """What the kernels say of each series. [row class]"""
    return np.concatenate([head.scores(batch.inputs.numpy(), lengths_of(batch)) for batch in split.batches(BATCH)])


def numpy_outputs(network: Network, split: Split) -> np.ndarray:
    """What a network without torch says of each series. [row class]"""
    return np.concatenate([answer(network, batch) for batch in split.batches(BATCH)])


def answer(network: Network, batch: Batch) -> np.ndarray:
    """What a network without torch says of a batch. [row class]"""
    return network.run(batch.inputs.numpy(), lengths_of(batch))


def lengths_of(batch: Batch) -> np.ndarray:
    """Steps of each series that are read. [row]"""
    return np.full(len(batch.inputs), batch.inputs.shape[1]) if batch.lengths is None else batch.lengths.numpy()


KIND = Series()
