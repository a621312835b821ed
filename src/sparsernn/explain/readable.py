"""The trained classifier of a run folder with all that a reader of its automata needs: words, texts, weights."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.files import checksums
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.table_file import TableFile, encode_file
from sparsernn.data.task import Batch, Split, Task
from sparsernn.data.text import encode
from sparsernn.data.text_classification import TextClassification
from sparsernn.errors import UserError
from sparsernn.experiments import compacted, trained
from sparsernn.experiments.network import embedding_of
from sparsernn.explain.phrases import check_readable
from sparsernn.models.classifier import Classifier
from sparsernn.own_data import runs
from sparsernn.reading import LARGEST_LINES, content, readable
from sparsernn.running.modules import Recurrent
from sparsernn.training.run_folder import FILES
from sparsernn.training.run_record import RunRecord

BATCH = 64


class Texts(NamedTuple):
    """Words, and the texts that they stand in.

    Attributes:
        words: names of the token ids.
        encoded: from texts to a split.
        corpus: the texts whose phrases are ranked, called when they are needed; source: what they are.
    """

    words: Sequence[str]
    encoded: Callable[[Sequence[str]], SequenceSplit]
    corpus: Callable[[], SequenceSplit]
    source: str


@dataclass(frozen=True)
class Readable:
    """A text classifier of one layer of automata, and its data.

    Attributes:
        network: the final network, cut where the run cut it; cell: its automata; whole: the automata at full size.
        labels: names of the classes.
        texts: in which its phrases are looked for.
    """

    folder: Path
    network: Classifier
    cell: Recurrent
    whole: Recurrent
    labels: Sequence[str]
    texts: Texts

    @property
    def vectors(self) -> Tensor:
        """A vector for every token id. [word input]"""
        embedding = embedding_of(self.network)
        return embedding(torch.arange(embedding.num_embeddings)).detach()

    def columns(self, direction: int) -> Tensor:
        """The output layer's weights of the patterns of one direction. [class pattern]"""
        weight, widths, first = self.network.head.weight.detach(), self.cell.widths, 0
        if direction:
            first = weight.shape[1] // 2 if self.network.pool == "last" else widths[0]
        return weight[:, first : first + widths[direction]]


class Reading(NamedTuple):
    """What the network makes of a batch of texts.

    Shapes: x [time batch input], outputs of each direction [time batch pattern], pooled the same without time,
        logits [batch class], lengths [batch].
    """

    x: Tensor
    outputs: list[Tensor]
    pooled: list[Tensor]
    logits: Tensor
    lengths: Tensor


def open_run(folder: Path, data: Path | None) -> Readable:
    """The classifier in a run folder, or in the folder that `sparsernn train` printed.

    Arguments:
        data: folder of the task's files, or a file whose texts are ranked: like the one trained on, or for a recipe's
            row a text a line; None: the data of the training.
    Raises: UserError if the network cannot be read, or its data are not there.
    """
    run = _one_of(folder)
    whole, network = trained.read(run), trained.read_final(run)
    network.eval()
    if not isinstance(network, Classifier) or network.embedding is None:
        raise UserError(
            f"{run} holds no text classifier", "a classifier of words", "explain a run whose data are labelled texts"
        )
    cell, uncut = check_readable(network.cell), check_readable(whole.network.get_submodule("cell"))
    task = whole.row.task
    if data is None or not data.is_file():
        _check_same_data(run, task, data)
    texts = _of_file(run, task, data) if isinstance(task, TableFile) else _of_task(run, task, data)
    return Readable(run, network, cell, uncut, whole.data["labels"], texts)


def _check_same_data(run: Path, task: Task, folder: Path | None) -> None:
    """Raises: UserError unless the task's files are those that the run was trained on, where it says which."""
    before, now = RunRecord.read(run).recipe.get(FILES), checksums(task, folder)
    different = sorted(name for name, checksum in (before or {}).items() if now.get(name) not in (checksum, None))
    if different:
        raise UserError(
            f"{', '.join(different)} is not what {run} was trained on",
            "the same data",
            "put the files back, or pass --data with a file whose texts are to be ranked",
        )


def _one_of(folder: Path) -> Path:
    """The run that a folder is, or that it holds."""
    if (folder / "recipe.json").is_file():
        return folder
    inside = sorted(path.parent for path in folder.glob("*/recipe.json"))
    if not inside or list(folder.glob("sparse-seed*")):
        return runs.find_run(folder)
    if len(inside) > 1:
        names = ", ".join(run.name for run in inside)
        raise UserError(f"{folder} holds {len(inside)} runs", f"one of them: {names}", f"explain {inside[-1]}")
    return inside[0]


def _of_task(run: Path, task: Task, data: Path | None) -> Texts:
    """Words and texts of a recipe's row."""
    if not isinstance(task, TextClassification):
        raise UserError(f"{run} was not trained on labelled texts", "such a run", "choose another run")
    file = data if data is not None and data.is_file() else None
    loaded = task.load(None if file else data)

    def encoded(texts: Sequence[str]) -> SequenceSplit:
        return task.encoded(texts, loaded.vocabulary)

    def corpus() -> SequenceSplit:
        return _texts(loaded.train) if file is None else encoded(_lines(file))

    return Texts(loaded.vocabulary, encoded, corpus, file.name if file else "the training texts")


def _of_file(run: Path, task: TableFile, data: Path | None) -> Texts:
    """Words and texts of a run of `sparsernn train`."""
    preparation = runs.read_preparation(run)
    encoder = encoder_from_json(preparation.tokenizer)

    def encoded(texts: Sequence[str]) -> SequenceSplit:
        ids = list(encode(encoder, texts, length=preparation.length))
        offsets = np.cumsum([0, *map(len, ids)])
        return SequenceSplit(np.concatenate(ids), offsets, np.zeros(len(ids), np.int64))

    file = data if data is not None and data.is_file() else None

    def corpus() -> SequenceSplit:
        return _texts(task.load(data).train if file is None else encode_file(preparation, file).split)

    source = file.name if file else f"the training texts of {Path(task.path).name}"
    return Texts(encoder.words, encoded, corpus, source)


def _texts(split: Split) -> SequenceSplit:
    if not isinstance(split, SequenceSplit):
        raise UserError("the data are no labelled texts", "a task of texts", "choose another run")
    return split


def _lines(path: Path) -> list[str]:
    with readable(path, expected="a text a line, UTF-8", do="give another file"):
        text = content(path, LARGEST_LINES).decode()
        lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty", "a text a line", "give another file")
    return lines


def batches(split: SequenceSplit) -> Iterator[tuple[np.ndarray, Batch]]:
    """All texts, those of like length together: their numbers and a batch."""
    order = np.argsort(split.lengths, kind="stable")
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        yield rows, split.batch(rows)


@torch.no_grad()
def read(network: Classifier, batch: Batch) -> Reading:
    """Run the network and keep what its parts gave out."""
    kept: dict[str, Tensor] = {}
    handles = [
        network.head.register_forward_pre_hook(lambda module, inputs: kept.update(pooled=inputs[0])),
        network.cell.register_forward_hook(lambda module, inputs, made: kept.update(x=inputs[0], output=made[0])),
    ]
    try:
        logits = network(*compacted.arguments(batch))
    finally:
        for handle in handles:
            handle.remove()
    widths, pooled = network.cell.widths, kept["pooled"]
    lengths = torch.full((len(logits),), kept["x"].shape[1]) if batch.lengths is None else batch.lengths
    starts = [0, pooled.shape[1] // 2 if network.pool == "last" else widths[0]]
    return Reading(
        kept["x"].transpose(0, 1),
        list(kept["output"].transpose(0, 1).split(widths, -1)),
        [pooled[:, start : start + width] for start, width in zip(starts, widths, strict=False)],
        logits,
        lengths,
    )


def ends_of(reading: Reading, direction: int, pool: str) -> Tensor:
    """After how many tokens, in the order of reading, a pattern's score counts: where it is highest for "max" pooling,
    else at the end of the text. [batch pattern]"""
    outputs, lengths = reading.outputs[direction], reading.lengths.unsqueeze(1)
    if pool != "max":
        return lengths.expand(-1, outputs.shape[2])
    inside = torch.arange(len(outputs)).view(-1, 1, 1) < reading.lengths.view(1, -1, 1)
    best = outputs.masked_fill(~inside, -torch.inf).argmax(0)
    return lengths - best if direction else best + 1
