"""Text to token ids: cleaning rules, the most frequent words, byte pairs (Hugging Face tokenizers)."""

from __future__ import annotations

import abc
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from sparsernn.errors import UserError, needs_package
from sparsernn.typed import choose

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, UNKNOWN = 0, 1
TOKENIZER_ERRORS = (Exception,)
"""What the package tokenizers raises is of no kind of its own."""
SPECIALS = ("<pad>", "<unk>")
TEXTS_AT_ONCE = 1024
WORDS_BEFORE_RARE_ONES_GO = 4_000_000

# What keras.preprocessing.text turns into blanks.
_KERAS_FILTER = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))
_NOT_IN_SENTENCES = re.compile(r"[^A-Za-z0-9(),!?'`]")
_APART_IN_SENTENCES = {mark: f" {mark}" for mark in ("'s", "'ve", "n't", "'re", "'d", "'ll")}
_APART_IN_SENTENCES |= {mark: f" {mark} " for mark in ",!()?"}
_WORDS_AND_MARKS = re.compile(r"\w+|[^\w\s]+").findall
WITHOUT_BLANKS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"  # Thai, Lao, Tibetan, Burmese, Khmer, Tai
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
"""Letters of scripts that put no blanks between words, as a range of a regular expression."""
BLOCKS_OF_SIGNS = (
    range(0x300, 0x3100), range(0xA600, 0xAC00), range(0xFB00, 0xFE30), range(0x10000, 0x12000), range(0x1E000, 0x1E900)
)  # fmt: skip
"""Where combining marks are found."""
JOINERS = "\u200c\u200d"
_NEEDS_CARE = re.compile(  # all others are named, as a class without the highest letters is compiled far sooner
    "[^\u0000-\u02ff\u0370-\u0482\u1e00-\u200b\u200e-\u20cf\u2100-\u2cee\U00040000-\U0010ffff]"
).search


def keras_words(text: str) -> list[str]:
    """Lower case, punctuation becomes blanks, as the Keras text preparation does."""
    return text.lower().translate(_KERAS_FILTER).split()


def sentence_words(text: str) -> list[str]:
    """The clean-up of the convolutional sentence classifiers (Kim 2014), then lower case."""
    text = _NOT_IN_SENTENCES.sub(" ", text)
    for mark, apart in _APART_IN_SENTENCES.items():
        text = text.replace(mark, apart)
    return text.lower().split()


def words_and_marks(text: str) -> list[str]:
    """Lower case, runs of letters and digits, runs of other marks.

    Letters keep their combining marks, equal letters are written alike (Unicode NFC), and each letter of a script
    without blanks, such as Chinese, Japanese or Thai, stands for itself.
    """
    if text.isascii():
        return _WORDS_AND_MARKS(text.lower())
    text = unicodedata.normalize("NFC", text.lower())
    return _every_script()(text) if _NEEDS_CARE(text) else _WORDS_AND_MARKS(text)


@cache
def _every_script() -> Callable[[str], list[str]]:
    """What finds words in a text of any script; made when the first text is not ASCII."""
    signs = {code for codes in BLOCKS_OF_SIGNS for code in codes if unicodedata.category(chr(code))[0] == "M"}
    starts, ends = (sorted(code for code in signs if code + step not in signs) for step in (-1, 1))
    ranges = "".join(f"{chr(first)}-{chr(last)}" for first, last in zip(starts, ends, strict=True))
    alone, sign = f"[{WITHOUT_BLANKS}]", f"[{ranges}{JOINERS}]"
    letter = rf"(?!{alone})\w"
    return re.compile(rf"(?!{sign}){alone}{sign}*|{letter}(?:{letter}|{sign})*|(?:(?!{alone})[^\w\s])+|{sign}+").findall


CLEANINGS: dict[str, Callable[[str], list[str]]] = {
    "keras": keras_words,
    "sentence": sentence_words,
    "words": words_and_marks,
    "blanks": str.split,
    "characters": list,
}


class Encoder(abc.ABC):
    """Turns texts into ids; `words` are the vocabulary in the order of the ids."""

    words: list[str]

    @abc.abstractmethod
    def ids(self, texts: list[str]) -> list[np.ndarray]:
        """One int32 array for each text."""

    @abc.abstractmethod
    def to_json(self) -> str:
        """What `encoder_from_json` reads."""


class WordEncoder(Encoder):
    """The most frequent words of a text.

    Arguments:
        cleaning: a name in `CLEANINGS`.
        words: the vocabulary: <pad>, <unk>, special words, then words.
        before, after: special words put around every text; "" puts none.
    """

    def __init__(self, cleaning: str, words: list[str], before: str = "", after: str = ""):
        self.cleaning, self.words, self.before, self.after = cleaning, words, before, after
        self._split = CLEANINGS[cleaning]
        self._places = {word: place for place, word in enumerate(words)}
        self._first, self._last = ([self._places[mark]] if mark else [] for mark in (before, after))

    def ids(self, texts: list[str]) -> list[np.ndarray]:
        return [self._encoded(text) for text in texts]

    def _encoded(self, text: str) -> np.ndarray:
        find = self._places.get
        ids = [find(word, UNKNOWN) for word in self._split(text)]
        return np.array([*self._first, *ids, *self._last], np.int32)

    def to_json(self) -> str:
        return json.dumps({"cleaning": self.cleaning, "words": self.words, "before": self.before, "after": self.after})


class BytePairEncoder(Encoder):
    """Byte pairs, through a tokenizer of the package tokenizers."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        by_word = tokenizer.get_vocab(with_added_tokens=True)
        self.words = sorted(by_word, key=by_word.__getitem__)

    def ids(self, texts: list[str]) -> list[np.ndarray]:
        return [np.array(encoding.ids, np.int32) for encoding in self._tokenizer.encode_batch_fast(texts)]

    def to_json(self) -> str:
        return self._tokenizer.to_str()


def learn_encoder(
    texts: Iterable[str], size: int, cleaning: str = "words", *, least: int = 1, before: str = "", after: str = ""
) -> Encoder:
    """An encoder with the most frequent words (or byte pairs) of the texts.

    Arguments:
        texts: read once, as a stream.
        size: entries of the vocabulary, special ones included.
        cleaning: "keras" (lower case, punctuation becomes blanks), "sentence" (the clean-up of Kim 2014), "words"
            (lower case, punctuation apart), "blanks" (split at blanks, nothing changed), "characters" or "bpe" (byte
            pairs).
        least: rarer words are unknown.
        before, after: special words put around every text, such as <s> and </s>; "" puts none.
    """
    choose("cleaning", cleaning, (*CLEANINGS, "bpe"))
    specials = [*SPECIALS, *(mark for mark in (before, after) if mark)]
    if size <= len(specials):
        raise UserError(f"vocabulary is {size}", f"more than {len(specials)} words", "give a larger vocabulary")
    if cleaning == "bpe":
        return BytePairEncoder(_learned_pairs(texts, size, specials, least, before, after))
    counts = _counted(texts, CLEANINGS[cleaning])
    for word in specials:
        counts.pop(word, None)
    words = [word for word, count in counts.most_common(size - len(specials)) if count >= least]
    return WordEncoder(cleaning, specials + words, before, after)


def _counted(texts: Iterable[str], split: Callable[[str], list[str]]) -> Counter[str]:
    """How often each word occurs; words met once are forgotten whenever there are too many to keep."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(text))
        if len(counts) > WORDS_BEFORE_RARE_ONES_GO:
            counts = Counter({word: count for word, count in counts.items() if count > 1})
    return counts


def tokenizers_library() -> ModuleType:
    with needs_package("Byte pairs cannot be used", do="install sparsernn[train], or use words"):
        import tokenizers
    return tokenizers


def _learned_pairs(
    texts: Iterable[str], size: int, specials: list[str], least: int, before: str, after: str
) -> Tokenizer:
    library = tokenizers_library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=specials,
        min_frequency=least,
        show_progress=False,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    if before or after:
        numbered = [(mark, tokenizer.token_to_id(mark)) for mark in specials[2:]]
        tokenizer.post_processor = library.processors.TemplateProcessing(
            single=f"{before} $A {after}".strip(), special_tokens=numbered
        )
    return tokenizer


def encode(
    encoder: Encoder, texts: Iterable[str], *, length: int = 0, keep: str = "last", unknown: str = "token"
) -> Iterator[np.ndarray]:
    """Token ids of every text, one int32 array each.

    Arguments:
        length: keep this many tokens; 0 keeps all.
        keep: "first" or "last": which tokens of a longer text stay.
        unknown: "token" writes the id of <unk>; "drop" leaves unknown words out before the cut.
    """
    stream = iter(texts)
    while chunk := list(islice(stream, TEXTS_AT_ONCE)):
        for ids in encoder.ids(chunk):
            if unknown == "drop":
                ids = ids[ids != UNKNOWN]
            if length and len(ids) > length:
                ids = ids[-length:] if keep == "last" else ids[:length]
            yield ids
