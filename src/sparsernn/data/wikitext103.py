"""WikiText-103: a hundred million words of Wikipedia articles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sparsernn.data.files import find_file, lines
from sparsernn.data.language_modelling import LanguageModelling, words_of_lines


@dataclass(frozen=True)
class WikiText103(LanguageModelling):
    """WikiText-103: 103,227,021 / 217,646 / 245,569 words with <eos> at every line end, 267,735 different ones.

    Source: Merity et al. 2016, WikiText-103 (wiki.{train,valid,test}.tokens).
    """

    origin: ClassVar[str] = "WikiText-103 (Merity et al. 2016), wiki.{train,valid,test}.tokens"
    files: ClassVar[dict[str, str]] = {f"wikitext-103/wiki.{part}.tokens": "" for part in ("train", "valid", "test")}

    def tokens(self, part: str, folder: Path | str | None) -> Iterator[str]:
        return words_of_lines(lines(find_file(self, f"wikitext-103/wiki.{part}.tokens", folder)), end=True)
