"""Short sentences of Yelp reviews."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file, lines
from sparsernn.data.text_classification import Document, TextClassification


@dataclass(frozen=True)
class YelpSentences(TextClassification):
    """Sentences of Yelp reviews: 63,483 to train on, 126,670 to test on, of at most 15 words; 60 % are positive.

    Training reads the original development files, of which a tenth validates; the original training files are not used.

    Source: Shen et al. 2017 (sentiment.{dev,test}.{0,1}); the label is that of the whole review.
    """

    origin = "Yelp sentences of Shen et al. 2017, sentiment.{dev,test}.{0,1}"
    files = {
        "yelp_sentences/sentiment.dev.0.gz": "405ef6d4bfbc8bb92c3c55b496f315069cb5edb49ed34a07b1206341b83c344b",
        "yelp_sentences/sentiment.dev.1.gz": "3509f6573411bbda2d5c071ed72ad276c12356c15c06205b8fdf74b217970c61",
        "yelp_sentences/sentiment.test.0.gz": "b7466e8859e9948892a859af7938a82c801c99b69f884014082fd072a155bbf2",
        "yelp_sentences/sentiment.test.1.gz": "a66e0ec3f0e1230ad4d2c822750a381cf6d99a99fa9b5ae79546f21ff79ed5c3",
    }

    length: int = 0
    padding: str = "right"
    cleaning: str = "blanks"

    def documents(self, folder: Folder) -> Iterator[Document]:
        for part, name in (("train", "dev"), ("test", "test")):
            for label in (0, 1):
                for line in lines(find_file(self, f"yelp_sentences/sentiment.{name}.{label}.gz", folder)):
                    yield Document(part, label, line)

    def note(self, folder: Folder) -> str:
        return "trained on the original development files"
