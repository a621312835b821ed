"""Sanders corpus: tweets on four companies."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file
from sparsernn.data.table_rows import csv_records
from sparsernn.data.text_classification import Document, TextClassification

CLASSES = {
    "four": ("irrelevant", "negative", "neutral", "positive"),
    "three": ("negative", "neutral", "positive"),
    "two": ("negative", "positive"),
}


@dataclass(frozen=True)
class SandersTwitter(TextClassification):
    """5,113 tweets on four topics: 1,689 irrelevant, 572 negative, 2,333 neutral, 519 positive; no official split.

    Arguments:
        classes: "four" (all tweets), "three" (without irrelevant ones) or "two" (negative and positive, 1,091 tweets).
    Source: Sanders 2011, Twitter sentiment corpus.
    """

    origin = "Sanders Twitter sentiment corpus (2011), full-corpus.csv with the tweets' text"
    files = {
        "sanders_twitter/full-corpus.csv.gz": "19bf91b49bbf852eae402210489c0d87071ad11e067b6bf351660db19435c0c8",
    }
    choices = TextClassification.choices | {"classes": tuple(CLASSES)}

    classes: str = "four"

    def label_names(self) -> tuple[str, ...]:
        return CLASSES[self.classes]

    def documents(self, folder: Folder) -> Iterator[Document]:
        names = self.label_names()
        path = find_file(self, "sanders_twitter/full-corpus.csv.gz", folder)
        for record in csv_records(path, ("Sentiment", "TweetText")):
            if record["Sentiment"] in names:
                yield Document("", names.index(record["Sentiment"]), record["TweetText"])

    def note(self, folder: Folder) -> str:
        return f"{self.classes} classes; seeded split, there is no official one"
