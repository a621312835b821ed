"""Movie-review sentences in ten folds."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sparsernn.data.cuts import cut, cut_by_label
from sparsernn.data.files import Folder, find_file, lines
from sparsernn.data.text_classification import Document, TextClassification
from sparsernn.errors import UserError

FOLDS = 10


@dataclass(frozen=True)
class MovieReviews(TextClassification):
    """Film-review sentences: 5,331 + 5,331, negative or positive, in ten folds drawn by the seed.

    One fold tests; of the others a share (the second of `shares`) validates.

    Arguments:
        fold: the fold that tests, 0-9; results are usually means over all ten.
    Source: Pang & Lee 2005, sentence polarity data v1.0 (rt-polarity.pos, rt-polarity.neg, Latin-1).
    """

    origin = "Sentence polarity data v1.0 (Pang & Lee 2005), rt-polarity.{pos,neg}"
    files = {
        "mr/rt-polarity.neg.gz": "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
        "mr/rt-polarity.pos.gz": "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
    }

    length: int = 0
    padding: str = "right"
    cleaning: str = "sentence"
    fold: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fold < FOLDS:
            raise UserError(f"fold is {self.fold}", "a whole number from 0 to 9", "choose the fold that tests")

    def documents(self, folder: Folder) -> Iterator[Document]:
        for label, name in enumerate(("neg", "pos")):
            for line in lines(find_file(self, f"mr/rt-polarity.{name}.gz", folder), encoding="latin1"):
                yield Document("", label, line)

    def divide(self, parts: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        folds = cut(len(labels), (1,) * FOLDS, self.seed)
        rest = np.sort(np.concatenate([rows for number, rows in enumerate(folds) if number != self.fold]))
        train, valid = cut_by_label(labels[rest], (1 - self.shares[1], self.shares[1]), self.seed)
        return {"train": rest[train], "valid": rest[valid], "test": np.sort(folds[self.fold])}

    def note(self, folder: Folder) -> str:
        return f"fold {self.fold} of {FOLDS}"
