"""Stanford Sentiment Treebank: sentences of film reviews."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file, lines
from sparsernn.data.text_classification import Document, TextClassification
from sparsernn.errors import UserError

PARTS = (("train", "train"), ("valid", "dev"), ("test", "test"))
PHRASES = "sst/phrases_train.tsv.gz"


@dataclass(frozen=True)
class Sst2(TextClassification):
    """Film-review sentences: 6,920 / 872 / 1,821, negative or positive; or 8,544 / 1,101 / 2,210 in five classes.

    Arguments:
        phrases: train on the 67,349 phrases of the training sentences (two classes only).
        fine: five classes instead of two.
    Source: Socher et al. 2013, Stanford Sentiment Treebank; phrases: the training part of SST-2 in GLUE.
    """

    origin = "Stanford Sentiment Treebank (Socher et al. 2013), stsa.{binary,fine}.{train,dev,test}"
    files = {
        "sst/phrases_train.tsv.gz": "8621df47b79e9b3fa010405ef4dd506cbf483319cf851f20f2b6773f61d387b5",
        "sst/stsa.binary.dev.gz": "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
        "sst/stsa.binary.test.gz": "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
        "sst/stsa.binary.train.gz": "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
        "sst/stsa.fine.dev.gz": "b2f76c62b960f9fda5c6d751edb125abab4f878eb94a8754239b7f4af647f4c3",
        "sst/stsa.fine.test.gz": "0e2ebb450c231f7b3d67fc932066e7bb26ae7bad8c88488f45ed44ef02eb3c73",
        "sst/stsa.fine.train.gz": "9b52b5f686ed438d4d0274c385369251b3d579b578fddd340ba8a9bae2ca4bee",
    }

    length: int = 0
    padding: str = "right"
    cleaning: str = "sentence"
    phrases: bool = False
    fine: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phrases and self.fine:
            raise UserError("phrases and fine are both set", "phrases with two classes", "leave one of them out")

    def label_names(self) -> tuple[str, ...]:
        two, five = ("negative", "positive"), ("very negative", "negative", "neutral", "positive", "very positive")
        return five if self.fine else two

    def documents(self, folder: Folder) -> Iterator[Document]:
        for part, name in PARTS:
            if part == "train" and self.phrases:
                yield from self._phrases(folder)
                continue
            path = find_file(self, f"sst/stsa.{'fine' if self.fine else 'binary'}.{name}.gz", folder)
            for line in lines(path):
                yield Document(part, self.class_number(line[:1], path), line[2:])

    def _phrases(self, folder: Folder) -> Iterator[Document]:
        path = find_file(self, PHRASES, folder)
        rows = lines(path)
        next(rows, None)
        for line in rows:
            text, _, label = line.rpartition("\t")
            yield Document("train", self.class_number(label, path), text)
