"""Yelp Dataset Challenge: reviews with one to five stars."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from sparsernn.data.files import Folder, find_file, lines
from sparsernn.data.text_classification import Document, TextClassification
from sparsernn.errors import UserError
from sparsernn.reading import parsed

FILE = "yelp_2018/yelp_academic_dataset_review.json"


@dataclass(frozen=True)
class Yelp2018(TextClassification):
    """Reviews of the Yelp Dataset Challenge with their stars; no official split.

    Arguments:
        limit: read this many reviews from the start of the file; 0 reads all, which takes 4 bytes a token.
    Source: Yelp Dataset Challenge 2018, one JSON object with `stars` and `text` a line.
    """

    origin = "Yelp Dataset Challenge 2018, yelp_academic_dataset_review.json"
    files = {FILE: ""}

    limit: int = 0

    def label_names(self) -> tuple[str, ...]:
        return "1", "2", "3", "4", "5"

    def documents(self, folder: Folder) -> Iterator[Document]:
        path = find_file(self, FILE, folder)
        for number, line in enumerate(islice(lines(path), self.limit or None), 1):
            try:
                review = parsed(line)
                stars, text = str(int(review["stars"])), str(review["text"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UserError(
                    f"Line {number} of {path} is not a review: {error}",
                    "a JSON object with stars and text",
                    "get the file again",
                ) from error
            yield Document("", self.class_number(stars, path, first=1), text)

    def note(self, folder: Folder) -> str:
        return "seeded split" + (f", first {self.limit} reviews" if self.limit else "")
