"""The labelled Amazon reviews of Blitzer et al. 2007."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.amazon import DOMAINS
from sparsernn.data.files import Folder, find_file
from sparsernn.data.table_rows import csv_records
from sparsernn.data.text_classification import Document, TextClassification


@dataclass(frozen=True)
class AmazonBlitzer(TextClassification):
    """Amazon reviews of four domains: 2,000 each, half positive (4-5 stars), half negative (1-2 stars).

    The text is title and review.

    Arguments:
        domain: "books", "dvd", "electronics", "kitchen" or "pooled", all four together.
    Source: Blitzer, Dredze, Pereira 2007, the labelled reviews.
    """

    origin = "Multi-domain sentiment data (Blitzer et al. 2007), as CSV with label, rating, title, text"
    files = {
        "amazon_blitzer/books.csv.gz": "4df4558601a049fca13979f4a766af6310babd22a329fa33aadfd843e5725999",
        "amazon_blitzer/dvd.csv.gz": "e244f06065b615ce0da4c2f2a87fec3d3c6d43d3889c21754116d0a24bc558e0",
        "amazon_blitzer/electronics.csv.gz": "93055cd37df2bec58ecacb15ce9813837b7cc08a1792d7bbd3a105802547b886",
        "amazon_blitzer/kitchen.csv.gz": "90d901a5aa297993a0d0bae8df95e93ca533c31f54799456edeebe280e0aef54",
    }
    choices = TextClassification.choices | {"domain": (*DOMAINS, "pooled")}

    length: int = 0
    padding: str = "right"
    cleaning: str = "sentence"
    domain: str = "books"

    def documents(self, folder: Folder) -> Iterator[Document]:
        for domain in DOMAINS if self.domain == "pooled" else (self.domain,):
            path = find_file(self, f"amazon_blitzer/{domain}.csv.gz", folder)
            for record in csv_records(path, ("label", "title", "text")):
                yield Document("", self.class_number(record["label"], path), f"{record['title']}. {record['text']}")

    def note(self, folder: Folder) -> str:
        return "some reviews also occur in the task amazon; seeded split"
