"""Amazon Fine Food: reviews with one to five stars."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file, locate
from sparsernn.data.table_rows import csv_records
from sparsernn.data.text_classification import Document, TextClassification

FULL, SAMPLE = "amazon_fine_food/Reviews.csv", "amazon_fine_food/fine_food_reviews_1k.csv.gz"


@dataclass(frozen=True)
class AmazonFineFood(TextClassification):
    """568,454 food reviews with one to five stars, or a sample of 1,000; no official split.

    The text is summary and review.

    Arguments:
        reviews: "full", "sample", or "auto": full where its file is present.
    Source: McAuley & Leskovec 2013 (Reviews.csv).
    """

    origin = "Amazon Fine Food Reviews (McAuley & Leskovec 2013), Reviews.csv"
    files = {
        FULL: "",
        SAMPLE: "d39e4c7a0b0e61c7ecdbafa86e7753a011c82067560b2bf8eba0aaaba7025ddc",
    }
    choices = TextClassification.choices | {"reviews": ("auto", "full", "sample")}

    reviews: str = "auto"

    def label_names(self) -> tuple[str, ...]:
        return "1", "2", "3", "4", "5"

    def documents(self, folder: Folder) -> Iterator[Document]:
        path = find_file(self, self._file(folder), folder)
        for record in csv_records(path, ("Score", "Summary", "Text")):
            label = self.class_number(record["Score"], path, first=1)
            yield Document("", label, f"{record['Summary']} {record['Text']}")

    def _file(self, folder: Folder) -> str:
        full = self.reviews == "full" or (self.reviews == "auto" and locate(FULL, folder) is not None)
        return FULL if full else SAMPLE

    def note(self, folder: Folder) -> str:
        return "seeded split" + ("" if self._file(folder) == FULL else "; sample of 1,000 reviews")
