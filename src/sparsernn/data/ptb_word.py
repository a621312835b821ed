"""Penn Treebank, word by word."""

from dataclasses import dataclass

from sparsernn.data.language_modelling import LanguageModelling


@dataclass(frozen=True)
class PtbWord(LanguageModelling):
    """Penn Treebank: 929,589 / 73,760 / 82,430 words, 10,000 different ones.

    Arguments:
        end_of_sentence: put <eos> at every line end; without it perplexities are not comparable with the usual ones.
    Source: Penn Treebank as prepared by Mikolov et al. 2010.
    """

    origin = "Penn Treebank, Mikolov's preparation (ptb.train.txt, ptb.valid.txt, ptb.test.txt)"
    files = {
        "ptb/ptb.train.txt.gz": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        "ptb/ptb.valid.txt.gz": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        "ptb/ptb.test.txt.gz": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    }

    end_of_sentence: bool = True

    tokens = LanguageModelling.words

    def note(self) -> str:
        missing = "" if self.end_of_sentence else "no <eos>: not comparable with usual perplexities"
        return "; ".join(filter(None, (super().note(), missing)))
