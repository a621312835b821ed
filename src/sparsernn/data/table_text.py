"""A user's table of texts and labels, or a plain text file, as token ids on disk."""

from collections.abc import Iterator
from itertools import compress, islice

import numpy as np

from sparsernn.data.csv_file import text_lines
from sparsernn.data.preparation import Columns, Encoded, Preparation, numbered, require_parts, targets_of, write_parts
from sparsernn.data.splits import SequenceSplit, TextSplit
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_parts import cut_rows, row_groups, without_copies
from sparsernn.data.table_rows import Progress, column_names, read_rows
from sparsernn.data.task import PARTS, Loaded
from sparsernn.data.text import encode, encoder_from_json, learn_encoder
from sparsernn.errors import UserError

TEXTS_TO_LEARN_FROM = 200_000
LEAST_TOKENS = 100
END = "<eos>"


def build_texts(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """Read the table three times as a stream: labels, words, ids."""
    seen: dict[str, int] = {}
    codes = [
        np.array([seen.setdefault(name, len(seen)) for name in rows.labels(task.label)])
        for rows in read_rows(task.path, [task.label, task.text], progress, "reading labels")
    ]
    labels, targets = numbered(seen, np.concatenate(codes), task.label)
    parts = cut_rows(task, targets, row_groups(task, progress))
    parts = without_copies(task, parts, _texts(task.path, task.text, progress, "comparing texts"))
    require_parts(parts, task.path, "rows")
    learned = np.zeros(len(targets), bool)
    learned[parts[0][:: -(-len(parts[0]) // TEXTS_TO_LEARN_FROM)]] = True
    texts = compress(_texts(task.path, task.text, progress, "counting words"), learned)
    encoder = learn_encoder(texts, task.vocabulary, task.tokenizer, least=2)
    columns: Columns = {"text": task.text, "label": task.label}
    preparation = Preparation("text", columns, tuple(labels), tokenizer=encoder.to_json(), length=task.length or 200)
    _write_texts(preparation, task.path, writer, progress)
    writer.append("targets", targets)
    write_parts(writer, parts)
    return preparation


def _texts(path: str, column: str, progress: Progress, what: str) -> Iterator[str]:
    for rows in read_rows(path, [column], progress, what):
        yield from rows.texts(column)


def _write_texts(preparation: Preparation, path: str, writer: StoreWriter, progress: Progress) -> None:
    encoder = encoder_from_json(preparation.tokenizer)
    lengths = [0]
    texts = _texts(path, preparation.columns.get("text", ""), progress, "encoding")
    for ids in encode(encoder, texts, length=preparation.length):
        writer.append("tokens", ids)
        lengths.append(len(ids))
    writer.append("offsets", np.cumsum(lengths))


def load_texts(task: TableOptions, store: Store, preparation: Preparation) -> Loaded:
    """The splits of a prepared table of texts."""
    arrays = (store.array("tokens"), store.array("offsets"), store.array("targets"))
    splits = (SequenceSplit(*arrays, rows=store.array(part), bucketed=True) for part in PARTS)
    words = encoder_from_json(preparation.tokenizer).words
    return Loaded.of_classes(splits, preparation.labels, inputs=len(words), vocabulary=words, note=task.note())


def write_new_texts(preparation: Preparation, path: str, writer: StoreWriter, progress: Progress) -> None:
    """Another file's texts as ids, with its labels where it has them."""
    column = preparation.columns.get("label", "")
    if column in column_names(path):
        for rows in read_rows(path, [column], progress, "reading labels"):
            writer.append("targets", preparation.class_numbers(rows))
    _write_texts(preparation, path, writer, progress)


def new_texts(preparation: Preparation, store: Store) -> Encoded:
    """The examples of another file, in its order."""
    offsets = store.array("offsets")
    labelled, targets = targets_of(store, len(offsets) - 1)
    return Encoded(SequenceSplit(store.array("tokens"), offsets, targets), labelled)


def build_running_text(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """Read a text file three times as a stream: lines, words, ids; the parts follow each other in the file."""
    count = sum(1 for _ in text_lines(task.path, progress, "reading"))
    ends = np.rint(np.cumsum(task.shares) / sum(task.shares) * count).astype(int)
    learned = islice(text_lines(task.path, progress, "counting words"), int(ends[0]))
    encoder = learn_encoder(learned, task.vocabulary, task.tokenizer, least=2, after=END)
    steps = task.length or (100 if task.tokenizer == "characters" else 35)
    preparation = Preparation("language_model", {}, tokenizer=encoder.to_json(), length=steps)
    counts = dict.fromkeys(PARTS, 0)
    for number, ids in enumerate(encode(encoder, text_lines(task.path, progress, "encoding"))):
        part = PARTS[int(np.searchsorted(ends, number, "right"))]
        writer.append(part, ids)
        counts[part] += len(ids)
    if min(counts.values()) < LEAST_TOKENS:
        raise UserError(
            f"The text {task.path} is too short: {', '.join(map(str, counts.values()))} tokens would train,"
            " validate and test",
            f"at least {LEAST_TOKENS} tokens and several lines in each part",
            "give a longer text with line ends",
        )
    return preparation


def load_running_text(task: TableOptions, store: Store, preparation: Preparation) -> Loaded:
    """The splits of a prepared text file."""
    words = encoder_from_json(preparation.tokenizer).words
    splits = (TextSplit(store.array(part), preparation.length) for part in PARTS)
    metric = "bits_per_character" if task.tokenizer == "characters" else "perplexity"
    return Loaded.of_text(splits, words, metric=metric, note=task.note())


def write_new_running_text(preparation: Preparation, path: str, writer: StoreWriter, progress: Progress) -> None:
    """Another text file as ids."""
    encoder = encoder_from_json(preparation.tokenizer)
    for ids in encode(encoder, text_lines(path, progress, "encoding")):
        writer.append("tokens", ids)


def new_running_text(preparation: Preparation, store: Store) -> Encoded:
    """Another text, in order."""
    return Encoded(TextSplit(store.array("tokens"), preparation.length), labelled=True)
