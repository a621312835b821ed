"""The trained classifier of a run folder with all that a reader of its automata needs: words, texts, weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sparsernn.cells.rational import Rational
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.table_file import TableFile, encode_file
from sparsernn.data.task import Batch
from sparsernn.data.text import encode, encoder_from_json
from sparsernn.data.text_classification import TextClassification
from sparsernn.errors import UserError
from sparsernn.measure.phrases import check_readable
from sparsernn.models.classifier import Classifier
from sparsernn.recipes import own_data, trained

BATCH = 64


@dataclass(frozen=True)
class Readable:
    """A text classifier of one layer of automata, and its data.

    Attributes:
        network: the final network, cut where the run cut it; whole: the network at its full size.
        words: names of the token ids.
        labels: names of the classes.
        encoded: from texts to a split.
        corpus: the texts whose phrases are ranked, called when they are needed; source: what they are.
    """

    folder: Path
    network: Classifier
    whole: nn.Module
    words: Sequence[str]
    labels: Sequence[str]
    encoded: Callable[[Sequence[str]], SequenceSplit]
    corpus: Callable[[], SequenceSplit]
    source: str

    @property
    def cell(self) -> Rational:
        return self.network.cell

    def columns(self, direction: int) -> Tensor:
        """The output layer's weights of the patterns of one direction. [class pattern]"""
        weight, widths = self.network.head.weight.detach(), self.cell.widths
        first = 0 if not direction else weight.shape[1] // 2 if self.network.pool == "last" else widths[0]
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
    found, network = trained.read(run), trained.read_final(run)
    network.eval()
    if not isinstance(network, Classifier) or network.embedding is None:
        raise UserError(
            f"{run} holds no text classifier", "a classifier of words", "explain a run whose data are labelled texts"
        )
    check_readable(network.cell)
    open_task = _of_file if isinstance(found.row.task, TableFile) else _of_task
    return Readable(run, network, found.network, labels=found.data["labels"], **open_task(run, found.row.task, data))


def _one_of(folder: Path) -> Path:
    """The run that a folder is, or that it holds."""
    if (folder / "recipe.json").is_file():
        return folder
    runs = sorted(path.parent for path in folder.glob("*/recipe.json"))
    if not runs or list(folder.glob("sparse-seed*")):
        return own_data.find_run(folder)
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"{folder} holds {len(runs)} runs", f"one of them: {names}", f"explain {runs[-1]}")
    return runs[0]


def _of_task(run: Path, task: Any, data: Path | None) -> dict[str, Any]:
    """Words and texts of a recipe's row."""
    if not isinstance(task, TextClassification):
        raise UserError(f"{run} was not trained on labelled texts", "such a run", "choose another run")
    given = data if data is not None and data.is_file() else None
    loaded = task.load(None if given else data)

    def encoded(texts: Sequence[str]) -> SequenceSplit:
        return task.encoded(texts, loaded.vocabulary)

    def corpus() -> SequenceSplit:
        return loaded.train if given is None else encoded(_lines(given))

    return {
        "words": loaded.vocabulary, "encoded": encoded, "corpus": corpus,
        "source": given.name if given else "the training texts",
    }  # fmt: skip


def _of_file(run: Path, task: TableFile, data: Path | None) -> dict[str, Any]:
    """Words and texts of a run of `sparsernn train`."""
    preparation = own_data.read_preparation(run)
    encoder = encoder_from_json(preparation.tokenizer)

    def encoded(texts: Sequence[str]) -> SequenceSplit:
        ids = list(encode(encoder, texts, length=preparation.length))
        offsets = np.cumsum([0, *map(len, ids)])
        return SequenceSplit(np.concatenate(ids), offsets, np.zeros(len(ids), np.int64))

    def corpus() -> SequenceSplit:
        if data is not None and data.is_file():
            return encode_file(preparation, data).split
        return task.load(data).train

    given = data is not None and data.is_file()
    source = data.name if given else f"the training texts of {Path(task.path).name}"
    return {"words": encoder.words, "encoded": encoded, "corpus": corpus, "source": source}


def _lines(path: Path) -> list[str]:
    try:
        found = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}", "a text a line, UTF-8", "give another file") from error
    if not found:
        raise UserError(f"{path} is empty", "a text a line", "give another file")
    return found


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
        network.head.register_forward_pre_hook(lambda module, given: kept.update(pooled=given[0])),
        network.cell.register_forward_hook(lambda module, given, found: kept.update(x=given[0], output=found[0])),
    ]
    try:
        logits = network(*trained.arguments(batch))
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


def ends_of(found: Reading, direction: int, pool: str) -> Tensor:
    """After how many tokens, in the order of reading, a pattern's score counts: where it is highest for "max" pooling,
    else at the end of the text. [batch pattern]"""
    outputs, lengths = found.outputs[direction], found.lengths.unsqueeze(1)
    if pool != "max":
        return lengths.expand(-1, outputs.shape[2])
    inside = torch.arange(len(outputs)).view(-1, 1, 1) < found.lengths.view(1, -1, 1)
    best = outputs.masked_fill(~inside, -torch.inf).argmax(0)
    return lengths - best if direction else best + 1
