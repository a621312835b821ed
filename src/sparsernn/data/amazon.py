"""Amazon product reviews of four domains."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file, lines
from sparsernn.data.text_classification import Document, TextClassification

DOMAINS = ("books", "dvd", "electronics", "kitchen")


@dataclass(frozen=True)
class Amazon(TextClassification):
    """Amazon reviews of four domains: 6,000 each, half positive (4-5 stars), half negative (1-2 stars).

    Reviews that occur twice are dropped first. There is no official split: by default a seeded one of 40 / 10 / 50 %.

    Arguments:
        domain: "books", "dvd", "electronics", "kitchen" or "pooled", all four together.
        deduplicate: drop reviews whose text occurred before.
    Source: drawn from the unprocessed data of Blitzer, Dredze, Pereira 2007.
    """

    origin = "Multi-domain sentiment data (Blitzer et al. 2007), a review a line"
    files = {
        "amazon/books.negative.txt.gz": "d573ed56a91d0f736b52e1ff4bf16c60abcf071652a956359a783ff53cd0d2fc",
        "amazon/books.positive.txt.gz": "8ebf0d1cf6c863cb82948ff9f57fab73d416f009a480094cd3279f21580cff66",
        "amazon/dvd.negative.txt.gz": "971f0d33e1dbe19f4fadf02aac3af03b553714cffd9608652dc03a53b8d60215",
        "amazon/dvd.positive.txt.gz": "1b29d9c42ef636f504733c8bac50ff93ecfcd9997da63b3f82b155bc57406ed3",
        "amazon/electronics.negative.txt.gz": "983322988bcf4e1e45d1f8be8e9b68c1522e0d22a034a1b9e2fb51ee9b9bb15e",
        "amazon/electronics.positive.txt.gz": "a2383072785c8349483af682d3798f1919809382cc76438d59ff44a42e6acd79",
        "amazon/kitchen.negative.txt.gz": "51c2b6a4781b952b7917f92b5934e7eda64e5d28bea9601888effa9428fa898a",
        "amazon/kitchen.positive.txt.gz": "a3d57ede0e73cde23ba7d8a0234fc277f17b1bb9ccfb1094532ff4c70a915561",
    }
    choices = TextClassification.choices | {"domain": (*DOMAINS, "pooled")}

    length: int = 0
    padding: str = "right"
    cleaning: str = "sentence"
    shares: tuple[float, float, float] = (0.4, 0.1, 0.5)
    domain: str = "books"
    deduplicate: bool = True

    def documents(self, folder: Folder) -> Iterator[Document]:
        seen: set[str] = set()
        for domain in DOMAINS if self.domain == "pooled" else (self.domain,):
            for label, name in enumerate(self.label_names()):
                for text in lines(find_file(self, f"amazon/{domain}.{name}.txt.gz", folder)):
                    if not (self.deduplicate and text in seen):
                        seen.add(text)
                        yield Document("", label, text)

    def note(self, folder: Folder) -> str:
        return "seeded split of " + " / ".join(f"{share:.0%}" for share in self.shares)
