"""WikiText-103: a hundred million words of Wikipedia articles."""

from dataclasses import dataclass

from sparsernn.data.language_modelling import LanguageModelling


@dataclass(frozen=True)
class WikiText103(LanguageModelling):
    """WikiText-103: 103,227,021 / 217,646 / 245,569 words with <eos> at every line end, 267,735 different ones.

    Source: Merity et al. 2016, WikiText-103 (wiki.{train,valid,test}.tokens).
    """

    origin = "WikiText-103 (Merity et al. 2016), wiki.{train,valid,test}.tokens"
    files = {f"wikitext-103/wiki.{part}.tokens": "" for part in ("train", "valid", "test")}

    tokens = LanguageModelling.words
