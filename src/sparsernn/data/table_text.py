"""A user's table of texts and labels, or a plain text file, as token ids on disk."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import compress, islice

import numpy as np

from sparsernn.data.csv_file import text_lines
from sparsernn.data.encoders import encoder_from_json
from sparsernn.data.labels import LabelReader, note_labels
from sparsernn.data.preparation import Columns, Encoded, Preparation, require_parts
from sparsernn.data.spelling import Spelling
from sparsernn.data.store import Store, StoreWriter
from sparsernn.data.table_columns import see
from sparsernn.data.table_options import TableOptions
from sparsernn.data.table_parts import cut_rows, row_groups, without_copies
from sparsernn.data.table_rows import Progress, Table, require_columns, rows_of
from sparsernn.data.table_series import loaded_examples, with_scale, write_targets
from sparsernn.data.task import PARTS, Loaded
from sparsernn.data.text import encode, learn_encoder
from sparsernn.errors import UserError

TEXTS_TO_LEARN_FROM = 200_000
LEAST_TOKENS = 100
END = "<eos>"


def build_texts(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """Read the table several times as a stream: labels, copies, words, ids."""
    table = task.table(progress)
    require_columns(table.path, [*filter(None, (task.label, task.text, task.id, task.groups))], table.names)
    table.spelling, _ = see(table, [task.label] if task.labels == "numbers" else [])
    reader = LabelReader(task.label, task.labels, table.spelling.decimal, gaps=task.missing == "drop")
    for rows in table.rows([task.label, task.text], "reading labels"):
        reader.add(rows)
    labels, targets = finished = reader.finish()
    parts = cut_rows(task, targets, row_groups(task, table))
    remarks: dict[str, None] = {}
    note_labels(finished, remarks)
    parts = without_copies(task, parts, _texts(table, task.text, "comparing texts"), remarks)
    require_parts(parts, task.path, "rows", task.groups)
    learned = np.zeros(len(targets), bool)
    learned[parts[0][:: -(-len(parts[0]) // TEXTS_TO_LEARN_FROM)]] = True
    texts = compress(_texts(table, task.text, "counting words"), learned)
    encoder = learn_encoder(texts, task.vocabulary, task.tokenizer, least=2)
    columns: Columns = {"text": task.text, "label": task.label, "id": task.id}
    fitted = Preparation("text", columns, labels, tokenizer=encoder.to_json(), length=task.length or 200)
    fitted = replace(fitted, missing=task.missing, spelling=table.spelling)
    fitted = with_scale(fitted, targets, parts[0])
    offsets = _write_texts(fitted, _texts(table, task.text, "encoding"), writer)
    _note_empty(offsets, parts, task, remarks)
    preparation = replace(fitted, remarks=tuple({**table.remarks, **remarks}))
    write_targets(writer, preparation, targets, parts)
    return preparation


def _note_empty(offsets: np.ndarray, parts: list[np.ndarray], task: TableOptions, remarks: dict[str, None]) -> None:
    """Add a remark on texts without words. Raises: UserError if no other would train."""
    empty = np.diff(offsets) == 0
    if empty[parts[0]].all():
        raise UserError(
            f"Column {task.text!r} of {task.path} holds no words in any row that would train",
            "texts",
            "choose another column for --text",
        )
    if empty.any():
        remarks[f"{int(empty.sum()):,} of {rows_of(len(empty))} have no text; they are read as they are"] = None


def _texts(table: Table, column: str, what: str) -> Iterator[str]:
    for rows in table.rows([column], what):
        yield from rows.texts(column)


def _write_texts(preparation: Preparation, texts: Iterator[str], writer: StoreWriter) -> np.ndarray:
    """Append the ids of all texts to "tokens", and where each begins to "offsets"."""
    encoder = encoder_from_json(preparation.tokenizer)
    lengths = [0]
    for ids in encode(encoder, texts, length=preparation.length):
        writer.append("tokens", ids)
        lengths.append(len(ids))
    offsets = np.cumsum(lengths)
    writer.append("offsets", offsets)
    return offsets


def load_texts(task: TableOptions, store: Store, preparation: Preparation) -> Loaded:
    """The splits of a prepared table of texts."""
    from sparsernn.data.splits import SequenceSplit

    arrays = (store.array("tokens"), store.array("offsets"), store.array("targets"))
    splits = [SequenceSplit(*arrays, rows=store.array(part), bucketed=True) for part in PARTS]
    words = encoder_from_json(preparation.tokenizer).words
    return loaded_examples(task, splits, preparation, inputs=len(words), vocabulary=words)


def write_new_texts(preparation: Preparation, table: Table, writer: StoreWriter) -> Encoded:
    """Another file's texts as ids, with its labels where it has them."""
    text, label = preparation.columns.get("text", ""), preparation.columns.get("label", "")
    name = id_column(preparation, table)
    faults: dict[int, str] = {}
    targets: list[np.ndarray] = []
    names: list[str] = []
    done = 0

    def texts() -> Iterator[str]:
        nonlocal done
        for rows in table.rows([text, *(one for one in (label, name) if one in table.names)], "encoding"):
            if label in table.names:
                targets.append(preparation.class_numbers(rows))
            names.extend(rows.texts(name) if name is not None else ())
            faults.update({done + row: fault for row, fault in (rows.faults or {}).items()})
            done += len(rows)
            yield from rows.texts(text)

    offsets = _write_texts(preparation, texts(), writer)
    told = tuple(table.remarks)
    every = np.concatenate(targets) if targets else None
    return Encoded("text", np.zeros(0), offsets[:-1], offsets[1:], every, names, faults=faults, remarks=told)


def id_column(preparation: Preparation, table: Table) -> str | None:
    """The column whose values stand beside predictions: the one told in training, or one that is called id."""
    told = preparation.columns.get("id", "")
    if told and told in table.names:
        return told
    used = (preparation.columns.get("text"), preparation.columns.get("label"))
    first = [""] if table.names[0] == "" and table.names.count("") == 1 else []  # as pandas writes an index
    return next((name for name in [*table.names, *first] if name.lower() in ("id", *first) and name not in used), None)


def build_running_text(task: TableOptions, writer: StoreWriter, progress: Progress) -> Preparation:
    """Read a text file three times as a stream: lines, words, ids; the parts follow each other in the file."""
    spelled = task.encoding
    count = sum(1 for _ in text_lines(task.path, progress, "reading", spelled))
    ends = np.rint(np.cumsum(task.shares) / sum(task.shares) * count).astype(int)
    learned = islice(text_lines(task.path, progress, "counting words", spelled), int(ends[0]))
    encoder = learn_encoder(learned, task.vocabulary, task.tokenizer, least=2, after=END)
    steps = task.length or (100 if task.tokenizer == "characters" else 35)
    spelling = Spelling(encoding=spelled)
    preparation = Preparation("language_model", {}, tokenizer=encoder.to_json(), length=steps, spelling=spelling)
    counts = dict.fromkeys(PARTS, 0)
    for number, ids in enumerate(encode(encoder, text_lines(task.path, progress, "encoding", spelled))):
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
    from sparsernn.data.splits import TextSplit

    words = encoder_from_json(preparation.tokenizer).words
    splits = (TextSplit(store.array(part), preparation.length) for part in PARTS)
    metric = "bits_per_character" if task.tokenizer == "characters" else "perplexity"
    return Loaded.of_text(splits, words, metric=metric, note=task.note())


def write_new_running_text(preparation: Preparation, table: Table, writer: StoreWriter) -> Encoded:
    """Another text file as ids, in order."""
    encoder, count = encoder_from_json(preparation.tokenizer), 0
    for ids in encode(encoder, text_lines(table.path, encoding=table.spelling.encoding)):
        writer.append("tokens", ids)
        count += len(ids)
    ends = np.array([0, count])
    return Encoded("language_model", np.zeros(0), ends[:1], ends[1:], steps=preparation.length)
