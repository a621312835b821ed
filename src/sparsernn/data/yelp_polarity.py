"""Yelp review polarity: whole reviews, negative or positive."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file
from sparsernn.data.table_rows import csv_fields
from sparsernn.data.text_classification import Document, TextClassification
from sparsernn.errors import UserError


@dataclass(frozen=True)
class YelpPolarity(TextClassification):
    """560,000 training and 38,000 test reviews of Yelp, negative or positive.

    Source: Zhang, Zhao, LeCun 2015, yelp_review_polarity_csv (class 1 or 2, text; no header).
    """

    origin = "Yelp review polarity (Zhang et al. 2015), train.csv and test.csv without header"
    files = {f"yelp_review_polarity_csv/{part}.csv": "" for part in ("train", "test")}

    def documents(self, folder: Folder) -> Iterator[Document]:
        for part in ("train", "test"):
            path = find_file(self, f"yelp_review_polarity_csv/{part}.csv", folder)
            for fields in csv_fields(path):
                if len(fields) != 2:
                    raise UserError(f"A row of {path} has {len(fields)} fields", "class and text", "get the file again")
                yield Document(part, self.class_number(fields[0], path, first=1), fields[1].replace("\\n", " "))
