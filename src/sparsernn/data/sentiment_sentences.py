"""Sentences of reviews from three sites."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file, lines
from sparsernn.data.text_classification import Document, TextClassification

FILES = {"imdb": "imdb_labelled", "yelp": "yelp_labelled", "amazon": "amazon_cells_labelled"}
SUMS = {
    "amazon": "47003fc0a0d4840b00e96e715b6189bad09e7443a3da41c4cbe12ffc79f86ae3",
    "imdb": "c662b9360c1652babb990d164835af12aa105db7991f1fdb19038115f0e93de8",
    "yelp": "b565b1eeb864d76842588c3a256731b08bcdd9faf6de507bfe211a96f8b81912",
}


@dataclass(frozen=True)
class SentimentSentences(TextClassification):
    """Sentences of reviews of three sites: 3 x 1,000, half negative, half positive; no official split.

    Arguments:
        site: "imdb", "yelp", "amazon" or "pooled", all three together.
    Source: Kotzias et al. 2015, Sentiment Labelled Sentences (UCI).
    """

    origin = "Sentiment Labelled Sentences (Kotzias et al. 2015, UCI)"
    files = {f"sentiment_sentences/{FILES[site]}.txt.gz": checksum for site, checksum in SUMS.items()}
    choices = TextClassification.choices | {"site": (*FILES, "pooled")}

    length: int = 0
    padding: str = "right"
    cleaning: str = "sentence"
    site: str = "pooled"

    def documents(self, folder: Folder) -> Iterator[Document]:
        for name in FILES.values() if self.site == "pooled" else (FILES[self.site],):
            path = find_file(self, f"sentiment_sentences/{name}.txt.gz", folder)
            for line in filter(None, lines(path)):
                text, _, label = line.rpartition("\t")
                yield Document("", self.class_number(label.strip(), path), text)

    def note(self, folder: Folder) -> str:
        return f"{self.site}; seeded split, there is no official one"
