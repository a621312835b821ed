"""One Billion Words: shuffled news sentences."""

from dataclasses import dataclass

from sparsernn.data.language_modelling import LanguageModelling

FOLDER = "one_billion_words/1-billion-word-language-modeling-benchmark-r13output"
TRAIN = FOLDER + "/training-monolingual.tokenized.shuffled"
HELD = FOLDER + "/heldout-monolingual.tokenized.shuffled"


@dataclass(frozen=True)
class OneBillionWords(LanguageModelling):
    """About 0.8 billion words of news in 99 training files; sentences have no order between each other.

    Heldout file 1 validates and heldout file 0 tests, as usual; every line ends in <eos>.

    Arguments:
        shards: training files to read, from the first on; whatever of the 99 is absent is an error.
    Source: Chelba et al. 2013, One Billion Word Benchmark.
    """

    origin = "One Billion Word Benchmark (Chelba et al. 2013), the unpacked r13 output"
    files = {
        f"{TRAIN}/news.en-00001-of-00100": "",
        f"{HELD}/news.en.heldout-00001-of-00050": "",
        f"{HELD}/news.en.heldout-00000-of-00050": "",
    }

    vocabulary: int = 100_000
    shards: int = 99

    tokens = LanguageModelling.words

    def names(self, part: str) -> list[str]:
        if part == "train":
            return [f"{TRAIN}/news.en-{number:05d}-of-00100" for number in range(1, self.shards + 1)]
        return [f"{HELD}/news.en.heldout-{1 if part == 'valid' else 0:05d}-of-00050"]
