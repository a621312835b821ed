"""Word vectors from GloVe files for the words of a vocabulary."""

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sparsernn.data.files import lines
from sparsernn.data.text import PAD, SPECIALS
from sparsernn.errors import UserError
from sparsernn.reading import arrays, readable


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
    vectors = _npz_vectors(path, place) if path.suffix == ".npz" else _text_vectors(path, place)
    width = len(next(iter(vectors.values()), ()))
    if not width:
        raise UserError(
            f"The word vectors {path} hold no word of the vocabulary",
            "vectors for words of the text",
            "check the file and the cleaning rule",
        )
    matrix = np.random.RandomState(seed).uniform(-unknown, unknown, (len(place), width)).astype(np.float32)
    for word, vector in vectors.items():
        matrix[place[word]] = vector
    if normalise:
        matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    if SPECIALS[PAD] in place:
        matrix[place[SPECIALS[PAD]]] = 0
    return torch.from_numpy(matrix)


def _text_vectors(path: Path, vocabulary: Container[str]) -> dict[str, np.ndarray]:
    vectors: dict[str, np.ndarray] = {}
    width = 0
    for number, line in enumerate(lines(path), 1):
        width = width or line.count(" ")
        word, *numbers = line.rsplit(" ", width)
        if word not in vocabulary:
            continue
        try:
            vectors[word] = np.array(numbers, np.float32)
            if len(numbers) != width:
                raise ValueError
        except ValueError as error:
            raise UserError(
                f"Line {number} of {path} is not a word and {width} numbers",
                "one word vector a line",
                "get the file again",
            ) from error
    return vectors


def _npz_vectors(path: Path, vocabulary: Container[str]) -> dict[str, np.ndarray]:
    expected = "an .npz with arrays vectors and words_utf8"
    with readable(f"The word vectors {path}", expected=expected, do="check the file"):
        stored = arrays(path, ("|u1", "<f2", "<f4", "<f8"), unpacked=20)
        words = stored["words_utf8"].tobytes().decode("utf8").split("\n")
        vectors = stored["vectors"].astype(np.float32)
    if len(words) != len(vectors):
        raise UserError(
            f"The word vectors {path} name {len(words)} words for {len(vectors)} vectors",
            "as many of each",
            "get the file again",
        )
    return {word: vectors[row] for row, word in enumerate(words) if word in vocabulary}
