"""Cleaning rules, vocabularies and word vectors."""

import numpy as np
import pytest
import torch

from sparsernn.data.text import encode, learn_tokenizer, word_vectors, words_of
from sparsernn.errors import UserError

TEXTS = ["The cat sat.", "the dog, the CAT!", "A fish"]


def cleaned(rule, text):
    tokenizer = learn_tokenizer([text], 100, rule)
    return [words_of(tokenizer)[number] for number in next(encode(tokenizer, [text]))]


@pytest.mark.parametrize("rule, expected", [
    ("keras", ["it's", "good", "really", "br", "not", "bad"]),
    ("sentence", ["it", "'s", "good", ",", "really", "!", "br", "not", "bad"]),
    ("blanks", ["It's", "good,", "really!<br", "/>", "not-bad"]),
    ("words", ["it", "'", "s", "good", ",", "really", "!<", "br", "/>", "not", "-", "bad"]),
])
def test_cleaning_rules(rule, expected):
    assert cleaned(rule, "It's good, really!<br /> not-bad") == expected


def test_characters_and_byte_pairs_lose_nothing():
    assert "".join(cleaned("characters", "a b\tä")) == "a b\tä"
    tokenizer = learn_tokenizer(TEXTS * 50, 300, "bpe")
    assert tokenizer.decode(next(encode(tokenizer, ["unseen ☃ text"]))) is not None
    assert len(words_of(tokenizer)) <= 300 and 1 not in next(encode(tokenizer, ["zebra"]))


def test_most_frequent_words_stay_and_the_order_is_fixed():
    tokenizer = learn_tokenizer(TEXTS, 5, "keras")
    assert words_of(tokenizer) == ["<pad>", "<unk>", "the", "cat", "a"]
    assert words_of(learn_tokenizer(TEXTS, 5, "keras")) == words_of(tokenizer)
    assert words_of(learn_tokenizer(TEXTS, 50, "keras", least=2)) == ["<pad>", "<unk>", "the", "cat"]


@pytest.mark.parametrize("keep, unknown, expected", [
    ("last", "token", [1, 2, 3]), ("first", "token", [2, 1, 2]), ("last", "drop", [2, 2, 3]),
])
def test_what_is_kept_of_a_long_text(keep, unknown, expected):
    tokenizer = learn_tokenizer(TEXTS, 5, "keras")
    ids = next(encode(tokenizer, ["the dog the cat"[:11] + " the cat"], length=3, keep=keep, unknown=unknown))
    assert ids.tolist() == (expected if unknown == "drop" or keep == "first" else [2, 2, 3])


def test_marks_are_put_around_texts():
    tokenizer = learn_tokenizer(TEXTS, 50, "keras", before="<s>", after="</s>")
    assert [words_of(tokenizer)[number] for number in next(encode(tokenizer, ["the cat"]))] == ["<s>", "the", "cat", "</s>"]
    assert words_of(tokenizer)[:4] == ["<pad>", "<unk>", "<s>", "</s>"]


def test_empty_text_is_an_empty_sequence():
    assert len(next(encode(learn_tokenizer(TEXTS, 9), [""]))) == 0


@pytest.mark.parametrize("options", [{"cleaning": "kears"}, {"size": 2}])
def test_wrong_options_are_refused(options):
    with pytest.raises(UserError):
        learn_tokenizer(TEXTS, **{"size": 10, **options})


def glove_text(folder):
    (folder / "v.txt").write_text("the 1 2\nnew york 3 4\ncat 5 6\n", "utf8")
    return folder / "v.txt"


def glove_arrays(folder):
    words = np.frombuffer("the\nnew york\ncat".encode(), np.uint8)
    np.savez(folder / "v.npz", words_utf8=words, vectors=np.array([[1, 2], [3, 4], [5, 6]], np.float16))
    return folder / "v.npz"


@pytest.mark.parametrize("write", [glove_text, glove_arrays])
def test_word_vectors(write, tmp_path):
    path, vocabulary = write(tmp_path), ["<pad>", "<unk>", "cat", "new york", "zebra"]
    matrix = word_vectors(path, vocabulary, seed=3)
    assert matrix[2].tolist() == [5, 6] and matrix[3].tolist() == [3, 4] and not matrix[0].any()
    assert (matrix[[1, 4]].abs() <= 0.25).all() and matrix[4].any()
    assert torch.equal(matrix, word_vectors(path, vocabulary, seed=3))
    assert torch.allclose(word_vectors(path, vocabulary, normalise=True)[1:].norm(dim=1), torch.ones(4))


def test_word_vectors_that_are_wrong(tmp_path):
    (tmp_path / "v.txt").write_text("the 1 2\ncat 1 x\n", "utf8")
    for path, words in ((tmp_path / "none.txt", ["cat"]), (tmp_path / "v.txt", ["cat"]), (tmp_path / "v.txt", ["dog"])):
        with pytest.raises(UserError):
            word_vectors(path, words)
    np.savez(tmp_path / "v.npz", words=np.zeros(2))
    with pytest.raises(UserError, match="cannot be read"):
        word_vectors(tmp_path / "v.npz", ["cat"])


def test_the_real_vectors(data_folder):
    near = word_vectors(data_folder / "glove/glove.6B.50d.top50k.txt.gz", ["<pad>", "the", "zzzzqq"])
    far = word_vectors(data_folder / "glove/glove.6B.100d.top100k.f16.npz", ["<pad>", "the", "zzzzqq"])
    assert near.shape == (3, 50) and far.shape == (3, 100)
    assert near[1, :3].tolist() == pytest.approx([0.418, 0.24968, -0.41242])
