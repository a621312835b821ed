"""AG News: topics of news articles."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file, locate
from sparsernn.data.table_rows import csv_fields
from sparsernn.data.text_classification import Document, TextClassification
from sparsernn.errors import UserError

FULL, SUBSET = "ag_news/train.csv.gz", "ag_news/train_subset.csv.gz"


@dataclass(frozen=True)
class AgNews(TextClassification):
    """News articles of four topics: 120,000 (full) or 20,971 (subset) training articles and 7,600 test articles.

    The text is title and description. Figures on the subset are not comparable with published ones.

    Arguments:
        train: "full", "subset", or "auto": full where its file is present.
    Source: Gulli 2005; Zhang, Zhao, LeCun 2015 (train.csv, test.csv).
    """

    origin = "AG News (Zhang et al. 2015), train.csv and test.csv without header"
    files = {
        FULL: "",
        SUBSET: "26a749db21f88c99ecc97091ba45c4c5afc1fd44fe635a0703c492cfb6cfbc74",
        "ag_news/test.csv.gz": "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699",
    }
    choices = TextClassification.choices | {"train": ("auto", "full", "subset")}

    train: str = "auto"

    def label_names(self) -> tuple[str, ...]:
        return "World", "Sports", "Business", "Sci/Tech"

    def documents(self, folder: Folder) -> Iterator[Document]:
        for part, name in (("train", self._train_file(folder)), ("test", "ag_news/test.csv.gz")):
            path = find_file(self, name, folder)
            for fields in csv_fields(path):
                if len(fields) != 3:
                    raise UserError(
                        f"A row of {path} has {len(fields)} fields", "class, title, description", "get the file again"
                    )
                yield Document(part, self.class_number(fields[0], path, first=1), f"{fields[1]} {fields[2]}")

    def _train_file(self, folder: Folder) -> str:
        full = self.train == "full" or (self.train == "auto" and locate(FULL, folder) is not None)
        return FULL if full else SUBSET

    def note(self, folder: Folder) -> str:
        if self._train_file(folder) == FULL:
            return ""
        return "20,971-row subset of the training articles: not comparable with published figures"
