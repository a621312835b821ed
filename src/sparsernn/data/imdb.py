"""Large Movie Review Dataset: sentiment of whole reviews."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file
from sparsernn.data.table_rows import csv_records
from sparsernn.data.text_classification import Document, TextClassification


@dataclass(frozen=True)
class Imdb(TextClassification):
    """25,000 + 25,000 movie reviews, negative or positive.

    By default as Keras' tokenizer prepares it: lower case, punctuation removed, the 20,000 most frequent words, others
    left out, the last 100 of them, padded on the left. Marks of line breaks (`<br />`) are no words. A tenth of the
    training reviews is held back for validation.

    Source: Maas et al. 2011, Large Movie Review Dataset.
    """

    origin = "Large Movie Review Dataset (Maas et al. 2011), as CSV with columns label, rating, id, text"
    files = {
        "imdb/train.csv.gz": "3b9ea9ea967d4492154b1b0a21a971da6d8d2ccb258becfef4f1087fc1495399",
        "imdb/test.csv.gz": "a455968c7e172c976831ed9fca039f58fcc34837ff011cab5edd52a47ce98857",
    }

    unknown: str = "drop"

    def documents(self, folder: Folder) -> Iterator[Document]:
        for part in ("train", "test"):
            path = find_file(self, f"imdb/{part}.csv.gz", folder)
            for record in csv_records(path, ("label", "text")):
                yield Document(part, self.class_number(record["label"], path), record["text"].replace("<br />", " "))
