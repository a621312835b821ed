"""Text to token ids: cleaning rules, vocabularies (Hugging Face tokenizers), word vectors."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sparsernn.data.files import lines
from sparsernn.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, UNKNOWN = 0, 1
SPECIALS = ("<pad>", "<unk>")
CLEANINGS = ("keras", "sentence", "blanks", "words", "characters", "bpe")
TEXTS_AT_ONCE = 4096

# What keras.preprocessing.text turns into blanks.
KERAS_FILTER = '[!"#$%&()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~\t\n]'
# The clean-up of the convolutional sentence classifiers (Kim 2014), before lower-casing.
SENTENCE_RULES = (
    (r"[^A-Za-z0-9(),!?'`]", " "),
    ("'s", " 's"), ("'ve", " 've"), ("n't", " n't"), ("'re", " 're"), ("'d", " 'd"), ("'ll", " 'll"),
    (",", " , "), ("!", " ! "), (r"\(", " ( "), (r"\)", " ) "), (r"\?", " ? "),
)


def tokenizers_library() -> Any:
    """The `tokenizers` package, or a UserError that says what to install."""
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(
            "Text cannot be read: the package tokenizers is not installed", "the train extra",
            "install sparsernn[train]",
        ) from error
    return tokenizers


def learn_tokenizer(
    texts: Iterable[str], size: int, cleaning: str = "words", *, least: int = 1, before: str = "", after: str = ""
) -> Tokenizer:
    """A tokenizer with the most frequent words (or byte pairs) of the texts.

    Arguments:
        texts: read once, as a stream.
        size: entries of the vocabulary, special ones included.
        cleaning: "keras" (lower case, punctuation becomes blanks), "sentence" (the clean-up of Kim 2014), "blanks"
            (split at blanks, nothing changed), "words" (lower case, punctuation apart), "characters" or "bpe" (byte
            pairs).
        least: rarer words are unknown.
        before, after: special words put around every text, such as <s> and </s>; "" puts none.
    """
    if cleaning not in CLEANINGS:
        raise UserError(f"cleaning is {cleaning!r}", f"one of {', '.join(CLEANINGS)}", "choose one of these")
    marks = [mark for mark in (before, after) if mark]
    specials = [*SPECIALS, *marks]
    if size <= len(specials):
        raise UserError(f"vocabulary is {size}", f"more than {len(specials)} words", "give a larger vocabulary")
    library = tokenizers_library()
    tokenizer, trainer = _untrained(library, cleaning, size, specials, least)
    tokenizer.train_from_iterator(texts, trainer)
    if marks:
        numbered = [(mark, tokenizer.token_to_id(mark)) for mark in marks]
        tokenizer.post_processor = library.processors.TemplateProcessing(
            single=f"{before} $A {after}".strip(), special_tokens=numbered
        )
    return tokenizer


def _untrained(library: Any, cleaning: str, size: int, specials: list[str], least: int) -> tuple[Any, Any]:
    """An empty tokenizer and its trainer."""
    settings = {"vocab_size": size, "special_tokens": specials, "min_frequency": least, "show_progress": False}
    if cleaning == "bpe":
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        return tokenizer, library.trainers.BpeTrainer(initial_alphabet=alphabet, **settings)
    tokenizer = library.Tokenizer(library.models.WordLevel({}, unk_token=SPECIALS[UNKNOWN]))
    tokenizer.normalizer = _normalizer(library, cleaning)
    splits = library.pre_tokenizers
    special = {"words": splits.Whitespace(), "characters": splits.Split(library.Regex(r"[\s\S]"), "isolated")}
    tokenizer.pre_tokenizer = special.get(cleaning, splits.WhitespaceSplit())
    return tokenizer, library.trainers.WordLevelTrainer(**settings)


def _normalizer(library: Any, cleaning: str) -> Any:
    rules, regex = library.normalizers, library.Regex
    if cleaning == "keras":
        return rules.Sequence([rules.Lowercase(), rules.Replace(regex(KERAS_FILTER), " ")])
    if cleaning == "sentence":
        replaced = [rules.Replace(regex(pattern), by) for pattern, by in SENTENCE_RULES]
        return rules.Sequence([*replaced, rules.Lowercase()])
    if cleaning == "words":
        return rules.Lowercase()
    return rules.Sequence([])


def words_of(tokenizer: Tokenizer) -> list[str]:
    """The vocabulary in the order of the ids."""
    by_word = tokenizer.get_vocab(with_added_tokens=True)
    return sorted(by_word, key=by_word.__getitem__)


def encode(
    tokenizer: Tokenizer, texts: Iterable[str], *, length: int = 0, keep: str = "last", unknown: str = "token"
) -> Iterator[np.ndarray]:
    """Token ids of every text, one int32 array each.

    Arguments:
        length: keep this many tokens; 0 keeps all.
        keep: "first" or "last": which tokens of a longer text stay.
        unknown: "token" writes the id of <unk>; "drop" leaves unknown words out before the cut.
    """
    for chunk in _chunks(texts):
        for encoding in tokenizer.encode_batch_fast(chunk):
            ids = np.array(encoding.ids, np.int32)
            if unknown == "drop":
                ids = ids[ids != UNKNOWN]
            if length and len(ids) > length:
                ids = ids[-length:] if keep == "last" else ids[:length]
            yield ids


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == TEXTS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def word_vectors(
    path: Path | str, vocabulary: Sequence[str], *, unknown: float = 0.25, normalise: bool = False, seed: int = 0
) -> Tensor:
    """A vector for every word of a vocabulary, [words width]: read where the file has it, drawn where not.

    Arguments:
        path: GloVe text (`word v1 v2 ...` a line, plain or gzipped), or an .npz with `vectors` and `words_utf8`.
        vocabulary: the words in the order of their ids; <pad> gets zeros.
        unknown: words that the file lacks are drawn from U(-unknown, unknown).
        normalise: scale every vector to length 1.
        seed: of the draw.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"The word vectors {path} were not found", "a GloVe file", "give the path of the file")
    place = {word: row for row, word in enumerate(vocabulary)}
    found = _npz_vectors(path, place) if path.suffix == ".npz" else _text_vectors(path, place)
    width = len(next(iter(found.values()), ()))
    if not width:
        raise UserError(
            f"The word vectors {path} hold no word of the vocabulary", "vectors for words of the text",
            "check the file and the cleaning rule",
        )
    matrix = np.random.RandomState(seed).uniform(-unknown, unknown, (len(place), width)).astype(np.float32)
    for word, vector in found.items():
        matrix[place[word]] = vector
    if normalise:
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    if SPECIALS[PAD] in place:
        matrix[place[SPECIALS[PAD]]] = 0
    return torch.from_numpy(matrix)


def _text_vectors(path: Path, wanted: dict[str, int]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    width = 0
    for number, line in enumerate(lines(path), 1):
        width = width or line.count(" ")
        word, *numbers = line.rsplit(" ", width)
        if word not in wanted:
            continue
        try:
            found[word] = np.array(numbers, np.float32)
            if len(numbers) != width:
                raise ValueError
        except ValueError as error:
            raise UserError(
                f"Line {number} of {path} is not a word and {width} numbers", "one word vector a line",
                "get the file again",
            ) from error
    return found


def _npz_vectors(path: Path, wanted: dict[str, int]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            words = file["words_utf8"].tobytes().decode("utf8").split("\n")
            vectors = file["vectors"].astype(np.float32)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"The word vectors {path} cannot be read: {error}", "an .npz with arrays vectors and words_utf8",
            "check the file",
        ) from error
    if len(words) != len(vectors):
        raise UserError(
            f"The word vectors {path} name {len(words)} words for {len(vectors)} vectors", "as many of each",
            "get the file again",
        )
    return {word: vectors[row] for row, word in enumerate(words) if word in wanted}
