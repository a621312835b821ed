"""What all tasks of labelled texts share: options of the preparation, splits, encoding in streams."""

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from sparsernn.data.cuts import cut_by_label
from sparsernn.data.encodings import NEEDED, encodings, find_encoder
from sparsernn.data.files import data_folder
from sparsernn.data.near_duplicates import Shingles, kept_apart
from sparsernn.data.splits import SequenceSplit
from sparsernn.data.task import PARTS, Folder, Loaded, Task
from sparsernn.data.text import Encoder, WordEncoder, encode, learn_encoder
from sparsernn.data.word_vectors import word_vectors
from sparsernn.errors import UserError
from sparsernn.typed import IF_GIVEN

ENCODED = 128


class Document(NamedTuple):
    """One labelled text; `part` is "train", "valid" or "test", or "" where the data set has no split of its own."""

    part: str
    label: int
    text: str


@dataclass(frozen=True)
class TextClassification(Task):
    """Labelled texts as sequences of word ids.

    Words are counted in the training rows only, or, where they come with vectors, in all rows; id 0 is padding and id 1
    an unknown word.

    Arguments:
        vocabulary: ids in all: padding, the unknown word and the most frequent words.
        length: keep this many tokens of a text; 0 keeps all.
        keep: "last" or "first": which of them.
        padding: "left", every text to exactly `length` tokens, which the network reads, as Keras does; or "right",
            where batches carry lengths and texts of like length share a batch.
        cleaning: rule of `sparsernn.data.text.learn_encoder`.
        unknown: "token" keeps unknown words as <unk>, "drop" leaves them out.
        marks: put <s> and </s> around every text.
        shares: parts of train, valid and test where the data set has no split of its own; where only a validation
            part is missing, the second number is its share of the training rows.
        seed: of the split.
        vectors: a file of word vectors under the data folder, for networks that begin with them; each is scaled to
            length 1, and words that the file lacks get random ones. "" is none.
        encoder: a Hugging Face encoder whose frozen vectors of the first `length` tokens (0: 128) the network reads in
            place of words: a folder, absolute or under the data folder, or an installed package that carries one.
            They are computed once, which takes minutes, and kept in the cache folder. "" is none.
        near_duplicates: "keep" them, or "drop" training and validation texts that are nearly the same as one of a
            later part (`near_duplicates.Shingles`); the test part is the same for both.
    """

    choices: ClassVar[dict[str, Sequence[object]]] = {
        "keep": ("first", "last"),
        "padding": ("left", "right"),
        "unknown": ("token", "drop"),
        "near_duplicates": ("keep", "drop"),
    }

    vocabulary: int = 20_000
    length: int = 100
    keep: str = "last"
    padding: str = "left"
    cleaning: str = "keras"
    unknown: str = "token"
    marks: bool = False
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    vectors: str = field(default="", kw_only=True, metadata=IF_GIVEN)
    encoder: str = field(default="", kw_only=True, metadata=IF_GIVEN)
    near_duplicates: str = field(default="keep", kw_only=True, metadata=IF_GIVEN)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 0:
            raise UserError(f"length is {self.length}", "0 (the whole text) or more tokens", "give another length")
        if len(self.shares) != 3 or min(self.shares) < 0 or self.shares[0] <= 0:
            raise UserError(
                f"shares is {self.shares}",
                "three shares that are not negative, the first above 0",
                "give shares of train, valid and test such as 0.8, 0.1, 0.1",
            )

    @abc.abstractmethod
    def documents(self, folder: Folder) -> Iterator[Document]:
        """Stream the documents in the order of the files; called several times."""

    def class_number(self, written: str, path: Path, first: int = 0) -> int:
        """The class of a label that is a number in the file, counted from `first`; another one is a UserError."""
        classes = len(self.label_names())
        number = int(written) - first if written.strip().isdigit() else -1
        if not 0 <= number < classes:
            raise UserError(
                f"The file {path} holds the label {written[:20]!r}",
                f"{first} to {first + classes - 1}, as in: {self.origin}",
                "get the file again",
            )
        return number

    def other_files(self, folder: Folder) -> dict[str, Path]:
        """The word vectors, or the files of the encoder."""
        paths = {self.vectors: data_folder(folder) / self.vectors} if self.vectors else {}
        if not self.encoder:
            return paths
        encoder = find_encoder(self.encoder, data_folder(folder))
        return paths | {f"{self.encoder}/{name}": encoder / name for name in NEEDED}

    def label_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers."""
        return "negative", "positive"

    def note(self, folder: Folder) -> str:
        """What a reader of a figure must know about the data that was found."""
        return ""

    def _noted(self, folder: Folder) -> str:
        dropped = "training texts without near-duplicates of others" if self.near_duplicates == "drop" else ""
        return "; ".join(filter(None, (self.note(folder), dropped)))

    def load(self, folder: Folder = None) -> Loaded:
        """Read the files three times as a stream: labels, words, ids."""
        parts, labels = [], []
        for document in self.documents(folder):
            parts.append(document.part)
            labels.append(document.label)
        targets = np.array(labels, np.int64)
        rows = self.divide(np.array(parts), targets)
        if self.near_duplicates == "drop":
            rows = kept_apart(Shingles.of(self._texts(folder)), rows)
        if self.encoder:
            return self._contextual(folder, targets, rows)
        learned = np.isin(np.arange(len(targets)), np.arange(len(targets)) if self.vectors else rows["train"])
        before, after = self._ends
        texts = compress(self._texts(folder), learned)
        encoder = learn_encoder(texts, self.vocabulary, self.cleaning, before=before, after=after)
        words = encoder.words
        values, offsets = self._ids(encoder, self._texts(folder))
        splits = (self._split(values, offsets, targets, rows[part]) for part in PARTS)
        return Loaded.of_classes(
            splits,
            self.label_names(),
            inputs=len(words),
            vocabulary=words,
            note=self._noted(folder),
            vectors=word_vectors(data_folder(folder) / self.vectors, words, normalise=True) if self.vectors else None,
        )

    def _contextual(self, folder: Folder, targets: np.ndarray, rows: dict[str, np.ndarray]) -> Loaded:
        encoder = find_encoder(self.encoder, data_folder(folder))
        store = encodings(self._texts(folder), encoder, length=self.length or ENCODED)
        values, offsets = store.array("vectors"), store.array("offsets")
        splits = (SequenceSplit(values, offsets, targets, rows=rows[part], bucketed=True) for part in PARTS)
        return Loaded.of_classes(splits, self.label_names(), inputs=values.shape[1], note=self._noted(folder))

    def encoded(self, texts: Iterable[str], words: Sequence[str]) -> SequenceSplit:
        """Other texts, prepared alike, without labels. Raises: UserError for byte pairs, which are more than words."""
        if self.cleaning == "bpe":
            raise UserError("The task cuts texts into byte pairs", "a task whose tokens are words", "take another run")
        encoder = WordEncoder(self.cleaning, list(words), *self._ends)
        values, offsets = self._ids(encoder, texts)
        return self._split(values, offsets, np.zeros(len(offsets) - 1, np.int64), None)

    def _texts(self, folder: Folder) -> Iterator[str]:
        return (document.text for document in self.documents(folder))

    def _ids(self, encoder: Encoder, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts one after the other, and where each text begins."""
        ids = list(encode(encoder, texts, length=self.length, keep=self.keep, unknown=self.unknown))
        return np.concatenate(ids), np.cumsum([0, *map(len, ids)])

    @property
    def _ends(self) -> tuple[str, str]:
        return ("<s>", "</s>") if self.marks else ("", "")

    def _split(
        self, values: np.ndarray, offsets: np.ndarray, targets: np.ndarray, rows: np.ndarray | None
    ) -> SequenceSplit:
        right = self.padding == "right"
        return SequenceSplit(
            values,
            offsets,
            targets,
            rows=rows,
            padding=self.padding,
            bucketed=right,
            least=1 if right else max(1, self.length),
        )

    def divide(self, parts: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Row numbers of train, valid and test; every class has the same share in each part that is drawn."""
        rows = {part: np.flatnonzero(parts == part) for part in (*PARTS, "")}
        loose = rows.pop("")
        if len(loose):
            cuts = cut_by_label(labels[loose], self.shares, self.seed)
            return {part: loose[places] for part, places in zip(PARTS, cuts, strict=True)}
        if not len(rows["valid"]):
            train, share = rows["train"], self.shares[1]
            learned, validated = cut_by_label(labels[train], (1 - share, share), self.seed)
            rows |= {"train": train[learned], "valid": train[validated]}
        return rows
