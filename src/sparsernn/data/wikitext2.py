"""WikiText-2: the text of Wikipedia articles, word by word."""

from dataclasses import dataclass

from sparsernn.data.language_modelling import LanguageModelling


@dataclass(frozen=True)
class WikiText2(LanguageModelling):
    """WikiText-2: 2,088,628 / 217,646 / 245,569 words with <eos> at every line end, 33,278 different ones.

    Source: Merity et al. 2016, WikiText-2 (wiki.{train,valid,test}.tokens).
    """

    origin = "WikiText-2 (Merity et al. 2016), wiki.{train,valid,test}.tokens"
    files = {
        "wikitext-2/train.txt.gz": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        "wikitext-2/valid.txt.gz": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        "wikitext-2/test.txt.gz": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    }

    tokens = LanguageModelling.words
