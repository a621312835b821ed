"""Penn Treebank, character by character."""

from collections.abc import Iterator
from dataclasses import dataclass

from sparsernn.data.files import Folder, find_file, open_text
from sparsernn.data.language_modelling import LanguageModelling


@dataclass(frozen=True)
class PtbChar(LanguageModelling):
    """Penn Treebank: 5,017,482 / 393,042 / 442,423 characters, 50 different ones.

    Blanks are written _ and line ends count.

    Source: Penn Treebank as prepared by Mikolov et al. 2012.
    """

    origin = "Penn Treebank, Mikolov's preparation (ptb.char.train.txt, ...valid.txt, ...test.txt)"
    files = {
        "ptb/ptb.char.train.txt.gz": "e313d91425e06c4f0a8fb6e881dcce0c291f2a0e9f4dda54833069b122f91da9",
        "ptb/ptb.char.valid.txt.gz": "21661f63ec355085879458b6524644d4add5573541b4be14fb52ab2e2e995eb8",
        "ptb/ptb.char.test.txt.gz": "1ef5607ac3c463b16e38bfe7900dd3bfc91de5a96e0f21e7eab5188b465b8ebe",
    }

    steps: int = 100

    def tokens(self, part: str, folder: Folder) -> Iterator[str]:
        with open_text(find_file(self, f"ptb/ptb.char.{part}.txt.gz", folder)) as file:
            return iter(file.read()[::2])

    def metric(self) -> str:
        return "bits_per_character"
